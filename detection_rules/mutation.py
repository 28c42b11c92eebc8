"""Does every part of a rule matter to some document beside it?

A mutant is the rule's query with one small mistake in it: a condition dropped or turned round, a pattern made wider, a
step or a key of a sequence left out. A document that the mutant treats otherwise than the proof says kills it. A mutant
that nothing kills is a part of the query that nobody would miss, or a document that nobody has written yet.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, Final

import msgspec

from detection_rules.language import eql, eql_ast, eql_compile, kql, kql_ast, kql_compile, match_all
from detection_rules.language.sequence_plan import plan_of
from detection_rules.proof import Case, Proof
from detection_rules.rule_set import Rule

ENOUGH: Final = 0.95
"""Of a rule's mutants that must be killed. Some mean the same as the rule, and no document can tell them apart."""
LONGEST_NAME: Final = 160
_WIDER: Final = 10
"""How many times longer a span becomes."""

Fires = Callable[[Case], bool]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A query with one mistake."""

    change: str
    """What was done, in words."""
    query: Any
    """Its syntax tree."""
    text: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a rule's mutants."""

    rule: str
    mutants: int
    survivors: tuple[str, ...]
    """What was changed without any document noticing."""

    @property
    def killed(self) -> float:
        """From 0 to 1; 1 where there was nothing to kill."""
        return 1 - len(self.survivors) / self.mutants if self.mutants else 1.0


def mutate(rule: Rule, proof: Proof) -> Outcome:
    """Hold every mutant of a rule against the rule's documents."""
    found = list(mutants(rule.query, rule.language))
    held = [
        (case, wanted)
        for cases, wanted in ((proof.must_match, True), (proof.must_not_match, False))
        for case in cases
        if any(rule.asked(document) for document in case.documents)
    ]
    survivors = [
        mutant.change
        for mutant in found
        if all(fires(case) is wanted for fires in (_fires(rule, mutant),) for case, wanted in held)
    ]
    return Outcome(rule=rule.stem, mutants=len(found), survivors=tuple(survivors))


def mutants(query: str, language: str) -> Iterator[Mutant]:
    """Every query that differs from the given one in one place, each once."""
    tree: Any
    unparse: Callable[[Any], str]
    if language == "eql":
        tree, unparse = eql.parse_query(query), eql_ast.unparse
    else:
        tree, unparse = kql.parse(query), kql_ast.unparse
    seen = {unparse(tree)}
    for change, changed in _changed(tree):
        text = unparse(changed)
        if text not in seen:
            seen.add(text)
            yield Mutant(change, changed, text)


def _fires(rule: Rule, mutant: Mutant) -> Fires:
    if isinstance(mutant.query, eql_ast.Sequence | eql_ast.Sample):
        plan = plan_of(mutant.query)
        return lambda case: bool(match_all(plan, [d if rule.asked(d) else {} for d in case.documents]))
    compiled = kql_compile.compile_query if rule.language == "kuery" else eql_compile.compile_query
    holds = compiled(mutant.query)
    return lambda case: any(rule.asked(document) and holds(document) for document in case.documents)


def _changed(node: Any) -> Iterator[tuple[str, Any]]:
    """The node with one change in it or below it."""
    yield from _changed_here(node)
    for field in fields(node):
        value = getattr(node, field.name)
        put = partial(_put, node, field.name)
        if is_dataclass(value):
            yield from ((change, put(changed)) for change, changed in _changed(value))
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                for change, changed in _changed(item) if is_dataclass(item) else ():
                    yield change, put((*value[:at], changed, *value[at + 1 :]))


def _put(node: Any, name: str, value: Any) -> Any:
    return replace(node, **{name: value})


