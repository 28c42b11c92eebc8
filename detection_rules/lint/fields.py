"""The fields a query reads: do they exist, and where the rule looks?"""

from collections.abc import Iterator
from typing import Final

from detection_rules.datasets import datasets, known_fields, read_by
from detection_rules.language import eql_ast
from detection_rules.lint.remarks import Check, Place, Subject

FOREIGN: Final = ("Endpoint.", "Target.", "kibana.alert.")
"""Fields of Elastic Defend's own state and of Kibana that no list of ours has."""


def _unknown(subject: Subject) -> Iterator[tuple[str, Place]]:
    for name in subject.fields:
        if name not in known_fields() and not name.startswith(FOREIGN) and "*" not in name:
            problem = f"{name} is a field neither of ECS, nor of Elastic Defend or Auditd Manager, nor one of ours"
            yield problem, subject.query_line(name)


def _elsewhere(subject: Subject) -> Iterator[tuple[str, Place]]:
    read = read_by(subject.rule.reads)
    if not subject.rule.index or not read:
        return
    for name in subject.fields:
        if name in known_fields() and not any(name in datasets()[dataset] for dataset in read):
            yield f"no document of {', '.join(read)} has {name}", subject.query_line(name)


def _no_index(subject: Subject) -> Iterator[tuple[str, Place]]:
    if not subject.rule.index:
        yield "no index", subject.line("name")


def _required(subject: Subject) -> Iterator[tuple[str, Place]]:
    """Elasticsearch refuses EQL over a field that no index maps: ours are not there where only Defend is."""
    if subject.eql is None:
        return
    fields = [node for node in subject.nodes if isinstance(node, eql_ast.Field)]
    for name in dict.fromkeys(node.path for node in (*fields, *eql_ast.keys(subject.eql)) if not node.optional):
        if name.startswith("doorwatch."):
            yield f"{name} is not optional", subject.query_line(name)


CHECKS: Final = (
    Check("field", "warning", "check its spelling", _unknown),
    Check("index", "warning", "add the data stream that has it, or take another field", _elsewhere),
    Check("no_index", "warning", "name the data streams that the rule reads", _no_index),
    Check("optional", "warning", "write ?field, so that the rule loads where no index maps it yet", _required),
)
