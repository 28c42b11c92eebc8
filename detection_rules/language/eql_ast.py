"""An EQL query as a value, and the value as text again."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

KEYWORDS: Final = frozenset(
    {"and", "any", "by", "false", "in", "join", "like", "maxspan", "not", "null", "of", "or", "regex", "sample"}
    | {"sequence", "true", "until", "where", "with"}
)
"""Of Elasticsearch's grammar: as a part of a field's name they stand in backquotes."""
Constant = str | int | float | bool | None


class Comparator(StrEnum):
    """Operators between two values."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


class Matcher(StrEnum):
    """Operators between a value and one or more string patterns."""

    SEQ = ":"
    LIKE = "like"
    LIKE_INSENSITIVE = "like~"
    REGEX = "regex"
    REGEX_INSENSITIVE = "regex~"


class Operator(StrEnum):
    """Arithmetic."""

    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"
    MODULO = "%"


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. Numbers may be negative: `-1` is one literal."""

    value: Constant


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the document. `optional` (`?name`) lets Elasticsearch accept a field that no mapping has."""

    path: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A call. `name` is spelled as the documentation spells it, without the `~`."""

    name: str
    arguments: tuple["Expression", ...]
    insensitive: bool = False


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two numbers into one."""

    left: "Expression"
    operator: Operator
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Negative:
    """Unary minus on something that is not a constant."""

    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left comparator right`; one side is constant."""

    left: "Expression"
    comparator: Comparator
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Membership:
    """`value in (choices)`, `in~`, and with `negated` their `not in`."""

    value: "Expression"
    choices: tuple[Literal, ...]
    insensitive: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Matching:
    """`value : "pattern"`, or one of the patterns."""

    value: "Expression"
    matcher: Matcher
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class And:
    """All hold. At least two, none of them an And."""

    operands: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One holds. At least two, none of them an Or."""

    operands: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The operand does not hold."""

    operand: "Expression"


Expression = Literal | Field | Function | Arithmetic | Negative | Comparison | Membership | Matching | And | Or | Not
Condition = Comparison | Membership | Matching | And | Or | Not


@dataclass(frozen=True, slots=True)
class EventQuery:
    """`category where condition`."""

    category: str | None
    """None for `any`."""
    condition: Expression


UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""Of a span, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Span:
    """`maxspan=15m`."""

    count: int
    unit: str

    @property
    def milliseconds(self) -> int:
        """How long it is."""
        return self.count * UNITS[self.unit]


@dataclass(frozen=True, slots=True)
class Item:
    """`[process where true] by process.pid with runs=3`; `missing` is the `!` before it."""

    event: EventQuery
    by: tuple[Field, ...] = ()
    """Besides the keys that all items share."""
    runs: int = 1
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """`sequence by ... with maxspan=... [...] [...] until [...]`: events in the order of their times."""

    by: tuple[Field, ...]
    span: Span | None
    items: tuple[Item, ...]
    until: Item | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """`sample by ... [...] [...]`: events in any order."""

    by: tuple[Field, ...]
    items: tuple[Item, ...]


Query = EventQuery | Sequence | Sample


def parts(query: Sequence | Sample) -> tuple[Item, ...]:
    """Its items, and the `until` behind them."""
    until = query.until if isinstance(query, Sequence) else None
    return query.items if until is None else (*query.items, until)


def events(query: Query) -> tuple[EventQuery, ...]:
    """Every event query in a query: itself, or those of its items, that of `until` last."""
    return (query,) if isinstance(query, EventQuery) else tuple(item.event for item in parts(query))


def keys(query: Query) -> tuple[Field, ...]:
    """Every join key in a query, as written."""
    if isinstance(query, EventQuery):
        return ()
    return (*query.by, *(key for item in parts(query) for key in item.by))


def children(node: Expression) -> tuple[Expression, ...]:  # noqa: PLR0911 - one return for each kind of node
    """The expressions a node is made of."""
    match node:
        case Literal() | Field():
            return ()
        case Function():
            return node.arguments
        case Arithmetic() | Comparison():
            return (node.left, node.right)
        case Negative() | Not():
            return (node.operand,)
        case Membership():
            return (node.value, *node.choices)
        case Matching():
            return (node.value,)
        case And() | Or():
            return node.operands


def walk(root: Expression) -> Iterator[tuple[Expression, int]]:
    """Every node with its depth (the root has 1), without recursion."""
    pending = [(root, 1)]
    while pending:
        node, depth = pending.pop()
        yield node, depth
        pending.extend((child, depth + 1) for child in children(node))


def unparse(query: Query) -> str:
    """The query as text; parsing it gives the same value."""
    if isinstance(query, EventQuery):
        category = "any" if query.category is None else quote(query.category)
        return f"{category} where {_text(query.condition)}"
    words = ["sequence" if isinstance(query, Sequence) else "sample", _by(query.by)]
    if isinstance(query, Sequence) and query.span:
        words.append(f"with maxspan={query.span.count}{query.span.unit}")
    words += [_item(item) for item in query.items]
    if isinstance(query, Sequence) and query.until:
        words.append(f"until {_item(query.until)}")
    return " ".join(filter(None, words))


def _item(item: Item) -> str:
    runs = f" with runs={item.runs}" if item.runs > 1 else ""
    by = f" {_by(item.by)}" if item.by else ""
    return f"{'!' if item.missing else ''}[{unparse(item.event)}]{by}{runs}"


def _by(fields: tuple[Field, ...]) -> str:
    return f"by {', '.join(map(field_text, fields))}" if fields else ""


def quote(text: str) -> str:
    """A string literal."""
    return '"' + "".join(_escape(character) for character in text) + '"'


def field_text(field: Field) -> str:
    """A field as it is written, back-quoted where it must be."""
    segments = [
        part
        if part.isascii()
        and part.replace("_", "a").replace("@", "a", 1).isalnum()
        and not part[0].isdigit()
        and part not in KEYWORDS
        else "`" + part.replace("`", "``") + "`"
        for part in field.path.split(".")
    ]
    return ("?" if field.optional else "") + ".".join(segments)


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\u{{{ord(character):02x}}}"


def _constant(value: Constant) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return quote(value)
        case _:
            return repr(value)


def _text(node: Expression) -> str:  # noqa: PLR0911 - one return for each kind of node
    match node:
        case Literal():
            return _constant(node.value)
        case Field():
            return field_text(node)
        case Function():
            arguments = ", ".join(_text(argument) for argument in node.arguments)
            return f"{node.name}{'~' if node.insensitive else ''}({arguments})"
        case Arithmetic():
            return f"({_text(node.left)} {node.operator} {_text(node.right)})"
        case Negative():
            return f"-({_text(node.operand)})"
        case Comparison():
            return f"({_text(node.left)} {node.comparator} {_text(node.right)})"
        case Membership():
            word = ("not " if node.negated else "") + ("in~" if node.insensitive else "in")
            return f"({_text(node.value)} {word} ({', '.join(_text(choice) for choice in node.choices)}))"
        case Matching():
            patterns = ", ".join(quote(pattern) for pattern in node.patterns)
            return f"({_text(node.value)} {node.matcher} {f'({patterns})' if len(node.patterns) > 1 else patterns})"
        case And():
            return "(" + " and ".join(_text(operand) for operand in node.operands) + ")"
        case Or():
            return "(" + " or ".join(_text(operand) for operand in node.operands) + ")"
        case Not():
            return f"not {_text(node.operand)}"
