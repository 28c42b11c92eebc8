"""Documents of the lab, recorded once by tests/kibana_dashboards/record.py.

Two Debian guests under QEMU, looked at from below: on one the emulator runs and, for a while, a system call leads
elsewhere and a byte of kernel text is another; on the other, programs hold a raw socket and an eBPF filter, and one of
them is taken out of the list of tasks. And the demo on a third host, where the emulator is found, contained, released
and proven gone. What named the recording machine was replaced; documents of single modules were left out.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from kibana_dashboards.dashboards.evaluate import Span, at

_WIDTHS = (5, 10, 15, 30, 60, 300, 600, 1800, 3600)
"""Seconds that one bar of a time chart may stand for."""
_MOST_BARS = 60


@cache
def recorded_documents() -> tuple[Mapping[str, Any], ...]:
    """Bodies in the order of time."""
    lines = resources.files("kibana_dashboards.pictures").joinpath("data/recorded.ndjson").read_bytes().splitlines()
    return tuple(msgspec.json.decode(line, type=dict[str, Any]) for line in lines)


@cache
def recorded_span() -> Span:
    """From the first document to the last."""
    moments = [at(document) for document in recorded_documents()]
    begin, end = min(moments), max(moments)
    width = next((w for w in _WIDTHS if (end - begin).total_seconds() / w <= _MOST_BARS), _WIDTHS[-1])
    return Span(begin=begin, end=end, bars=timedelta(seconds=width))
