"""Queries that mean something else than they seem to."""

from collections.abc import Iterator
from typing import Any, Final

from detection_rules.datasets import known_fields
from detection_rules.language import eql_ast, kql_ast
from detection_rules.lint.remarks import Check, Place, Subject

_ARGUMENTS: Final = ("process.args", "process.parent.args")
_LIKE: Final = frozenset({eql_ast.Matcher.SEQ, eql_ast.Matcher.LIKE, eql_ast.Matcher.LIKE_INSENSITIVE})
_ORDERED: Final = frozenset(eql_ast.Comparator) - {eql_ast.Comparator.EQUAL, eql_ast.Comparator.NOT_EQUAL}


def _is_list(name: str) -> bool:
    return name in known_fields() and known_fields()[name].array


def _lists(subject: Subject) -> Iterator[tuple[str, Place]]:
    for node in subject.nodes:
        match node:
            case eql_ast.Comparison(eql_ast.Field(path), eql_ast.Comparator.NOT_EQUAL, eql_ast.Literal(value)) if (
                value is not None and _is_list(path)
            ):
                problem = f"{path} is a list: `!=` holds only where no value of it equals, never where one differs"
                yield problem, subject.query_line(path)
            case eql_ast.Comparison(eql_ast.Field(path), comparator, _) if comparator in _ORDERED and _is_list(path):
                yield f"{path} is a list: `{comparator}` holds where any value of it does", subject.query_line(path)
            case eql_ast.Function("length", (eql_ast.Field(path), *_)) if _is_list(path):
                yield (
                    f"{path} is a list: `length` gives the characters of a value, not how many there are",
                    (subject.query_line(path)),
                )


def _joined(subject: Subject) -> Iterator[tuple[str, Place]]:
    for name, text in _texts(subject):
        if name in _ARGUMENTS and " " in text.strip():
            problem = f'{name} holds one argument in each value: "{text}" stands for several'
            yield problem, subject.query_line(text)


def _var_run(subject: Subject) -> Iterator[tuple[str, Place]]:
    texts = list(_texts(subject))
    for name, text in texts:
        if text.startswith("/var/run/") and (name, text.removeprefix("/var")) not in texts:
            yield f'"{text}" without "{text.removeprefix("/var")}"', subject.query_line(text)


def _texts(subject: Subject) -> Iterator[tuple[str, str]]:
    """Every text or pattern that a field is held against, with the field."""
    for node in subject.nodes:
        match node:
            case eql_ast.Comparison(eql_ast.Field(path), _, eql_ast.Literal(value=str(text))):
                yield path, text
            case eql_ast.Membership(eql_ast.Field(path), choices):
                yield from ((path, choice.value) for choice in choices if isinstance(choice.value, str))
            case eql_ast.Matching(eql_ast.Field(path), matcher, patterns) if matcher in _LIKE:
                yield from ((path, pattern) for pattern in patterns)
            case kql_ast.Equals(field, value):
                yield field, _kql_text(value)


def _kql_text(value: Any) -> str:
    return value.text if isinstance(value, kql_ast.Value) else "*".join(value.pieces)


def _always(subject: Subject) -> Iterator[tuple[str, Place]]:
    """A pattern that anything matches."""
    for name, text in _texts(subject):
        if text and not text.strip("*?"):
            yield f'{name} is held against "{text}", which everything matches', subject.query_line(name)


CHECKS: Final = (
    Check("list", "warning", "write `not field == value`, or ask about one value of a field that is none", _lists),
    Check("arguments", "warning", "name each argument in a condition of its own, or ask process.command_line", _joined),
    Check("var_run", "warning", "/var/run is a link to /run, and resolved paths have no /var: add both", _var_run),
    Check("everything", "warning", "ask whether the field exists (`field != null`, `field: *`)", _always),
)
