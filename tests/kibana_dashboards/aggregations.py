"""Panels as requests to Elasticsearch, and its answers as rows: what Lens asks for, operation by operation.

`last_value` is Lens's `top_metrics`, which the test server is built without: here it is `top_hits`, which Lens itself
takes for fields with several values. Kibana chooses the width of time bars by the screen; here it is the span's.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detection_rules.language import kql, kql_ast
from kibana_dashboards.dashboards.evaluate import Span, minutes
from kibana_dashboards.dashboards.lens import Column, Panel

Body = dict[str, Any]


def query_dsl(text: str) -> Body:
    """KQL as Query DSL, for the constructs that the dashboards use."""
    return _clause(kql.parse(text)) if text else {"match_all": {}}


def _clause(node: kql_ast.Query) -> Body:
    match node:
        case kql_ast.Equals(field, kql_ast.Value(value)):
            return {"term": {field: value}}
        case kql_ast.Exists(field):
            return {"exists": {"field": field}}
        case kql_ast.And(operands):
            return {"bool": {"filter": [_clause(operand) for operand in operands]}}
        case kql_ast.Or(operands):
            return {"bool": {"should": [_clause(operand) for operand in operands], "minimum_should_match": 1}}
        case kql_ast.Not(operand):
            return {"bool": {"must_not": [_clause(operand)]}}
        case _:
            raise NotImplementedError(f"no dashboard uses {node}")


def request(panel: Panel, span: Span, datasets: Sequence[str]) -> Body:
    """Body of a search that answers a panel.

    Args:
        panel: What is asked.
        span: The time shown.
        datasets: What the dashboard's own filter lets through.
    """
    begin = span.end - minutes(panel.since) if panel.since else span.begin
    within = {"gte": begin.isoformat(), "lte": span.end.isoformat()}
    only = [
        {"range": {"@timestamp": within}},
        {"terms": {"data_stream.dataset": list(datasets)}},
        query_dsl(panel.query),
    ]
    return {"size": 0, "query": {"bool": {"filter": only}}, "aggs": _levels(panel, panel.buckets, span)}


def _levels(panel: Panel, buckets: Sequence[Column], span: Span) -> Body:
    metrics = {name: body for column in panel.metrics for name, body in _metric(column)}
    if not buckets:
        return metrics
    first, *rest = buckets
    inner = _levels(panel, rest, span) if rest else {}
    return {first.id: {**_bucket(panel, first, span), "aggs": {**metrics, **inner}}}


def _bucket(panel: Panel, column: Column, span: Span) -> Body:
    if column.operation == "date_histogram":
        seconds = int(span.bars.total_seconds())
        return {"date_histogram": {"field": column.field, "fixed_interval": f"{seconds}s", "min_doc_count": 1}}
    order = next((other for other in panel.metrics if other.id == column.order_by), None)
    if order is None:
        by: Any = {"_key": "asc"}
    elif order.operation == "count":
        by = [{"_count": "desc"}, {"_key": "asc"}]
    else:
        by = [{order.id: "desc"}, {"_key": "asc"}]
    return {"terms": {"field": column.field, "size": column.size, "order": by}}


def _metric(column: Column) -> Iterator[tuple[str, Body]]:
    if column.operation == "difference":
        unique = {"unique": {"cardinality": {"field": column.field}}}
        yield f"{column.id}:of", {"filter": query_dsl(column.only), "aggs": unique}
        yield f"{column.id}:less", {"filter": query_dsl(column.less), "aggs": unique}
    elif column.operation == "last_value":
        newest = {"size": 1, "sort": [{"@timestamp": "desc"}], "_source": [column.field]}
        yield column.id, {"filter": query_dsl(column.only), "aggs": {"newest": {"top_hits": newest}}}
    elif column.operation == "unique_count":
        yield column.id, {"cardinality": {"field": column.field}}
    elif column.operation == "median":
        yield column.id, {"percentiles": {"field": column.field, "percents": [50]}}
    elif column.operation != "count":
        yield column.id, {column.operation: {"field": column.field}}


def rows(panel: Panel, answer: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The rows of an answer, as `evaluate.rows` gives them."""
    top = {**answer.get("aggregations", {}), "doc_count": answer["hits"]["total"]["value"]}
    return tuple(_rows(panel, panel.buckets, top))


def _rows(panel: Panel, buckets: Sequence[Column], within: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if not buckets:
        yield {column.id: _value(column, within) for column in panel.metrics}
        return
    first, *rest = buckets
    for bucket in within[first.id]["buckets"]:
        key = bucket.get("key_as_string", bucket["key"])
        for row in _rows(panel, rest, bucket):
            yield {first.id: key, **row}


def _value(column: Column, within: Mapping[str, Any]) -> Any:
    if column.operation == "count":
        return within["doc_count"]
    if column.operation == "difference":
        of, less = (within[f"{column.id}:{part}"]["unique"]["value"] for part in ("of", "less"))
        return of - less
    told = within[column.id]
    if column.operation == "last_value":
        return _newest(column, told["newest"]["hits"]["hits"])
    if column.operation == "median":
        return told["values"]["50.0"]
    return told["value"]


def _newest(column: Column, hits: Sequence[Mapping[str, Any]]) -> Any:
    if not hits:
        return None
    value = hits[0]["_source"]
    for name in column.field.split("."):
        value = value[name]
    return sorted(value) if isinstance(value, list) else value
