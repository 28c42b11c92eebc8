"""What a panel shows, worked out by hand for a handful of documents."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kibana_dashboards.dashboards.evaluate import Span, bars_of, rows
from kibana_dashboards.dashboards.lens import Column, Panel

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SPAN = Span(begin=NOON, end=NOON + timedelta(minutes=10), bars=timedelta(minutes=1))


def document(minute: float, host: str, **fields: Any) -> dict[str, Any]:
    """A document some minutes after noon."""
    moment = (NOON + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")
    return {"@timestamp": moment, "host": {"name": host}, **fields}


DOCUMENTS = [
    document(-1, "early", size=99),
    document(0, "a", size=1, tags=["x", "y"]),
    document(1, "b", size=5, tags=["y"]),
    document(1.5, "b", size=7, tags=["y", "z"]),
    document(6, "a", size=3),
    document(10, "c", tags=[]),
    document(11, "late", size=99),
]


def panel(*columns: Column, query: str = "*", since: str = "") -> Panel:
    """A table of some columns."""
    return Panel(title="t", kind="table", query=query, columns=columns, grid=(0, 0, 1, 1), since=since)


def column(operation: str, field: str = "", **other: Any) -> Column:
    """A column called like its operation."""
    return Column(id=operation, label=operation, operation=operation, data_type="number", field=field, **other)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (column("count"), 5),
        (column("count", only="size >= 3"), 3),
        (column("unique_count", "host.name"), 3),
        (column("unique_count", "tags"), 3),
        (column("min", "size"), 1),
        (column("max", "size"), 7),
        (column("sum", "size"), 16),
        (column("median", "size"), 4),
        (column("last_value", "size", only="size: *"), 3),
        (column("last_value", "tags", array=True), ["y", "z"]),
        (column("last_value", "tags", only="host.name: a", array=True), ["x", "y"]),
        (column("last_value", "nothing"), None),
        (column("max", "nothing"), None),
        (column("difference", "host.name", only="host.name: *", less="size: 5"), 2),
    ],
)
def test_a_number_over_all(asked: Column, told: Any) -> None:
    """Each operation over the five documents of the span; those before and after it do not count."""
    assert rows(panel(asked), DOCUMENTS, SPAN) == ({asked.id: told},)


def test_a_panels_own_span() -> None:
    """`since` counts back from the end of the dashboard's span."""
    assert rows(panel(column("count"), since="now-5m"), DOCUMENTS, SPAN) == ({"count": 2},)


def test_a_query_chooses() -> None:
    """Only documents that the panel's query holds for are counted."""
    assert rows(panel(column("count"), query="host.name: (a or c)"), DOCUMENTS, SPAN) == ({"count": 3},)


@pytest.mark.parametrize(
    ("size", "order_by", "names"),
    [(5, "count", ["a", "b", "c"]), (1, "count", ["a"]), (5, "max", ["b", "a", "c"]), (2, "", ["a", "b"])],
)
def test_values_in_their_order(size: int, order_by: str, names: list[str]) -> None:
    """The largest first, equals by name, no more than asked for; a bucket that has no value comes last."""
    by = column("terms", "host.name", size=size, order_by=order_by)
    other = column("max", "size") if order_by == "max" else column("count")
    assert [row["terms"] for row in rows(panel(by, other), DOCUMENTS, SPAN)] == names


def test_buckets_within_buckets() -> None:
    """A document with several values counts in the bucket of each."""
    by, within = (
        column("terms", "host.name", size=9),
        Column(id="tag", label="tag", operation="terms", data_type="string", field="tags", size=9),
    )
    told = [
        (row["terms"], row["tag"], row["count"]) for row in rows(panel(by, within, column("count")), DOCUMENTS, SPAN)
    ]
    assert told == [("a", "x", 1), ("a", "y", 1), ("b", "y", 2), ("b", "z", 1)]


def test_bars_stand_at_whole_widths() -> None:
    """Bars begin at multiples of their width since midnight, also those that nothing falls into."""
    over = column("date_histogram", "@timestamp")
    told = [(row["date_histogram"][11:16], row["count"]) for row in rows(panel(over, column("count")), DOCUMENTS, SPAN)]
    assert told == [("12:00", 1), ("12:01", 2), ("12:06", 1), ("12:10", 1)]
    bars = bars_of(Span(begin=NOON + timedelta(seconds=90), end=NOON + timedelta(minutes=4), bars=SPAN.bars))
    assert [bar[11:16] for bar in bars] == ["12:01", "12:02", "12:03", "12:04"]
