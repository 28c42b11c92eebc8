"""What a query reads."""

from detection_rules.language import eql, eql_ast, kql, kql_ast


def queried_fields(query: str, language: str) -> tuple[str, ...]:
    """The fields a query reads, sorted."""
    if language == "eql":
        parsed = eql.parse(query)
        found = {node.path for node, _ in eql_ast.walk(parsed.condition) if isinstance(node, eql_ast.Field)}
        return tuple(sorted(found | ({"event.category"} if parsed.category else set())))
    nodes = (node for node, _ in kql_ast.walk(kql.parse(query)))
    return tuple(sorted({n.field for n in nodes if isinstance(n, kql_ast.Equals | kql_ast.Exists | kql_ast.Range)}))
