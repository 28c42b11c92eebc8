"""A KQL query as a value, and the value as text again."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Value:
    """One value to look for. In quotes it is taken as it stands, and is a phrase in a text field."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """A value with wildcards: the literal pieces between the `*`s, at least two."""

    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Equals:
    """`field: value`."""

    field: str
    value: Value | Pattern


@dataclass(frozen=True, slots=True)
class Exists:
    """`field: *`."""

    field: str


@dataclass(frozen=True, slots=True)
class Range:
    """`field < value`, and `<=`, `>`, `>=`."""

    field: str
    operator: str
    bound: str


@dataclass(frozen=True, slots=True)
class InFields:
    """A condition on whichever field has a name of this pattern: `process.*: x`, `*: x`."""

    pieces: tuple[str, ...]
    """The literal pieces between the `*`s, at least two."""
    condition: Equals | Exists | Range
    """Its field is empty."""


@dataclass(frozen=True, slots=True)
class Nested:
    """`path: { ... }`: one and the same object in the array at `path` fulfils it all."""

    path: str
    """From the document's top, also within another one."""
    operand: "Query"
    """Its fields too have their names from the document's top."""


@dataclass(frozen=True, slots=True)
class MatchAll:
    """An empty query, `*`, or `*:*`."""


@dataclass(frozen=True, slots=True)
class And:
    """All hold. At least two, none of them an And."""

    operands: tuple["Query", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One holds. At least two, none of them an Or."""

    operands: tuple["Query", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The operand does not hold."""

    operand: "Query"


Query = Equals | Exists | Range | InFields | Nested | MatchAll | And | Or | Not


def walk(root: Query) -> Iterator[tuple[Query, int]]:
    """Every node with its depth (the root has 1), without recursion."""
    pending = [(root, 1)]
    while pending:
        node, depth = pending.pop()
        yield node, depth
        if isinstance(node, And | Or):
            pending.extend((operand, depth + 1) for operand in node.operands)
        elif isinstance(node, Not | Nested):
            pending.append((node.operand, depth + 1))


def unparse(node: Query, within: str = "") -> str:  # noqa: PLR0911 - one return for each kind of node
    """The query as text; parsing it gives the same value.

    Args:
        node: The query.
        within: The path of the nested objects it is about, with a dot at its end.
    """
    match node:
        case MatchAll():
            return "*"
        case Exists() | Range() | Equals():
            return _condition(_quoted(node.field.removeprefix(within)), node)
        case InFields():
            pieces = (node.pieces[0].removeprefix(within), *node.pieces[1:])
            return _condition("*".join(escape(piece) for piece in pieces), node.condition)
        case Nested():
            return f"{_quoted(node.path.removeprefix(within))}: {{ {unparse(node.operand, node.path + '.')} }}"
        case And():
            return "(" + " and ".join(unparse(operand, within) for operand in node.operands) + ")"
        case Or():
            return "(" + " or ".join(unparse(operand, within) for operand in node.operands) + ")"
        case Not():
            return f"not ({unparse(node.operand, within)})"


def _condition(name: str, node: Equals | Exists | Range) -> str:
    match node:
        case Exists():
            return f"{name}: *"
        case Range():
            return f"{name} {node.operator} {_quoted(node.bound)}"
        case Equals():
            return f"{name}: {_value(node.value)}"


def _value(value: Value | Pattern) -> str:
    if isinstance(value, Pattern):
        return "*".join(escape(piece) for piece in value.pieces)
    return _quoted(value.text) if value.quoted else escape(value.text)


_WHITE = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\u00a0": "\\u00a0"}


def escape(text: str) -> str:
    """Text as an unquoted value: special characters and keywords escaped. Spaces at its ends cannot be kept."""
    written = "".join(
        "\\" + character if character in '\\():<>"*{}' else _WHITE.get(character, character) for character in text
    )
    return " ".join(_no_keyword(word) for word in written.split(" "))


def _no_keyword(word: str) -> str:
    # by code point, because Kibana reads `\not` as a line break and `ot`
    return f"\\u{ord(word[0]):04x}{word[1:]}" if word.lower() in ("and", "or", "not") else word


def _quoted(text: str) -> str:
    return '"' + "".join("\\" + character if character in '\\"' else character for character in text) + '"'
