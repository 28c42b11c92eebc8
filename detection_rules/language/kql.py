"""Reading KQL, the language of Kibana's search bar and of Elastic's `kuery` rules."""

import re
from dataclasses import replace
from typing import Any, Final, TypeVar

import lark
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from detection_rules.language import kql_ast as ast
from detection_rules.language.errors import QueryError, place
from detection_rules.language.parsing import MAX_DEPTH, Refused, fail, parse_with

_STAR: Final = "\0"
"""Stands for an unescaped `*` while escapes are taken out; a NUL in a query is refused."""
_ESCAPE: Final = re.compile(r"\*|\\(?:([trn])|u([0-9a-fA-F]{4})|(and|or)|(.))", re.IGNORECASE | re.DOTALL)
_REFUSED: Final[tuple[Refused, ...]] = ((re.compile(r"\\"), "this escape"),)
_WHITE: Final = {"t": "\t", "r": "\r", "n": "\n"}


def parse(text: str) -> ast.Query:
    """Read a query: `event.category: process and process.name: (a or b*)`.

    Raises:
        QueryError: It is malformed, or uses something this evaluator does not do; the line names it and its place.
    """
    if _STAR in text:
        raise QueryError("a NUL character does not fit here", *place(text, text.index(_STAR)))
    query: ast.Query = parse_with("kql.lark", _Builder(), text, _REFUSED)
    if any(depth > MAX_DEPTH for _, depth in ast.walk(query)):
        raise QueryError(f"nested more than {MAX_DEPTH} deep", 1, 1)
    return query


class _Words(tuple[str, ...]):
    """An unquoted literal: its pieces between unescaped `*`s."""

    __slots__ = ()


_EVERY: Final = _Words(("", ""))
_Condition = TypeVar("_Condition", ast.Equals, ast.Exists, ast.Range)


@lark.v_args(meta=True)
class _Builder(Transformer_NonRecursive[lark.Token, Any]):
    """Parse tree into AST, bottom up and without recursion.

    Below `field:` the same rules (`disjunction`, `negation`, ...) join values, which only learn their field in
    `equals`: until then a node stands over bare values.
    """

    def start(self, _meta: Meta, parts: list[Any]) -> ast.Query:
        query: ast.Query = parts[0] if parts else ast.MatchAll()
        return query

    def disjunction(self, _meta: Meta, parts: list[Any]) -> ast.Or:
        return ast.Or(tuple(_flat(parts, ast.Or)))

    def conjunction(self, _meta: Meta, parts: list[Any]) -> ast.And:
        return ast.And(tuple(_flat(parts, ast.And)))

    def negation(self, _meta: Meta, parts: list[Any]) -> ast.Not:
        return ast.Not(parts[-1])

    def literal(self, meta: Meta, parts: list[lark.Token]) -> ast.Value | _Words:
        if parts[0].type == "QUOTED":
            return ast.Value(_unescaped(str(parts[0])[1:-1]), quoted=True)
        # what stands between the words belongs to the value, as it is written
        written = ""
        for token in parts:
            gap = (token.start_pos or 0) - (meta.start_pos + len(written))
            written += " " * gap + str(token)
            if str(token).lower() == "\\not":
                fail(meta, "the escape `\\not` (a line break to Kibana) is not supported: put the value in quotes")
        return _Words(_unescaped(written, star=_STAR).split(_STAR))

    def equals(self, meta: Meta, parts: list[Any]) -> ast.Query:
        field = _field(meta, parts[0])
        if field == _EVERY and parts[1] == _EVERY:
            return ast.MatchAll()
        return _given(meta, field, parts[1])

    def range(self, meta: Meta, parts: list[Any]) -> ast.Range | ast.InFields:
        field, bound = _field(meta, parts[0]), parts[2]
        if isinstance(bound, _Words) and len(bound) > 1:
            fail(meta, "a wildcard in a range's bound is not supported")
        text = bound.text if isinstance(bound, ast.Value) else bound[0]
        if text.startswith("now") or "||" in text:
            fail(meta, "date mathematics (`now-5m`) is not supported")
        return _on(field, ast.Range("", str(parts[1]), text))

    def nested(self, meta: Meta, parts: list[Any]) -> ast.Nested:
        path, operand = _field(meta, parts[0]), parts[1]
        if not isinstance(path, str):
            fail(meta, "a wildcard in the name of nested objects is not supported")
        if any(depth > MAX_DEPTH for _, depth in ast.walk(operand)):
            fail(meta, f"nested more than {MAX_DEPTH} deep")
        return ast.Nested(path, _below(path, operand))

    def bare(self, meta: Meta, parts: list[Any]) -> ast.MatchAll:
        if parts[0] != _EVERY:
            fail(meta, "a value without a field is not supported: write `field: value`")
        return ast.MatchAll()


