"""What a query reads."""

from functools import lru_cache

from detection_rules.language import eql, eql_ast, kql, kql_ast


@lru_cache(maxsize=1_024)  # reading a query costs milliseconds, and lint, export and versions all ask
def queried_fields(query: str, language: str) -> tuple[str, ...]:
    """The fields a query reads, join keys among them, sorted."""
    if language == "eql":
        parsed = eql.parse_query(query)
        found = {key.path for key in eql_ast.keys(parsed)}
        for event in eql_ast.events(parsed):
            found |= {node.path for node, _ in eql_ast.walk(event.condition) if isinstance(node, eql_ast.Field)}
            found |= {"event.category"} if event.category else set()
        return tuple(sorted(found))
    nodes = (node for node, _ in kql_ast.walk(kql.parse(query)))
    named = {node.field for node in nodes if isinstance(node, kql_ast.Equals | kql_ast.Exists | kql_ast.Range)}
    return tuple(sorted(named - {""}))  # a condition on fields by a pattern names none
