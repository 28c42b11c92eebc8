"""Filters written to mislead: secrets in unusual spellings and places, and ordinary filters that look like secrets.

`attacks.tsv` holds name, link, verdict, magic, one sentence each why, and the program as `tcpdump -ddd` prints it.
The sentence argues for the verdict; the magic is what the program's author put there, where it can be said as words.
"""

from pathlib import Path

import pytest

from beat_bridge.cbpf import Link, decode, judge

ATTACKS = [
    tuple(line.split("\t")) for line in (Path(__file__).parent / "attacks.tsv").read_text(encoding="ascii").splitlines()
]


@pytest.mark.parametrize(("name", "link", "verdict", "magic", "why", "program"), ATTACKS, ids=[a[0] for a in ATTACKS])
def test_filters_written_to_mislead(  # noqa: PLR0917 - one column each
    name: str, link: str, verdict: str, magic: str, why: str, program: str
) -> None:
    """Each gets the verdict and the magic of its meaning, followed to the end."""
    judgement = judge(decode(program, name), Link(link))
    assert judgement.verdict == verdict, (why, judgement.reasons)
    assert "; ".join(item.text for item in judgement.magic) == magic, why
    assert judgement.complete