def _changed_here(node: Any) -> Iterator[tuple[str, Any]]:
    match node:
        case eql_ast.Sequence() | eql_ast.Sample():
            yield from _other_sequences(node)
        case eql_ast.Item(runs=runs, missing=missing):
            if runs > 1:
                yield f"runs={runs} becomes {runs - 1}", replace(node, runs=runs - 1)
            if missing:
                yield f"`!` taken from [{_named(node.event)}]", replace(node, missing=False)
        case eql_ast.EventQuery(category=str(category)):
            yield f"`{category} where` becomes `any where`", replace(node, category=None)
        case eql_ast.And(operands) | eql_ast.Or(operands) | kql_ast.And(operands) | kql_ast.Or(operands):
            for dropped, rest in _each(operands):
                yield f"without `{_named(dropped)}`", rest[0] if len(rest) == 1 else type(node)(rest)
        case eql_ast.Not(operand) | kql_ast.Not(operand):
            yield f"without `not` before `{_named(operand)}`", operand
        case eql_ast.Membership() | eql_ast.Matching() | eql_ast.Comparison():
            yield from _other_conditions(node)
        case kql_ast.Equals() | kql_ast.Range():
            yield from _other_clauses(node)


def _other_sequences(node: eql_ast.Sequence | eql_ast.Sample) -> Iterator[tuple[str, Any]]:
    for dropped, rest in _each(node.items):
        if any(not item.missing for item in rest):
            alone = len(rest) == 1 and rest[0].runs == 1
            yield f"without the step [{_named(dropped.event)}]", rest[0].event if alone else replace(node, items=rest)
    for key, by in _each(node.by):
        if by or isinstance(node, eql_ast.Sequence):
            yield f"without the key {key.path}", replace(node, by=by)
    for at, key in enumerate(node.items[0].by):  # the items' own keys stand for each other by their places
        yield f"without the key {key.path} and its like", _without_key(node, at)
    if isinstance(node, eql_ast.Sequence) and node.span is not None:
        wider = eql_ast.Span(node.span.count * _WIDER, node.span.unit)
        yield f"maxspan={node.span.count}{node.span.unit} {_WIDER} times as long", replace(node, span=wider)
    if isinstance(node, eql_ast.Sequence) and node.until is not None:
        yield "without `until`", replace(node, until=None)


def _without_key(node: eql_ast.Sequence | eql_ast.Sample, at: int) -> eql_ast.Sequence | eql_ast.Sample:
    def less(item: eql_ast.Item) -> eql_ast.Item:
        return replace(item, by=(*item.by[:at], *item.by[at + 1 :]))

    items = tuple(less(item) for item in node.items)
    if isinstance(node, eql_ast.Sequence):
        return replace(node, items=items, until=None if node.until is None else less(node.until))
    return replace(node, items=items)


_OPPOSITE: Final = {
    eql_ast.Comparator.EQUAL: (eql_ast.Comparator.NOT_EQUAL,),
    eql_ast.Comparator.NOT_EQUAL: (eql_ast.Comparator.EQUAL,),
    eql_ast.Comparator.LESS: (eql_ast.Comparator.GREATER_OR_EQUAL, eql_ast.Comparator.LESS_OR_EQUAL),
    eql_ast.Comparator.LESS_OR_EQUAL: (eql_ast.Comparator.GREATER, eql_ast.Comparator.LESS),
    eql_ast.Comparator.GREATER: (eql_ast.Comparator.LESS_OR_EQUAL, eql_ast.Comparator.GREATER_OR_EQUAL),
    eql_ast.Comparator.GREATER_OR_EQUAL: (eql_ast.Comparator.LESS, eql_ast.Comparator.GREATER),
}
_SENSITIVE: Final = {
    eql_ast.Matcher.LIKE_INSENSITIVE: eql_ast.Matcher.LIKE,
    eql_ast.Matcher.REGEX_INSENSITIVE: eql_ast.Matcher.REGEX,
    eql_ast.Matcher.SEQ: eql_ast.Matcher.LIKE,
}


