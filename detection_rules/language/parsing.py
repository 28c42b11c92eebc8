"""What both languages' readers share: Lark at work, and its errors in our words."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any, Final, Never, cast

import lark
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from detection_rules.language.errors import QueryError, place

MAX_CHARACTERS: Final = 100_000
MAX_DEPTH: Final = 60
"""Parentheses and calls within one another; Elastic's own rules stay below 10."""
Refused = tuple[re.Pattern[str], str]
"""What a refused construct looks like where the parser stops at it, and its name."""
_WORD: Final = re.compile(r'"[^"\n]{0,30}"?|[^\s():<>{}"]{1,40}|\S')


def parse_with(
    grammar: str, builder: Transformer_NonRecursive[lark.Token, Any], text: str, refused: Iterable[Refused] = ()
) -> Any:
    """Parse a text and build its value, without recursion at any step.

    Args:
        grammar: Name of a `.lark` file in this package.
        builder: Turns the parse tree into the value.
        text: The query.
        refused: Constructs to name when the parser stops at them.

    Raises:
        QueryError: The text is not in the grammar, or the builder refused it.
    """
    if len(text) > MAX_CHARACTERS:
        raise QueryError(f"a query of more than {MAX_CHARACTERS} characters", 1, 1)
    try:
        return builder.transform(_parser(grammar).parse(text))
    except lark.exceptions.UnexpectedInput as error:
        raise _translated(error, text, refused) from None
    except lark.exceptions.VisitError as error:
        raise error.orig_exc from None


def fail(meta: Meta, problem: str) -> Never:
    """Raise the error for what stands at a place in the query."""
    raise QueryError(problem, meta.line, meta.column)


@cache
def _parser(grammar: str) -> lark.Lark:
    text = files("detection_rules.language").joinpath(grammar).read_text("utf-8")
    return lark.Lark(text, parser="lalr", lexer="basic", propagate_positions=True, maybe_placeholders=False)


def _translated(error: lark.exceptions.UnexpectedInput, text: str, refused: Iterable[Refused]) -> QueryError:
    if isinstance(error, lark.exceptions.UnexpectedToken) and error.token.type == "$END":
        return QueryError("the query ends too early", *place(text, len(text.rstrip())))
    position = cast("int", error.pos_in_stream)  # Lark's own annotation says None, which it never is here
    for pattern, construct in refused:
        if pattern.match(text, position):
            return QueryError(f"{construct} is not supported", *place(text, position))
    word = _WORD.match(text, position)
    return QueryError(f"`{word[0] if word else ''}` does not fit here", *place(text, position))
