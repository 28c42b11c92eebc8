"""What a panel shows of some documents, worked out here as Elasticsearch works it out.

The pictures are drawn from this. A test runs the same panels as aggregations on a real server and compares.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from beat_bridge.model.base import Value
from detection_rules.language import compile_query
from detection_rules.language.fields import reader
from kibana_dashboards.dashboards.lens import Column, Panel

Document = Mapping[str, Any]
Row = dict[str, Any]
"""Values by column id. A `last_value` of several is a list; a moment is text as the document has it."""


class Span(Value, frozen=True, kw_only=True):
    """The time a dashboard shows."""

    begin: datetime
    end: datetime
    bars: timedelta
    """Width of one bar of a time chart, a divisor of a day."""


def rows(panel: Panel, documents: Iterable[Document], span: Span) -> tuple[Row, ...]:
    """The rows of a panel: one where it has no buckets.

    Args:
        panel: As read from its saved object.
        documents: Of every data set.
        span: `begin` and `end` are inclusive.
    """
    begin = span.end - minutes(panel.since) if panel.since else span.begin
    matches = compile_query(panel.query)
    chosen = [document for document in documents if begin <= at(document) <= span.end and matches(document)]
    return tuple(_sorted_into(panel, panel.buckets, chosen, span))


def at(document: Document) -> datetime:
    """When it was seen."""
    return datetime.fromisoformat(str(document["@timestamp"])).astimezone(UTC)


def minutes(since: str) -> timedelta:
    """`now-5m` as five minutes."""
    return timedelta(minutes=int(since.removeprefix("now-").removesuffix("m")))


def _sorted_into(panel: Panel, buckets: Sequence[Column], documents: Sequence[Document], span: Span) -> Iterable[Row]:
    if not buckets:
        yield {column.id: _metric(column, documents) for column in panel.metrics}
        return
    first, *rest = buckets
    for value, members in _split(panel, first, documents, span):
        for row in _sorted_into(panel, rest, members, span):
            yield {first.id: value, **row}


def _split(
    panel: Panel, column: Column, documents: Sequence[Document], span: Span
) -> Iterable[tuple[Any, Sequence[Document]]]:
    groups: dict[Any, list[Document]] = {}
    if column.operation == "date_histogram":
        for document in documents:
            groups.setdefault(bar(at(document), span.bars), []).append(document)
        return sorted(groups.items())
    read = reader(column.field)
    for document in documents:
        for value in set(read(document)):
            groups.setdefault(value, []).append(document)
    ordered = sorted(groups.items(), key=lambda group: _as_key(group[0]))
    order = next((other for other in panel.columns if other.id == column.order_by), None)
    if order is not None:
        ordered.sort(key=lambda group: _rank(_metric(order, group[1])), reverse=True)  # stable: equals stay by name
    return ordered[: column.size]


def bars_of(span: Span) -> tuple[str, ...]:
    """The beginning of every bar, also of those that nothing falls into."""
    first = datetime.fromisoformat(bar(span.begin, span.bars))
    count = int((span.end - first) / span.bars) + 1
    return tuple(bar(first + index * span.bars, span.bars) for index in range(count))


def bar(moment: datetime, width: timedelta) -> str:
    """The beginning of the bar that a moment falls into, as ISO 8601 in UTC."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight + (moment - midnight) // width * width).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _as_key(value: Any) -> str:
    """As Elasticsearch orders and writes a key: a boolean is `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rank(value: Any) -> tuple[bool, Any]:
    """A bucket in which nothing has the field comes after all others."""
    return value is not None, value


def _metric(column: Column, documents: Sequence[Document]) -> Any:
    counted = documents if not column.only else list(filter(compile_query(column.only), documents))
    if column.operation == "count":
        return len(counted)
    if column.operation == "difference":
        less = filter(compile_query(column.less), documents)
        return _distinct(column.field, counted) - _distinct(column.field, less)
    if column.operation == "unique_count":
        return _distinct(column.field, counted)
    if column.operation == "last_value":
        return _last(column, counted)
    read = reader(column.field)
    values = [value for document in counted for value in read(document)]
    return _ARITHMETIC[column.operation](values) if values else None


def _distinct(field: str, documents: Iterable[Document]) -> int:
    read = reader(field)
    return len({value for document in documents for value in read(document)})


def _last(column: Column, documents: Sequence[Document]) -> Any:
    read = reader(column.field)
    held = [document for document in documents if read(document)]
    if not held:
        return None
    newest = read(max(held, key=at))
    return sorted(newest, key=_as_key) if column.array else newest[0]


_ARITHMETIC: Mapping[str, Callable[[list[Any]], Any]] = {"min": min, "max": max, "sum": sum, "median": median}
