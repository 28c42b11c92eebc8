"""Queries that are dear to ask, here or in Elasticsearch."""

import re
from collections.abc import Iterator
from typing import Final

from detection_rules.language import eql_ast, kql_ast
from detection_rules.lint.remarks import Check, Place, Subject

_UNIT: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_RELATIVE: Final = re.compile(r"now-(\d+)([smhd])")
_INTERVAL: Final = re.compile(r"(\d+)([smhd])")
_EXPRESSIONS: Final = frozenset({eql_ast.Matcher.REGEX, eql_ast.Matcher.REGEX_INSENSITIVE})


def _unanchored(subject: Subject) -> Iterator[tuple[str, Place]]:
    if not all(branch.demands for branch in subject.rule.branches):
        yield "no value that every match must have: every document is asked", subject.query_line("")


def _leading(subject: Subject) -> Iterator[tuple[str, Place]]:
    """A pattern that begins with a wildcard reads every value; one among cheap conditions reads few."""
    if all(branch.demands for branch in subject.rule.branches):
        return
    for node in subject.nodes:
        match node:
            case eql_ast.Matching(matcher=matcher, patterns=patterns):
                start = ".*" if matcher in _EXPRESSIONS else "*"
                for pattern in patterns:
                    if pattern.startswith(start):
                        yield f'"{pattern}" begins with a wildcard', subject.query_line(pattern)
            case kql_ast.Equals(field=field, value=kql_ast.Pattern(pieces=("", *_))):
                yield f"the pattern for {field} begins with a wildcard", subject.query_line(field)


def _unbounded(subject: Subject) -> Iterator[tuple[str, Place]]:
    query = subject.eql
    if isinstance(query, eql_ast.Sequence) and query.span is None:
        yield "a sequence without `with maxspan`: every first step is kept for ever", subject.query_line("sequence")
    if isinstance(query, eql_ast.Sequence) and not eql_ast.keys(query):
        yield "a sequence without `by`: steps of different hosts are joined", subject.query_line("sequence")


def _window(subject: Subject) -> Iterator[tuple[str, Place]]:
    """Kibana asks again every `interval` about what arrived since `from`: a sequence must fit in with room to spare."""
    table = subject.rule.source.file.rule
    looked, every = _RELATIVE.fullmatch(table.from_), _INTERVAL.fullmatch(table.interval)
    if not looked or not every:
        return
    back = int(looked[1]) * _UNIT[looked[2]]
    needed = int(every[1]) * _UNIT[every[2]]
    if isinstance(subject.eql, eql_ast.Sequence) and subject.eql.span is not None:
        needed += subject.eql.span.milliseconds // 1_000
    if back < needed:
        yield f"looks back {back} s, and {needed} s are needed (interval and maxspan)", subject.line("from")


CHECKS: Final = (
    Check(
        "cost", "warning", "demand a value of event.category, event.dataset or the like in every branch", _unanchored
    ),
    Check("wildcard", "warning", "begin with the fixed part, or demand something cheaper first", _leading),
    Check("unbounded", "warning", "add `by host.id` and `with maxspan=...`", _unbounded),
    Check("window", "warning", "let `from` cover the interval and the maxspan", _window),
)
