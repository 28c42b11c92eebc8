"""`doorwatch rules match`: which rules fire on documents."""

from array import array
from collections.abc import Iterator
from typing import Any, BinaryIO

import click

from beat_bridge.errors import DoorwatchError
from beat_bridge.terminal import format_option, print_json_lines, print_table
from detection_rules.commands.loading import Directories, load, rules_option
from detection_rules.json_text import BYTE_ORDER_MARK, NotJsonError, decode
from detection_rules.rule_set import Rule

LONGEST_LINE = 16 << 20
"""Bytes of one document; Elasticsearch itself refuses documents that come near 100 MB."""


@click.command("match")
@click.argument("file", type=click.File("rb"))
@rules_option
@format_option
def match_documents(file: BinaryIO, directories: Directories, output: str) -> None:
    """Ask the rules about the documents in FILE (- for standard input), one JSON object a line.

    Prints each rule that fired with the numbers of its lines, counted from 0; empty lines count. A rule about several
    documents together is named with the lines of all of them.
    """
    loaded = load(directories)
    matched: dict[str, array[int]] = {rule.stem: array("Q") for rule in loaded}
    # a rule about several documents is asked at the end, in the order of their times, about those that fit a step of it
    fitting: dict[Rule, list[tuple[int, dict[str, Any]]]] = {rule: [] for rule in loaded if rule.plan is not None}
    for number, document in read_documents(file):
        for rule in loaded.match(document):
            matched[rule.stem].append(number)
        for rule, kept in fitting.items():
            if rule.asked(document) and rule.holds(document):
                kept.append((number, document))
    for rule, kept in fitting.items():
        found = rule.match_all(document for _, document in kept)
        places = {at for match in found for at in match.references if isinstance(at, int)}
        matched[rule.stem].extend(sorted(kept[at][0] for at in places))
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


def _numbers(numbers: list[int], shown: int = 20) -> str:
    written = ", ".join(str(number) for number in numbers[:shown])
    return written if len(numbers) <= shown else f"{written}, and {len(numbers) - shown} more"


def _named(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
