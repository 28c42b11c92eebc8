"""KQL and EQL: queries that compile once into functions over documents."""

from detection_rules.language.compile import LANGUAGES, compile_query
from detection_rules.language.errors import QueryError
from detection_rules.language.fields import Document, Predicate

__all__ = ["LANGUAGES", "Document", "Predicate", "QueryError", "compile_query"]