def _other_conditions(
    node: eql_ast.Membership | eql_ast.Matching | eql_ast.Comparison,
) -> Iterator[tuple[str, Any]]:
    match node:
        case eql_ast.Membership(choices=choices):
            yield f"`not` put before `{_named(node)}`", replace(node, negated=not node.negated)
            if len(choices) > 1:
                yield from ((f"without {_named(one)}", replace(node, choices=rest)) for one, rest in _each(choices))
            if node.insensitive:
                yield f"`{_named(node)}` heeds case", replace(node, insensitive=False)
        case eql_ast.Matching(patterns=patterns, matcher=matcher):
            regex = matcher in (eql_ast.Matcher.REGEX, eql_ast.Matcher.REGEX_INSENSITIVE)
            if len(patterns) > 1:
                yield from ((f'without "{one}"', replace(node, patterns=rest)) for one, rest in _each(patterns))
            for at, pattern in enumerate(patterns):
                for other in _other_expressions(pattern) if regex else _other_wildcards(pattern):
                    changed = (*patterns[:at], other, *patterns[at + 1 :])
                    yield f'"{pattern}" becomes "{other}"', replace(node, patterns=changed)
            if matcher in _SENSITIVE:
                yield f"`{_named(node)}` heeds case", replace(node, matcher=_SENSITIVE[matcher])
        case eql_ast.Comparison(comparator=comparator, right=right):
            for other in _OPPOSITE[comparator]:
                yield f"`{_named(node)}` with {other}", replace(node, comparator=other)
            if isinstance(right, eql_ast.Literal) and isinstance(right.value, str):
                yield f"`{_named(node)}` with another value", replace(node, right=eql_ast.Literal(f"{right.value}?"))


def _other_clauses(node: kql_ast.Equals | kql_ast.Range) -> Iterator[tuple[str, Any]]:
    match node:
        case kql_ast.Equals(field=field, value=kql_ast.Value(text=text)):
            yield f"`{_named(node)}` with any value", kql_ast.Exists(field)
            yield f"`{_named(node)}` with another value", kql_ast.Equals(field, kql_ast.Value(f"{text}?", quoted=True))
        case kql_ast.Equals(field=field, value=kql_ast.Pattern(pieces=pieces)):
            for at, piece in enumerate(pieces):
                if piece:
                    shorter = (*pieces[:at], piece[1:] if at == len(pieces) - 1 else piece[:-1], *pieces[at + 1 :])
                    yield f"`{_named(node)}` one character wider", kql_ast.Equals(field, kql_ast.Pattern(shorter))
        case kql_ast.Range(operator=operator):
            for other in {"<": (">=", "<="), "<=": (">", "<"), ">": ("<=", ">="), ">=": ("<", ">")}[operator]:
                yield f"`{_named(node)}` with {other}", replace(node, operator=other)


def _each(items: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Each item with the others."""
    return ((item, items[:at] + items[at + 1 :]) for at, item in enumerate(items))


def _named(node: Any) -> str:
    """A part of a query in words, cut where it is long."""
    if isinstance(node, eql_ast.EventQuery):
        text = eql_ast.unparse(node)
    elif isinstance(node, eql_ast.Literal) and isinstance(node.value, str):
        text = eql_ast.quote(node.value)
    elif type(node).__module__ == kql_ast.__name__:
        text = kql_ast.unparse(node)
    else:
        text = eql_ast.unparse(eql_ast.EventQuery(None, node)).removeprefix("any where ")
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def _other_wildcards(pattern: str) -> Iterator[str]:
    if pattern.endswith("*") and len(pattern) > 1:
        yield pattern[:-2] + "*"  # one character less to demand
    if pattern.startswith("*") and len(pattern) > 1:
        yield "*" + pattern[2:]
    if not pattern.startswith("*"):
        yield "*" + pattern


_GROUP: Final = re.compile(r"\(([^()]*)\)(\??)")
_LOOSER: Final = (
    ("[^/]+", ".+"),
    ("[^/]*", ""),
    ("/?", ""),
    ("/?", "/"),
    ("[0-9]+", ".+"),
    (".*/", "/"),
    ("\\.", "."),
)
"""Pieces of regular expressions, and what a careless hand would write instead."""


def _other_expressions(pattern: str) -> Iterator[str]:
    for group in _GROUP.finditer(pattern):
        before, after = pattern[: group.start()], pattern[group.end() :]
        if group[2]:
            yield f"{before}({group[1]}){after}"  # no longer optional
            yield before + after
        for _, rest in _each(tuple(group[1].split("|"))):
            if rest:
                yield f"{before}({'|'.join(rest)}){group[2]}{after}"
    for old, new in _LOOSER:
        for found in re.finditer(re.escape(old), pattern):
            yield pattern[: found.start()] + new + pattern[found.end() :]
    if not pattern.startswith(".*"):
        yield ".*" + pattern
    if not pattern.endswith(".*"):
        yield pattern + ".*"
