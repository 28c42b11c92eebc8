"""Building EQL's sequences and samples out of the parse tree: what only holds of several events together."""

# ruff: noqa: D102 - each method is called as the rule of the grammar is that it builds

from typing import Any, Final, NamedTuple

import lark
from lark.tree import Meta

from detection_rules.language import eql_ast as ast
from detection_rules.language.eql_conditions import ConditionBuilder
from detection_rules.language.parsing import fail

MOST_RUNS: Final = 100
MOST_ITEMS: Final = 500
"""Of one sequence, each repetition of `with runs` counted."""


class _Until(NamedTuple):
    item: ast.Item


@lark.v_args(meta=True)
class QueryBuilder(ConditionBuilder):
    """A whole query: one event, a sequence of them, or a sample."""

    def start(self, _meta: Meta, parts: list[Any]) -> ast.Query:
        query: ast.Query = parts[0]
        return query

    def by(self, _meta: Meta, parts: list[Any]) -> tuple[ast.Field, ...]:
        return tuple(parts)

    def span(self, meta: Meta, parts: list[lark.Token]) -> ast.Span:
        number, unit = str(parts[0]), str(parts[1]) if len(parts) > 1 else ""
        units = ", ".join(ast.UNITS)
        if not number.isdigit() or len(number) > 9 or not int(number):
            fail(meta, f"`maxspan` takes a whole number from 1 to 999999999 and a unit ({units}), not {number}{unit}")
        if unit not in ast.UNITS:
            fail(meta, f"`maxspan` takes a unit of time ({units}), not `{unit}`")
        return ast.Span(int(number), unit)

    def runs(self, meta: Meta, parts: list[lark.Token]) -> int:
        option, number = str(parts[0]), str(parts[1])
        if option != "runs":
            fail(meta, f"`with {option}` does not fit here: an item may have `with runs=2`")
        if not number.isdigit() or len(number) > 3 or not 1 <= int(number) <= MOST_RUNS:
            fail(meta, f"`runs` takes a whole number from 1 to {MOST_RUNS}, not {number}")
        return int(number)

    def item(self, _meta: Meta, parts: list[Any]) -> ast.Item:
        event = next(part for part in parts if isinstance(part, ast.EventQuery))
        by = next((part for part in parts if isinstance(part, tuple)), ())
        runs = next((part for part in parts if isinstance(part, int)), 1)
        return ast.Item(event, by, runs, missing=isinstance(parts[0], lark.Token))

    def sampled(self, meta: Meta, parts: list[Any]) -> ast.Item:
        return self.item(meta, parts)

    def until(self, meta: Meta, parts: list[Any]) -> _Until:
        return _Until(self.item(meta, parts))

    def by_after_with(self, meta: Meta, _parts: list[Any]) -> None:
        fail(meta, "`by` stands after `with maxspan`: write `sequence by ... with maxspan=...`")

    def sequence(self, meta: Meta, parts: list[Any]) -> ast.Sequence:
        items = tuple(part for part in parts if isinstance(part, ast.Item))
        by = parts[0] if not isinstance(parts[0], ast.Item | ast.Span | _Until) else ()
        span = next((part for part in parts if isinstance(part, ast.Span)), None)
        until = parts[-1].item if isinstance(parts[-1], _Until) else None
        length = sum(item.runs for item in items)
        if length < 2:
            fail(meta, "a `sequence` takes at least two items")
        if length > MOST_ITEMS:
            fail(meta, f"a `sequence` of {length} items: this takes {MOST_ITEMS}")
        if any(item.missing for item in items):
            if span is None:
                fail(meta, "a missing event (`![ ]`) needs `with maxspan`, or it would be awaited for ever")
            if all(item.missing for item in items):
                fail(meta, "a `sequence` of missing events only: at least one must happen")
        self._same_keys(meta, [*items, *([until] if until else [])])
        return ast.Sequence(by, span, items, until)

    def sample(self, meta: Meta, parts: list[Any]) -> ast.Sample:
        items = tuple(part for part in parts if isinstance(part, ast.Item))
        by = parts[0] if not isinstance(parts[0], ast.Item) else ()
        if len(items) < 2:
            fail(meta, "a `sample` takes at least two items")
        if len(items) > MOST_ITEMS:
            fail(meta, f"a `sample` of {len(items)} items: this takes {MOST_ITEMS}")
        self._same_keys(meta, items)
        if not by and not items[0].by:
            fail(meta, "a `sample` needs a join key: write `sample by field`")
        return ast.Sample(by, items)

    def _same_keys(self, meta: Meta, items: Any) -> None:
        counts = {len(item.by) for item in items}
        if len(counts) > 1:
            fail(meta, f"the items join by different numbers of keys ({', '.join(map(str, sorted(counts)))})")
