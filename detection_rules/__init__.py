"""Detection content: rules in Elastic's TOML, each proven by documents, and the languages they are written in."""

from detection_rules.language import QueryError, compile_query
from detection_rules.rule_set import Rule, RuleSet, load_rules
from detection_rules.watch import Firing, Watch

__all__ = ["Firing", "QueryError", "Rule", "RuleSet", "Watch", "compile_query", "load_rules"]
