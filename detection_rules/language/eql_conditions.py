"""Building EQL's conditions out of the parse tree."""

# ruff: noqa: D102 - each method is called as the rule of the grammar is that it builds

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Never

import lark
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from detection_rules.language import eql_ast as ast
from detection_rules.language.addresses import block
from detection_rules.language.automata import RegularExpressionError
from detection_rules.language.eql_functions import FUNCTIONS
from detection_rules.language.eql_kinds import is_condition, kind_of, paths
from detection_rules.language.parsing import MAX_DEPTH, fail
from detection_rules.language.regular_expressions import compile_expression

_LARGEST_LONG: Final = 2**63 - 1


@lark.v_args(meta=True)
class ConditionBuilder(Transformer_NonRecursive[lark.Token, Any]):
    """Parse tree into AST, bottom up and without recursion; every check that needs a place in the text happens here."""

    def event(self, meta: Meta, parts: list[Any]) -> ast.EventQuery:
        category, condition = parts
        self._logical(meta, condition)
        if any(depth > MAX_DEPTH for _, depth in ast.walk(condition)):
            fail(meta, f"nested more than {MAX_DEPTH} deep")
        return ast.EventQuery(category, condition)

    def category(self, meta: Meta, parts: list[lark.Token]) -> str | None:
        if not parts:
            return None  # the keyword `any`
        word = parts[0]
        if word.type == "NAME":
            return str(word)
        return _unquoted(meta, word)

    def disjunction(self, meta: Meta, operands: list[Any]) -> ast.Or:
        for operand in operands:
            self._logical(meta, operand)
        return ast.Or(tuple(_flat(operands, ast.Or)))

    def conjunction(self, meta: Meta, operands: list[Any]) -> ast.And:
        for operand in operands:
            self._logical(meta, operand)
        return ast.And(tuple(_flat(operands, ast.And)))

    def negation(self, meta: Meta, parts: list[Any]) -> ast.Not:
        self._logical(meta, parts[0])
        return ast.Not(parts[0])

    def comparison(self, meta: Meta, parts: list[Any]) -> ast.Comparison:
        left, comparator, right = parts[0], ast.Comparator(str(parts[1])), parts[2]
        self._shallow(meta, left, right)
        if paths(left) and paths(right):
            refuse_at(meta, "comparing two fields")
        self._comparable(meta, left, comparator, right)
        return ast.Comparison(left, comparator, right)

    def membership(self, meta: Meta, parts: list[Any]) -> ast.Membership:
        return self._membership(meta, parts, negated=False)

    def exclusion(self, meta: Meta, parts: list[Any]) -> ast.Membership:
        return self._membership(meta, parts, negated=True)

    def matching(self, meta: Meta, parts: list[Any]) -> ast.Matching:
        value, matcher, *patterns = parts[0], ast.Matcher(str(parts[1])), *parts[2:]
        self._value(meta, value)
        if kind_of(value) not in ("string", "any"):
            fail(meta, f"`{matcher}` compares strings; its left side is a {kind_of(value)}")
        texts = []
        for pattern in patterns:
            if not (isinstance(pattern, ast.Literal) and isinstance(pattern.value, str)):
                refuse_at(meta, f"anything but string constants to the right of `{matcher}`")
            if matcher in (ast.Matcher.REGEX, ast.Matcher.REGEX_INSENSITIVE):
                _checked(meta, partial(compile_expression, pattern.value, ignore_case=False))
            texts.append(pattern.value)
        return ast.Matching(value, matcher, tuple(texts))

    def arithmetic(self, meta: Meta, parts: list[Any]) -> ast.Arithmetic:
        left, operator, right = parts[0], ast.Operator(str(parts[1])), parts[2]
        for side in (left, right):
            self._numeric(meta, side, operator)
        if operator in (ast.Operator.DIVIDE, ast.Operator.MODULO) and right == ast.Literal(0):
            fail(meta, "division by zero")
        self._shallow(meta, left, right)
        return ast.Arithmetic(left, operator, right)

    def negative(self, meta: Meta, parts: list[Any]) -> ast.Expression:
        operand = parts[-1]
        self._numeric(meta, operand, ast.Operator.SUBTRACT)
        if isinstance(operand, ast.Literal) and isinstance(operand.value, int | float):
            return ast.Literal(-operand.value)
        return ast.Negative(operand)

    def positive(self, meta: Meta, parts: list[Any]) -> ast.Expression:
        self._numeric(meta, parts[-1], ast.Operator.ADD)
        operand: ast.Expression = parts[-1]
        return operand

    def function(self, meta: Meta, parts: list[Any]) -> ast.Function:
        written, arguments = str(parts[0]), tuple(parts[1:])
        insensitive = written.endswith("~")
        signature = FUNCTIONS.get(written.removesuffix("~").lower())
        if signature is None:
            refuse_at(meta, f"the function `{written}`")
        if insensitive and not signature.insensitive:
            refuse_at(meta, f"a case-insensitive `{signature.name}~`")
        if not signature.least <= len(arguments) <= signature.most:
            least, most = signature.least, signature.most
            wanted = str(least) if least == most else f"at least {least}" if most > 9 else f"{least} to {most}"
            fail(meta, f"`{signature.name}` takes {wanted} arguments, not {len(arguments)}")
        for index, argument in enumerate(arguments):
            self._value(meta, argument)
            wanted = signature.parameters[min(index, len(signature.parameters) - 1)]
            if "any" not in (wanted, kind_of(argument)) and kind_of(argument) not in (wanted, "null"):
                fail(meta, f"argument {index + 1} of `{signature.name}` is a {kind_of(argument)}, not a {wanted}")
            if signature.name == "cidrMatch" and index and isinstance(argument, ast.Literal):
                _checked(meta, partial(block, str(argument.value)))
        self._shallow(meta, *arguments)
        return ast.Function(signature.name, arguments, insensitive)

    def number(self, meta: Meta, parts: list[lark.Token]) -> ast.Literal:
        text = str(parts[0])
        if len(text) > 400:
            fail(meta, "a number of more than 400 digits")
        value = int(text) if text.isdigit() else float(text)
        if value in (float("inf"), float("-inf")) or (isinstance(value, int) and value > _LARGEST_LONG):
            fail(meta, f"the number {text[:40]} is too large")
        return ast.Literal(value)

    def string(self, meta: Meta, parts: list[lark.Token]) -> ast.Literal:
        return ast.Literal(_unquoted(meta, parts[0]))

    def raw_string(self, meta: Meta, parts: list[lark.Token]) -> ast.Literal:
        return ast.Literal(_unquoted(meta, parts[0]))

    def true(self, _meta: Meta, _parts: list[Any]) -> ast.Literal:
        return ast.Literal(True)

    def false(self, _meta: Meta, _parts: list[Any]) -> ast.Literal:
        return ast.Literal(False)

    def null(self, _meta: Meta, _parts: list[Any]) -> ast.Literal:
        return ast.Literal(None)

    def field(self, meta: Meta, parts: list[lark.Token]) -> ast.Field:
        written = str(parts[0])
        optional = written.startswith("?")
        segments = re.findall(r"`(?:[^`]|``)+`|[^.`]+", written.removeprefix("?"))
        path = ".".join(part[1:-1].replace("``", "`") if part.startswith("`") else part for part in segments)
        if not all(path.split(".")):
            fail(meta, f"the field name {written} has an empty part")
        for part in segments:
            if part in ast.KEYWORDS:
                fail(meta, f"`{part}` is a keyword of EQL: in the field name {written} write it in backquotes")
        return ast.Field(path, optional)

    def _membership(self, meta: Meta, parts: list[Any], *, negated: bool) -> ast.Membership:
        value, token, *choices = parts
        self._value(meta, value)
        for choice in choices:
            if not isinstance(choice, ast.Literal) or choice.value is None:
                refuse_at(meta, f"anything but constants in the list of `{token}`")
            if "any" not in (kind_of(value), kind_of(choice)) and kind_of(value) != kind_of(choice):
                fail(meta, f"compares a {kind_of(value)} with a {kind_of(choice)}")
        insensitive = str(token).endswith("~")
        if insensitive and any(not isinstance(choice.value, str) for choice in choices):
            fail(meta, "`in~` compares strings")
        return ast.Membership(value, tuple(choices), insensitive, negated)

    def _comparable(self, meta: Meta, left: Any, comparator: ast.Comparator, right: Any) -> None:
        equality = comparator in (ast.Comparator.EQUAL, ast.Comparator.NOT_EQUAL)
        for side, other in ((left, right), (right, left)):
            if is_condition(side) and not (equality and isinstance(other, ast.Literal) and kind_of(other) == "boolean"):
                refuse_at(meta, "a condition used as a value")
            if not equality and kind_of(side) in ("null", "boolean"):
                refuse_at(meta, f"`{comparator}` with a {kind_of(side)}")
            if not equality and isinstance(side, ast.Literal) and str(side.value).startswith("now"):
                refuse_at(meta, "date mathematics (`now-5m`)")
        kinds = {kind_of(left), kind_of(right)} - {"any", "null"}
        if len(kinds) > 1:
            fail(meta, f"compares a {kind_of(left)} with a {kind_of(right)}")

    def _logical(self, meta: Meta, node: ast.Expression) -> None:
        if kind_of(node) not in ("boolean", "any"):
            fail(meta, f"a {kind_of(node)} stands where a condition is wanted")

    def _value(self, meta: Meta, node: ast.Expression) -> None:
        if is_condition(node):
            refuse_at(meta, "a condition used as a value")
        self._shallow(meta, node)

    def _numeric(self, meta: Meta, node: ast.Expression, operator: ast.Operator) -> None:
        self._value(meta, node)
        if kind_of(node) not in ("number", "any", "null"):
            fail(meta, f"`{operator}` computes with numbers, not with a {kind_of(node)}")

    def _shallow(self, meta: Meta, *nodes: ast.Expression) -> None:
        for node in nodes:
            for _, depth in ast.walk(node):
                if depth > MAX_DEPTH:  # here too, so that the walks of a hostile query stay short
                    fail(meta, f"nested more than {MAX_DEPTH} deep")


