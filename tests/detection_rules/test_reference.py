"""docs/rules.md says what the code does."""

import re
from pathlib import Path

from detection_rules import compile_query, load_rules
from detection_rules.coverage import render_coverage
from detection_rules.language import compile_rule_query
from detection_rules.language.eql_functions import FUNCTIONS
from detection_rules.reference import render_checks, render_language

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


def test_the_table_on_disk_is_the_table() -> None:
    """docs/rules.md holds the table of the language as the code gives it."""
    assert render_language() in PAGE.read_text("utf-8")


def test_the_table_of_checks_is_the_table() -> None:
    """docs/rules.md holds the lint's checks as the code gives them."""
    assert render_checks() in PAGE.read_text("utf-8")


def test_every_rule_is_on_the_page() -> None:
    """The table of rules names each that comes with Doorwatch, and no other."""
    rows = re.findall(
        r"^\| `([a-z_]+)` \| [A-Za-z, ']+ \| ", PAGE.read_text("utf-8").split("## Editing")[0], re.MULTILINE
    )
    assert rows == [rule.stem for rule in load_rules()]


def test_coverage_on_disk_is_what_the_rules_give() -> None:
    """docs/coverage.md is made from the rules as they are."""
    assert PAGE.with_name("coverage.md").read_text("utf-8") == render_coverage(load_rules())


def test_every_function_can_be_called() -> None:
    """Each function the table names is known to the compiler."""
    arguments = {"string": '"10.0.0.0"', "number": "1", "boolean": "true", "any": "f"}
    for signature in FUNCTIONS.values():
        kinds = [signature.parameters[min(i, len(signature.parameters) - 1)] for i in range(signature.least)]
        call = f"{signature.name}({', '.join(arguments[kind] for kind in kinds)})"
        compile_query(f"any where {call} != null" if signature.result != "boolean" else f"any where {call}", "eql")


def test_the_queries_of_the_page_can_be_read() -> None:
    """Every KQL and EQL example of the page compiles."""
    blocks = PAGE.read_text("utf-8").split("```")
    languages = {"kql": "kuery", "eql": "eql"}
    examples = [block.split("\n", 1) for block in blocks[1::2] if block.split("\n", 1)[0] in languages]
    assert len(examples) >= 2
    for language, text in examples:
        compile_rule_query(text, languages[language])
