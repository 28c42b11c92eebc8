"""Index templates for the test server: Elastic's integration-test distribution lacks some mapper types and ILM."""

from typing import Any

SUBSTITUTES = {"wildcard": "keyword", "constant_keyword": "keyword", "match_only_text": "text", "version": "keyword"}
"""Mapper types of modules that the distribution is built without, and what stands in for them."""


def degraded(body: Any) -> Any:
    """A copy of a template's body that the test server takes: mapper types replaced, lifecycle setting left out."""
    if isinstance(body, list):
        return [degraded(item) for item in body]
    if not isinstance(body, dict):
        return body
    copy = {key: degraded(value) for key, value in body.items() if key != "lifecycle"}
    substitute = SUBSTITUTES.get(copy["type"]) if isinstance(copy.get("type"), str) else None
    if substitute is None:
        return copy
    # `value` belongs to constant_keyword alone
    return {"type": substitute, **{key: value for key, value in copy.items() if key not in {"type", "value"}}}
