"""`doorwatch filter explain`: what a classic BPF program accepts, in words, and the verdict."""

import sys
from pathlib import Path
from typing import Any

import click

from beat_bridge.cbpf import Link, decode, disassemble, judge
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import FilterJudgement, Magic, Program, program_sha256
from beat_bridge.terminal import format_option, print_json_lines, print_table

MAX_BYTES = 1 << 18
EXIT_CODES = {Verdict.BENIGN: 0, Verdict.SUSPICIOUS: 1, Verdict.MALICIOUS: 1, Verdict.UNKNOWN: 3}


@click.group("filter")
def filter_group() -> None:
    """What a classic BPF program accepts, in words."""


@filter_group.command("explain")
@click.argument("file", type=click.Path(allow_dash=True, path_type=str), default="-")
@click.option(
    "--link",
    type=click.Choice([link.value for link in Link]),
    default=Link.ETHERNET.value,
    show_default=True,
    help="What the packets begin with: an Ethernet frame, an IP header (raw), or what the socket's kind shows.",
)
@format_option
def explain(file: str, link: str, output: str) -> None:
    """Explain a program: `tcpdump -ddd` or `-dd` output, or hexadecimal `struct sock_filter` records.

    Exit code 0: benign; 1: suspicious or malicious; 2: bad input; 3: could not be judged.
    """
    source = "standard input" if file == "-" else file
    program = decode(_read(file, source), source)
    judgement = judge(program, Link(link))
    if output == "json":
        print_json_lines([as_document(program, judgement)])
    else:
        _print(program, judgement)
    sys.exit(EXIT_CODES[judgement.verdict])


def as_document(program: Program, judgement: FilterJudgement) -> dict[str, Any]:
    """The judgement as one JSON object."""
    return {
        "verdict": judgement.verdict.value,
        "summary": judgement.summary,
        "family": judgement.family,
        "magic": [_magic_document(magic) for magic in judgement.magic],
        "reasons": list(judgement.reasons),
        "protocols": list(judgement.protocols),
        "paths": list(judgement.paths),
        "complete": judgement.complete,
        "instruction_count": len(program),
        "instructions": list(disassemble(program)),
        "sha256": program_sha256(program),
    }


def _magic_document(magic: Magic) -> dict[str, Any]:
    return {
        "protocol": magic.protocol,
        "offset": magic.offset,
        "width": magic.width,
        "value": magic.value,
        "mask": magic.mask,
        "base": magic.base,
        "text": magic.text,
    }


def _read(file: str, source: str) -> str:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DoorwatchError(f"{source}: cannot read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DoorwatchError(f"{source}: larger than {MAX_BYTES} bytes; this is not a filter program")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DoorwatchError(
            f"{source}:{line}: not text; give the output of `tcpdump -ddd`, or the records in hexadecimal"
        ) from error


def _print(program: Program, judgement: FilterJudgement) -> None:
    lines = (line.partition(": ") for line in disassemble(program))
    print_table(f"{len(program)} instructions", ("at", "instruction"), [(label, text) for label, _, text in lines])
    print_table("Accepts", ("packets",), [(path,) for path in judgement.paths], empty="nothing")
    facts = [("verdict", judgement.verdict.value), ("summary", judgement.summary)]
    facts += [("family", judgement.family)] if judgement.family else []
    facts += [("demands", magic.text) for magic in judgement.magic]
    facts += [("because", reason) for reason in judgement.reasons]
    facts += [] if judgement.complete else [("not followed", "some accepting paths")]
    print_table("Judgement", ("", ""), facts)
