"""What a check is, what it looks at, and what it says."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec

from detection_rules.language import eql, eql_ast, kql, kql_ast
from detection_rules.proof import Proof
from detection_rules.queries import queried_fields
from detection_rules.rule_file import query_line
from detection_rules.rule_set import Rule
from detection_rules.toml_places import line_of

Level = Literal["error", "warning"]
Place = int
"""A line of the rule's file, from 1."""


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is questionable."""

    rule: str
    check: str
    level: Level
    file: str
    line: int
    problem: str
    recommendation: str


@dataclass(frozen=True)
class Subject:
    """A rule, and what is known around it."""

    rule: Rule
    proof: Proof | None
    """None where the documents beside the rule cannot be read."""
    together: tuple[Rule, ...]
    """All rules that are looked at, this one among them."""
    problem: str = ""
    """Why there is no proof."""

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """What the query reads."""
        return queried_fields(self.rule.query, self.rule.language)

    @cached_property
    def eql(self) -> eql_ast.Query | None:
        """The query's tree, where it is EQL."""
        return eql.parse_query(self.rule.query) if self.rule.language == "eql" else None

    @cached_property
    def nodes(self) -> tuple[Any, ...]:
        """Every node of the conditions."""
        if self.eql is None:
            return tuple(node for node, _ in kql_ast.walk(kql.parse(self.rule.query)))
        return tuple(node for event in eql_ast.events(self.eql) for node, _ in eql_ast.walk(event.condition))

    def line(self, key: str) -> Place:
        """Where a key of `[rule]` stands."""
        return line_of(self.rule.source.text, f"$.rule.{key}")

    def query_line(self, words: str) -> Place:
        """Where the query first says something; its first line where it never does."""
        first = query_line(self.rule.source.text)
        return next((n for n, line in enumerate(self.rule.query.splitlines(), first) if words in line), first)


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of mistake."""

    name: str
    level: Level
    recommendation: str
    find: Callable[[Subject], Iterable[tuple[str, Place]]]
    """(problem, line) for each place where it is made."""
