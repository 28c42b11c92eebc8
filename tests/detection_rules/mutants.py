"""Every small way in which a rule's query could be wrong: made from its syntax tree, not from a list by hand."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from detection_rules.language import eql, eql_ast, kql, kql_ast

_GROUP = re.compile(r"\(([^()]*)\)(\??)")


def mutants(query: str, language: str) -> Iterator[str]:
    """Queries that differ from the given one in one place.

    A condition is dropped, turned round or made constant; one of several values or patterns is dropped or changed; a
    pattern is made wider; an alternative is taken out of a regular expression.
    """
    tree: Any
    if language == "eql":
        tree = eql.parse(query)
        written = {eql_ast.unparse(mutant) for mutant in _changed(tree)} - {eql_ast.unparse(tree)}
    else:
        tree = kql.parse(query)
        written = {kql_ast.unparse(mutant) for mutant in _changed(tree)} - {kql_ast.unparse(tree)}
    yield from sorted(written)


def _changed(node: Any) -> Iterator[Any]:
    """The node with one change in it or below it."""
    yield from _changed_here(node)
    for field in fields(node):
        value = getattr(node, field.name)
        if is_dataclass(value):
            yield from (replace(node, **{field.name: changed}) for changed in _changed(value))
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                for changed in _changed(item) if is_dataclass(item) else ():
                    yield replace(node, **{field.name: (*value[:at], changed, *value[at + 1 :])})


def _changed_here(node: Any) -> Iterator[Any]:
    match node:
        case eql_ast.And(operands) | eql_ast.Or(operands) | kql_ast.And(operands) | kql_ast.Or(operands):
            for rest in _without_one(operands):
                yield rest[0] if len(rest) == 1 else type(node)(rest)
        case eql_ast.Not(operand) | kql_ast.Not(operand):
            yield operand
        case eql_ast.Membership(choices=choices) if len(choices) > 1:
            yield from (replace(node, choices=rest) for rest in _without_one(choices))
        case eql_ast.Matching(patterns=patterns, matcher=matcher):
            regex = matcher in (eql_ast.Matcher.REGEX, eql_ast.Matcher.REGEX_INSENSITIVE)
            if len(patterns) > 1:
                yield from (replace(node, patterns=rest) for rest in _without_one(patterns))
            for at, pattern in enumerate(patterns):
                for other in _other_expressions(pattern) if regex else _other_wildcards(pattern):
                    yield replace(node, patterns=(*patterns[:at], other, *patterns[at + 1 :]))
        case eql_ast.Comparison(right=eql_ast.Literal(value=str(text))):
            yield replace(node, right=eql_ast.Literal(f"{text}?"))
        case kql_ast.Equals(field=field, value=kql_ast.Value(text=text)):
            yield kql_ast.Exists(field)
            yield kql_ast.Equals(field, kql_ast.Value(f"{text}?", quoted=True))


def _without_one(items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    return (items[:at] + items[at + 1 :] for at in range(len(items)))


def _other_wildcards(pattern: str) -> Iterator[str]:
    if pattern.endswith("*"):
        yield pattern[:-2] + "*"  # one character less to demand
    if pattern.startswith("*"):
        yield "*" + pattern[2:]
    if not pattern.startswith("*"):
        yield "*" + pattern


def _other_expressions(pattern: str) -> Iterator[str]:
    for group in _GROUP.finditer(pattern):
        before, after = pattern[: group.start()], pattern[group.end() :]
        if group[2]:
            yield f"{before}({group[1]}){after}"  # no longer optional
            yield before + after
        for rest in _without_one(tuple(group[1].split("|"))):
            if rest:
                yield f"{before}({'|'.join(rest)}){group[2]}{after}"
    for old, new in (
        ("[^/]+", ".+"),
        ("[^/]*", ""),
        ("/?", ""),
        ("/?", "/"),
        ("[0-9]+", ".+"),
        (".*/", "/"),
        ("\\.", "."),
    ):
        for found in re.finditer(re.escape(old), pattern):
            yield pattern[: found.start()] + new + pattern[found.end() :]
    if not pattern.startswith(".*"):
        yield ".*" + pattern
    if not pattern.endswith(".*"):
        yield pattern + ".*"
