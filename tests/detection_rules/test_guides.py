"""What an analyst is told to do next can be done."""

import re
from typing import Any

import pytest

from detection_rules import Rule, load_rules
from detection_rules.datasets import datasets, known_fields
from osquery_packs.tables import database, problem

RULES = load_rules().rules
_FILLED_IN = re.compile(r"\{\{([^}]+)\}\}")


def entries(rule: Rule, plugin: str) -> list[dict[str, Any]]:
    """The buttons of one kind."""
    found: list[dict[str, Any]] = rule.source.file.transform.get(plugin, [])
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.stem)
def test_filters_ask_about_fields_that_exist(rule: Rule) -> None:
    """Each filter for Timeline and Explore names known fields, and is filled in from known fields of the alert."""
    assert len(entries(rule, "investigate")) >= 2
    for entry in entries(rule, "investigate"):
        for provider in [each for together in entry["providers"] for each in together]:
            assert provider["field"] in known_fields()
            assert provider["queryType"] == "phrase"
            assert all(name in known_fields() for name in _FILLED_IN.findall(provider["value"]))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.stem)
def test_live_queries_are_sql_that_osquery_knows(rule: Rule) -> None:
    """Every live query names tables and columns that osquery, or our extension, has."""
    with database() as connection:
        for entry in entries(rule, "osquery"):
            assert problem(connection, _FILLED_IN.sub("1", entry["query"])) == "", entry["label"]
            assert all(name in known_fields() for name in _FILLED_IN.findall(entry["query"]))


def test_names_of_fields_in_guides_exist() -> None:
    """Whatever in a guide looks like a field of ours is one, or a dataset."""
    for rule in RULES:
        named = re.findall(r"\bdoorwatch\.[a-z0-9_.]+[a-z0-9]", rule.note + rule.description)
        assert not [name for name in named if name not in {*known_fields(), *datasets()}], rule.stem


def test_buttons_of_a_sequence_are_filled_in_from_what_its_documents_share() -> None:
    """The alert over a sequence holds its keys and little else: a guide whose buttons need more says so."""
    for rule in RULES:
        if rule.plan is None:
            continue
        shared = {"host.id", *re.findall(r"sequence by ([^\n]*?) with", rule.query)[0].replace("?", "").split(", ")}
        named = {
            name
            for entry in (*entries(rule, "investigate"), *entries(rule, "osquery"))
            for name in _FILLED_IN.findall(str(entry))
        }
        assert named <= shared or "building block" in rule.note, (rule.stem, named - shared)
