"""Dashboards read back from their saved objects: what each panel asks for, as values.

The pictures and the tests read the saved objects themselves and nothing beside them, so that what they show and try is
what Kibana is given.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from detection_rules.language import kql, kql_ast

BUCKETS = ("terms", "date_histogram")
METRICS = ("count", "unique_count", "min", "max", "sum", "median", "last_value", "difference")
KINDS = {"lnsMetric": "metric", "lnsPie": "donut", "lnsXY": "bars", "lnsDatatable": "table"}


class Column(Value, frozen=True, kw_only=True):
    """One column of a panel: what is asked of the documents."""

    id: str
    label: str
    operation: str
    """One of BUCKETS or METRICS; a formula of two counts is a `difference`."""
    data_type: str
    field: str = ""
    """Empty for `count`."""
    only: str = ""
    """KQL: the documents that count for this column."""
    less: str = ""
    """KQL of what a `difference` takes away."""
    size: int = 0
    """How many values of a `terms` column are told."""
    order_by: str = ""
    """Id of the column that its values are ordered by, descending; empty: by name."""
    array: bool = False
    """`last_value` of a field with several values."""
    format: str = ""
    """How Kibana writes the number: `duration` for nanoseconds; empty for itself."""


class Panel(Value, frozen=True, kw_only=True):
    """One panel of a dashboard."""

    title: str
    kind: str
    """A value of KINDS. A metric with a bucket is the sum over its buckets."""
    query: str
    """KQL."""
    columns: tuple[Column, ...]
    """Buckets first."""
    grid: tuple[int, int, int, int]
    """x, y, width and height; a dashboard is 48 wide."""
    color: str = ""
    since: str = ""
    """`now-5m`: its own span of time; empty: the dashboard's."""

    @property
    def buckets(self) -> tuple[Column, ...]:
        """The columns that documents are sorted into."""
        return tuple(column for column in self.columns if column.operation in BUCKETS)

    @property
    def metrics(self) -> tuple[Column, ...]:
        """The columns that are told of each bucket."""
        return tuple(column for column in self.columns if column.operation not in BUCKETS)


def panels(dashboard: Mapping[str, Any]) -> tuple[Panel, ...]:
    """The panels of a dashboard's saved object.

    Raises:
        DoorwatchError: A panel asks for something that this reader does not know.
    """
    return tuple(_panel(panel) for panel in json.loads(dashboard["attributes"]["panelsJSON"]))


def filtered_datasets(dashboard: Mapping[str, Any]) -> tuple[str, ...]:
    """The data sets that a dashboard's own filter lets through."""
    search = json.loads(dashboard["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    (only,) = search["filter"]
    return tuple(only["meta"]["params"])


def used_fields(panel: Panel) -> frozenset[str]:
    """Every field that a panel asks for, in its columns and in its queries."""
    named = {column.field for column in panel.columns if column.field}
    for text in (panel.query, *(text for column in panel.columns for text in (column.only, column.less))):
        named.update(_fields(text))
    return frozenset(named)


def _fields(text: str) -> Iterator[str]:
    for node, _ in kql_ast.walk(kql.parse(text)):
        field = getattr(node, "field", None)
        if field is not None:
            yield str(field)


def _panel(panel: Mapping[str, Any]) -> Panel:
    attributes = panel["embeddableConfig"]["attributes"]
    state, grid = attributes["state"], panel["gridData"]
    (layer,) = state["datasourceStates"]["formBased"]["layers"].values()
    written = layer["columns"]
    # a formula's parts are columns of their own to Kibana
    parts = {part for column in written.values() for part in column.get("references", ())}
    columns = tuple(_column(identifier, written) for identifier in layer["columnOrder"] if identifier not in parts)
    return Panel(
        title=attributes["title"],
        kind=KINDS[attributes["visualizationType"]],
        query=state["query"]["query"],
        columns=columns,
        grid=(grid["x"], grid["y"], grid["w"], grid["h"]),
        color=state["visualization"].get("color", ""),
        since=panel["embeddableConfig"].get("timeRange", {}).get("from", ""),
    )


def _column(identifier: str, written: Mapping[str, Any]) -> Column:
    column = written[identifier]
    operation, params = column["operationType"], column["params"]
    common = {"id": identifier, "label": column["label"], "data_type": column["dataType"]}
    if operation == "formula":
        (math,) = column["references"]
        taken, less = (written[part] for part in written[math]["references"])
        return Column(
            operation="difference",
            field=taken["sourceField"],
            only=taken["filter"]["query"],
            less=less["filter"]["query"],
            **common,
        )
    if operation not in BUCKETS + METRICS:
        raise DoorwatchError(f"column {column['label']!r}: the operation {operation} is not known")
    return Column(
        operation=operation,
        field="" if operation == "count" else column["sourceField"],
        only=column.get("filter", {}).get("query", ""),
        size=params.get("size", 0),
        order_by=params.get("orderBy", {}).get("columnId", ""),
        array=params.get("showArrayValues", False),
        format=params.get("format", {}).get("id", ""),
        **common,
    )