def _field(meta: Meta, name: ast.Value | _Words) -> str | _Words:
    """The name of a field, or a pattern of names."""
    if isinstance(name, _Words) and len(name) > 1:
        return _Words(_without_empty(name))
    written = name.text if isinstance(name, ast.Value) else name[0]
    if not all(written.split(".")):
        fail(meta, f"the field name `{written}` has an empty part")
    return written


def _without_empty(pieces: tuple[str, ...]) -> tuple[str, ...]:
    """`a**b` says no more than `a*b`."""
    return (pieces[0], *(piece for piece in pieces[1:-1] if piece), pieces[-1])


def _on(field: str | _Words, condition: _Condition) -> _Condition | ast.InFields:
    """A condition, of a field or of whichever has a name of the pattern."""
    if isinstance(field, str):
        return replace(condition, field=field)
    return ast.InFields(tuple(field), condition)


def _below(path: str, root: ast.Query) -> ast.Query:
    """The same query with the names of its fields from the document's top; at most MAX_DEPTH deep."""
    match root:
        case ast.MatchAll():
            return root
        case ast.InFields():
            first, *others = root.pieces
            return ast.InFields((f"{path}.{first}", *others), root.condition)
        case ast.Nested():
            return ast.Nested(f"{path}.{root.path}", _below(path, root.operand))
        case ast.Not():
            return ast.Not(_below(path, root.operand))
        case ast.And() | ast.Or():
            return type(root)(tuple(_below(path, operand) for operand in root.operands))
        case _:
            return replace(root, field=f"{path}.{root.field}")


def _given(meta: Meta, field: str | _Words, node: Any) -> ast.Query:
    """The same values, each asked of the field. Keeps its own stack: values nest as deep as the text allows."""
    done: list[ast.Query] = []
    pending: list[tuple[Any, bool]] = [(node, False)]
    while pending:
        part, built = pending.pop()
        if isinstance(part, ast.Value | _Words):
            done.append(_asked(meta, field, part))
        elif not built:
            pending.append((part, True))
            below = part.operands if isinstance(part, ast.And | ast.Or) else (part.operand,)
            pending.extend((child, False) for child in reversed(below))
        elif isinstance(part, ast.Not):
            done.append(ast.Not(done.pop()))
        else:
            count = len(part.operands)
            done[-count:] = [type(part)(tuple(done[-count:]))]
    return done[0]


def _asked(meta: Meta, field: str | _Words, value: ast.Value | _Words) -> ast.Equals | ast.Exists | ast.InFields:
    if isinstance(value, ast.Value):
        return _on(field, ast.Equals("", value))
    if len(value) == 1:
        if value[0] == "null":
            fail(meta, "the value null is not supported: write `not field: *`")
        return _on(field, ast.Equals("", ast.Value(value[0])))
    pieces = _without_empty(value)
    if pieces == _EVERY:
        return _on(field, ast.Exists(""))
    return _on(field, ast.Equals("", ast.Pattern(pieces)))


def _flat(parts: list[Any], kind: type[ast.And] | type[ast.Or]) -> list[Any]:
    flat: list[Any] = []
    for part in parts:
        if isinstance(part, kind):
            flat.extend(part.operands)
        elif not (isinstance(part, lark.Token) and part.type in ("AND", "OR")):
            flat.append(part)
    return flat


def _unescaped(text: str, star: str = "*") -> str:
    """The text without its escapes; an unescaped `*` becomes `star`."""

    def replaced(escape: re.Match[str]) -> str:
        if escape[0] == "*":
            return star
        if escape[1]:
            return _WHITE[escape[1].lower()]
        if escape[2]:
            return chr(int(escape[2], 16))
        return escape[3] or escape[4]

    return _ESCAPE.sub(replaced, text)
