"""What kind of value an EQL expression gives, and what it reads."""

from detection_rules.language import eql_ast as ast
from detection_rules.language.eql_functions import FUNCTIONS


def kind_of(node: ast.Expression) -> str:  # noqa: PLR0911 - one return for each kind of node
    """What an expression gives: `string`, `number`, `boolean`, `null`, or `any` for a field."""
    match node:
        case ast.Literal(value=None):
            return "null"
        case ast.Literal(value=bool()):
            return "boolean"
        case ast.Literal(value=str()):
            return "string"
        case ast.Literal() | ast.Arithmetic() | ast.Negative():
            return "number"
        case ast.Field():
            return "any"
        case ast.Function():
            return FUNCTIONS[node.name.lower()].result
        case _:
            return "boolean"


def paths(node: ast.Expression) -> list[str]:
    """The distinct fields an expression reads, sorted."""
    return sorted({part.path for part, _ in ast.walk(node) if isinstance(part, ast.Field)})


def is_condition(node: ast.Expression) -> bool:
    """Whether it is true or false of a document, rather than a value in it."""
    return isinstance(node, ast.Condition) or (isinstance(node, ast.Function) and kind_of(node) == "boolean")
