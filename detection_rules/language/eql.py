"""Reading EQL: event queries, sequences and samples."""

import re
from typing import Final

from detection_rules.language import eql_ast as ast
from detection_rules.language.eql_sequences import QueryBuilder
from detection_rules.language.errors import QueryError, refuse
from detection_rules.language.parsing import Refused, parse_with

_SKIPPED: Final = re.compile(r"(?:\s+|//[^\n]*|/\*[\s\S]*?\*/)*+")
REFUSED_QUERIES: Final = ("join",)
_REFUSED_QUERY: Final = re.compile(rf"({'|'.join(REFUSED_QUERIES)})\b(?!\s*where\b)")
_SEVERAL: Final = "a `{}` query in this place, which asks about one document at a time,"
REFUSED: Final[tuple[Refused, ...]] = (
    (re.compile(r"\|\s*(?:head|tail)\b"), "a pipe (`| head`, `| tail`) in a rule, which must see every match,"),
    (re.compile(r"\|"), "a pipe (`| count`, `| filter`, `| sort`, `| unique`)"),
    (re.compile(r"\["), "an array subscript or subquery in `[ ]`"),
    (re.compile(r"of\b"), "a process relationship (`child of`, `descendant of`, `event of`)"),
    (re.compile(r"fork\b"), "`fork` in a sequence"),
    (
        re.compile(r"until\b|with\b|by\b|maxspan\b"),
        "a part of a sequence (`by`, `with`, `until`) in this place",
    ),
    (re.compile(r"\?[\"']"), 'a raw string in `?"..."` (write """...""")'),
    (re.compile(r"'"), "a string in single quotes (use double quotes)"),
    (re.compile(r"!:"), "the operator `!:` (write `not field : value`)"),
    (re.compile(r"=(?!=)"), "the operator `=` (write == or :)"),
    (re.compile(r"(like|regex)\b"), "a pattern operator in this place (for the opposite write `not field like ...`)"),
    (re.compile(r"(AND|OR|NOT|IN|LIKE|REGEX|WHERE)\b"), "a keyword in capitals (write it in lower case)"),
)


def parse_query(text: str) -> ast.Query:
    """Read any query: `process where true`, `sequence by host.id [...] [...]`, `sample by host.id [...] [...]`.

    Raises:
        QueryError: It is malformed, or uses something this evaluator does not do; the line names it and its place.
    """
    refused = _REFUSED_QUERY.match(text, _begin(text))
    if refused:
        refuse(f"a `{refused[1]}` query", text, refused.start())
    query: ast.Query = parse_with("eql.lark", QueryBuilder(), text, REFUSED)
    return query


def parse(text: str) -> ast.EventQuery:
    """Read an event query: `process where process.name == "x"`.

    Raises:
        QueryError: As `parse_query`, and for a sequence or a sample.
    """
    query = parse_query(text)
    if not isinstance(query, ast.EventQuery):
        refuse(_SEVERAL.format(type(query).__name__.lower()), text, _begin(text))
    return query


def _begin(text: str) -> int:
    """Where the query begins, after white space and comments."""
    skipped = _SKIPPED.match(text)
    return skipped.end() if skipped else 0


__all__ = ["REFUSED", "REFUSED_QUERIES", "QueryError", "parse", "parse_query"]