def refuse_at(meta: Meta, construct: str) -> Never:
    """Refuse a construct by name, at its place."""
    fail(meta, f"{construct} is not supported")


def _checked(meta: Meta, build: Callable[[], object]) -> None:
    try:
        build()
    except (RegularExpressionError, ValueError) as error:
        fail(meta, str(error))


def _flat(operands: list[Any], kind: type[ast.And] | type[ast.Or]) -> list[ast.Expression]:
    flat: list[ast.Expression] = []
    for operand in operands:
        flat.extend(operand.operands if isinstance(operand, kind) else (operand,))
    return flat


_ESCAPE: Final = re.compile(r"\\(?:u\{([0-9A-Fa-f]{2,8})\}|(.))")
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "\\": "\\", '"': '"'}


def _unquoted(meta: Meta, token: lark.Token) -> str:
    """The text of a string literal."""
    if token.type == "RAW_STRING":
        return str(token)[3:-3]

    def replaced(escape: re.Match[str]) -> str:
        if escape[1]:
            if int(escape[1], 16) > 0x10FFFF:
                fail(meta, f"{escape[0]} is no character")
            return chr(int(escape[1], 16))
        if escape[2] not in _ESCAPED:
            fail(meta, f'the escape {escape[0]} is unknown; for a backslash write \\\\, or use """raw strings"""')
        return _ESCAPED[escape[2]]

    return _ESCAPE.sub(replaced, str(token)[1:-1])
