"""The filters of filters.tsv as programs."""

from functools import cache
from pathlib import Path

from beat_bridge.model.filters import Instruction, Program


@cache
def programs() -> dict[str, Program]:
    """Every filter by its name."""
    lines = Path(__file__).with_name("filters.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return {name: parse(text) for name, _, text in rows}


def parse(text: str) -> Program:
    """`2,40 0 0 12,6 0 0 65535` as instructions."""
    count, *records = text.split(",")
    instructions = tuple(Instruction(*map(int, record.split())) for record in records)
    assert len(instructions) == int(count)
    return instructions
