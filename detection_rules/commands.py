"""`doorwatch rules`: list, match, test, lint."""

import textwrap
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from beat_bridge.errors import DoorwatchError
from beat_bridge.terminal import format_option, print_json_lines, print_table
from detection_rules.json_text import BYTE_ORDER_MARK, NotJsonError, decode
from detection_rules.lint import lint as lint_rule
from detection_rules.proof import prove, read_proof
from detection_rules.rule_set import Rule, RuleSet, load_rules

LONGEST_LINE = 16 << 20
"""Bytes of one document; Elasticsearch itself refuses documents that come near 100 MB."""

_rules_option = click.option(
    "--rules",
    "directories",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Use the rules of this directory instead of those that come with Doorwatch (repeatable).",
)


@click.group()
def rules() -> None:
    """Detection rules in Elastic's TOML: list, match, test, lint."""


@rules.command("list")
@_rules_option
@format_option
def list_rules(directories: tuple[Path, ...], output: str) -> None:
    """The rules, with what they read."""
    loaded = _load(directories)
    if output == "json":
        print_json_lines(_described(rule) for rule in loaded)
        return
    print_table(
        "Rules",
        ("rule", "severity", "risk", "reads"),
        [
            (f"{rule.stem}\n{_wrapped(rule.name)}", rule.severity, str(rule.risk_score), "\n".join(rule.index))
            for rule in loaded
        ],
    )


@rules.command("match")
@click.argument("file", type=click.File("rb"))
@_rules_option
@format_option
def match_documents(file: BinaryIO, directories: tuple[Path, ...], output: str) -> None:
    """Ask the rules about the documents in FILE (- for standard input), one JSON object a line.

    Prints each rule that fired with the numbers of its lines, counted from 0; empty lines count.
    """
    loaded = _load(directories)
    matched: dict[str, array[int]] = {rule.stem: array("Q") for rule in loaded}
    for number, document in read_documents(file):
        for rule in loaded.match(document):
            matched[rule.stem].append(number)
    rows = [(stem, numbers.tolist()) for stem, numbers in matched.items() if numbers]
    if output == "json":
        print_json_lines({"rule": stem, "documents": numbers} for stem, numbers in rows)
        return
    print_table(
        "Matches",
        ("rule", "documents", "lines"),
        [(stem, str(len(numbers)), _numbers(numbers)) for stem, numbers in rows],
        empty="no rule fired",
    )


@rules.command("test")
@_rules_option
@format_option
@click.pass_context
def test_rules(context: click.Context, directories: tuple[Path, ...], output: str) -> None:
    """Hold each rule against the documents beside it; exit code 1 when one is treated otherwise than it must be."""
    proofs = [(rule, read_proof(rule)) for rule in _load(directories)]
    failures = [failure for rule, proof in proofs for failure in prove(rule, proof)]
    if output == "json":
        print_json_lines(failures)
    else:
        failed = {failure.rule for failure in failures}
        print_table(
            "Rules",
            ("rule", "must match", "must not match", ""),
            [
                (
                    rule.stem,
                    str(len(proof.must_match)),
                    str(len(proof.must_not_match)),
                    "FAILED" if rule.stem in failed else "holds",
                )
                for rule, proof in proofs
            ],
        )
        for failure in failures:
            click.echo(f"{failure.rule}: {failure.expected} expected of document {failure.index}: {failure.why}")
    context.exit(1 if failures else 0)


@rules.command("lint")
@_rules_option
@format_option
@click.pass_context
def lint_rules(context: click.Context, directories: tuple[Path, ...], output: str) -> None:
    """What is questionable about the rules; exit code 1 when something is wrong rather than doubtful."""
    remarks = [remark for rule in _load(directories) for remark in lint_rule(rule)]
    if output == "json":
        print_json_lines(remarks)
    else:
        print_table(
            "Remarks",
            ("rule", "check", "level", "problem", "recommendation"),
            [(remark.rule, remark.check, remark.level, remark.problem, remark.recommendation) for remark in remarks],
        )
    context.exit(1 if any(remark.level == "error" for remark in remarks) else 0)


def read_documents(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """JSON lines, one at a time, whatever the length of the whole.

    Yields:
        The line's number, from 0 (empty lines count), and its object.

    Raises:
        DoorwatchError: A line is no JSON object, or too long; the line names it (from 1, as editors count).
    """
    name = getattr(stream, "name", "-")
    number = -1
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        place = f"{name}:{number + 1}"
        if len(line) > LONGEST_LINE:
            raise DoorwatchError(f"{place}: longer than {LONGEST_LINE} bytes; write one document a line")
        if number == 0:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line.strip():
            continue
        try:
            document = decode(line.rstrip())
        except NotJsonError as error:
            hint = "; write one document a line (jq -c .)" if line.strip() in (b"{", b"[") else ""
            raise DoorwatchError(f"{place}: {error.problem}{hint}") from error
        if not isinstance(document, dict):
            hint = ": write its elements one a line (jq -c '.[]')" if isinstance(document, list) else ""
            raise DoorwatchError(f"{place}: a JSON {_named(document)}, not an object{hint}")
        yield number, document


def _load(directories: tuple[Path, ...]) -> RuleSet:
    return load_rules(directories or None)


def _described(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.stem,
        "rule_id": rule.rule_id,
        "name": rule.name,
        "description": rule.description,
        "severity": rule.severity,
        "risk_score": rule.risk_score,
        "language": rule.language,
        "index": rule.index,
        "techniques": sorted({technique.id for threat in rule.threat for technique in threat.technique}),
        "path": str(rule.path),
    }


def _wrapped(name: str) -> str:
    """A name in lines that leave room for the other columns on a terminal of 80."""
    return textwrap.fill(name, 23, initial_indent="  ", subsequent_indent="  ")


def _numbers(numbers: list[int], shown: int = 20) -> str:
    written = ", ".join(str(number) for number in numbers[:shown])
    return written if len(numbers) <= shown else f"{written}, and {len(numbers) - shown} more"


def _named(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
