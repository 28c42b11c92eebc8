"""The front door: how long `--help` takes, beside the interpreter alone; and the whole demo."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import Figure, in_turn

ROOT = Path(__file__).parent.parent.parent


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT, timeout=120)


def figures() -> Sequence[Figure]:
    """`--help` against an interpreter that does nothing, and one demo."""
    ours, bare = in_turn(lambda: _run("-m", "doorwatch", "--help"), lambda: _run("-c", "pass"))
    start = time.perf_counter()
    _run("-m", "doorwatch", "demo")
    demo = time.perf_counter() - start
    return (
        Figure(
            name="doorwatch --help",
            value=ours * 1000,
            unit="ms",
            target="<= 250 ms",
            met=ours <= 0.25,
            peer="python -c pass",
            peer_value=bare * 1000,
        ),
        Figure(name="doorwatch demo", value=demo, unit="s", target="<= 60 s", met=demo <= 60),
    )
