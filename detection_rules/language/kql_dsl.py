"""KQL as Elasticsearch's Query DSL, as Kibana makes it of a query and the types of an index's fields.

Kibana's detection engine runs this in place of the query. Here it is what the tests hold our own evaluation against, on
the real server; and it serves whoever wants to run a rule's query by hand.

https://github.com/elastic/kibana/tree/main/src/platform/packages/shared/kbn-es-query/src/kuery/functions
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from detection_rules.language import kql_ast as ast
from detection_rules.language.patterns import segments

Dsl = dict[str, Any]
_OPERATORS: Final = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_SPECIAL: Final = re.compile(r'[-+=&|><!(){}\[\]^"~*?:\\/]')
_WORDS: Final = {"true": True, "false": False}


def query_dsl(query: ast.Query, types: Mapping[str, str], within: str = "") -> Dsl:  # noqa: PLR0911 - one return for each kind of node
    """The Query DSL of a query.

    Args:
        query: What `kql.parse` gives.
        types: The field types of the index (`process.pid` -> `long`), as its mapping has them, nested objects among
            them (`dll` -> `nested`). A field that is not among them is asked as it is written.
        within: The path of the nested objects that the query is about.
    """
    match query:
        case ast.MatchAll():
            return {"match_all": {}}
        case ast.And():
            return {"bool": {"filter": [query_dsl(operand, types, within) for operand in query.operands]}}
        case ast.Or():
            return _any([query_dsl(operand, types, within) for operand in query.operands])
        case ast.Not():
            return {"bool": {"must_not": [query_dsl(query.operand, types, within)]}}
        case ast.Nested():
            return _nested(query.path, query_dsl(query.operand, types, query.path))
        case ast.InFields():
            fits = segments(query.pieces, ignore_case=False, one=False)
            names = [name for name, kind in types.items() if kind != "nested" and fits(name)]
            return _any([_wrapped(name, _condition(name, query.condition, types), types, within) for name in names])
        case ast.Equals() | ast.Exists() | ast.Range():
            return _any([_condition(query.field, query, types)])


def _nested(path: str, query: Dsl) -> Dsl:
    return {"nested": {"path": path, "query": query, "score_mode": "none"}}


def _wrapped(name: str, query: Dsl, types: Mapping[str, str], within: str) -> Dsl:
    """A pattern of names finds fields of nested objects too, wherever it stands, as in Kibana."""
    path = max((path for path, kind in types.items() if kind == "nested" and name.startswith(path + ".")), default="")
    return _nested(path, query) if path and not within else query


def _any(queries: list[Dsl]) -> Dsl:
    return {"bool": {"should": queries, "minimum_should_match": 1}} if queries else {"match_none": {}}


def _condition(name: str, condition: ast.Equals | ast.Exists | ast.Range, types: Mapping[str, str]) -> Dsl:
    match condition:
        case ast.Exists():
            return {"exists": {"field": name}}
        case ast.Range():
            return {"range": {name: {_OPERATORS[condition.operator]: condition.bound}}}
        case ast.Equals():
            value, kind = condition.value, types.get(name)
            return _pattern(name, value, kind) if isinstance(value, ast.Pattern) else _value(name, value, kind)


def _pattern(name: str, pattern: ast.Pattern, kind: str | None) -> Dsl:
    written = "*".join(_SPECIAL.sub(r"\\\g<0>", piece) for piece in pattern.pieces)
    if kind == "keyword":
        return {"wildcard": {name: {"value": written}}}
    return {"query_string": {"fields": [name], "query": written}}


def _value(name: str, constant: ast.Value, kind: str | None) -> Dsl:
    value = constant.text if constant.quoted else _WORDS.get(constant.text, constant.text)
    if kind == "date":
        return {"range": {name: {"gte": value, "lte": value}}}
    if kind == "keyword":
        return {"term": {name: {"value": value}}}
    return {"match_phrase" if constant.quoted else "match": {name: value}}
