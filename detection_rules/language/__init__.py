"""KQL and EQL: queries that compile once into functions over documents, or into plans over streams of them."""

from detection_rules.language.compile import LANGUAGES, compile_query, compile_rule_query, compile_sequence
from detection_rules.language.errors import QueryError
from detection_rules.language.fields import Document, Predicate
from detection_rules.language.matcher import Bounds, Match, Matcher, MatcherStatus, match_all
from detection_rules.language.sequence_plan import Plan

__all__ = [
    "LANGUAGES",
    "Bounds",
    "Document",
    "Match",
    "Matcher",
    "MatcherStatus",
    "Plan",
    "Predicate",
    "QueryError",
    "compile_query",
    "compile_rule_query",
    "compile_sequence",
    "match_all",
]
