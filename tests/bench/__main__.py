"""`make bench`: run every `bench_*.py` here (or those named), print one table.

Each module has `figures() -> Sequence[Figure]`.
"""

import importlib
import sys
from pathlib import Path

from tests.bench.figures import Figure, print_figures


def main() -> None:
    """Run the named benches, or all."""
    names = sys.argv[1:] or sorted(
        path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")
    )
    results: list[Figure] = []
    for name in names:
        sys.stderr.write(f"measuring {name} ...\n")
        results.extend(importlib.import_module(f"tests.bench.bench_{name}").figures())
    print_figures(results)


main()
