"""Where everything of one panel goes, in pixels from the panel's own corner."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from beat_bridge.model.base import Value
from kibana_dashboards.dashboards.evaluate import Row, Span, bars_of
from kibana_dashboards.dashboards.lens import Column, Panel
from kibana_dashboards.dashboards.rendering import COLORS

PALETTE = ("#54B399", "#6092C0", "#D36086", "#9170B8", "#CA8EAE", "#D6BF57", "#B9A888", "#DA8B45", "#AA6556", "#E7664C")
_TITLE, _PAD, _LINE = 28, 12, 19
_CHARACTER = 6.8
"""Width of a character of 11 pixels, on average."""
_UNITS = (("h", 3600e9), ("min", 60e9), ("s", 1e9), ("ms", 1e6))
"""Nanoseconds in each."""


class Box(Value, frozen=True, kw_only=True):
    """Of a panel on the picture."""

    x: int
    y: int
    width: int
    height: int


Drawn = dict[str, Any]


def metric(panel: Panel, told: Sequence[Row], box: Box, _: Span) -> Drawn:
    """One number; of a panel with buckets, their sum."""
    (column,) = panel.metrics
    values = [row[column.id] for row in told]
    value = sum(value or 0 for value in values) if panel.buckets else values[0]
    return {"text": cell(column, value), "label": column.label, "color": panel.color, "width": box.width}


def donut(panel: Panel, told: Sequence[Row], box: Box, _: Span) -> Drawn:
    """Arcs and their legend: name, value and color."""
    by, number = panel.columns
    total = sum(row[number.id] for row in told)
    radius = (box.height - _TITLE - 2 * _PAD) / 2
    center = (_PAD + radius, _TITLE + _PAD + radius)
    arcs, begin = [], 0.0
    for place, row in enumerate(told):
        share = row[number.id] / total
        arcs.append(
            {
                "path": _arc(center, radius * 0.8, begin, begin + min(share, 0.9999)),
                "color": color(row[by.id], place),
                "text": f"{cell(by, row[by.id])}  {row[number.id]}",
                "legend": (center[0] + radius + 2 * _PAD, _TITLE + _PAD + 8 + place * _LINE),
            }
        )
        begin += share
    return {"arcs": arcs, "width": radius * 0.4, "total": total, "center": center}


def bars(panel: Panel, told: Sequence[Row], box: Box, span: Span) -> Drawn:
    """Stacked bars, their scale and their legend."""
    along, split, number = panel.columns
    timed = along.data_type == "date"
    places = bars_of(span) if timed else tuple(dict.fromkeys(row[along.id] for row in told))
    kinds = list(dict.fromkeys(row[split.id] for row in told))
    heights = [sum(row[number.id] for row in told if row[along.id] == place) for place in places]
    top = max(heights, default=1) or 1
    legend = max((len(str(kind)) for kind in kinds), default=0) * _CHARACTER + 3 * _PAD
    left, bottom = 3 * _PAD, box.height - 2.5 * _PAD
    width, height = box.width - left - legend - _PAD, bottom - _TITLE - _PAD
    step = width / max(len(places), 1)
    drawn = []
    for index, place in enumerate(places):
        base = bottom
        for row in (row for row in told if row[along.id] == place):
            size = height * row[number.id] / top
            base -= size
            drawn.append(
                {
                    "x": left + index * step + step * 0.1,
                    "y": base,
                    "width": step * 0.8,
                    "height": size,
                    "color": color(row[split.id], kinds.index(row[split.id])),
                }
            )
    every = max(1, math.ceil(len(places) * 70 / max(width, 1)))
    return {
        "bars": drawn,
        "axis": (left, left + width, bottom),
        "top": {"text": str(top), "y": bottom - height},
        "ticks": [
            {"x": left + (index + 0.5) * step, "text": place[11:19] if timed else str(place)}
            for index, place in enumerate(places)
            if index % every == 0
        ],
        "legend": [
            {
                "x": box.width - legend,
                "y": _TITLE + _PAD + 4 + index * _LINE,
                "text": str(kind),
                "color": color(kind, index),
            }
            for index, kind in enumerate(kinds)
        ],
    }


def table(panel: Panel, told: Sequence[Row], box: Box, _: Span) -> Drawn:
    """Headings and as many rows as fit, and how many do not."""
    shown = told[: max(0, (box.height - _TITLE - 2 * _LINE) // _LINE)]
    texts = [[cell(column, row[column.id]) for column in panel.columns] for row in shown]
    widths = _widths([column.label for column in panel.columns], texts, box.width - 2 * _PAD)
    lefts = [_PAD + sum(widths[:index]) for index in range(len(widths))]
    return {
        "heads": [
            {"x": left, "y": _TITLE + _LINE, "text": fit(column.label, width)}
            for column, left, width in zip(panel.columns, lefts, widths, strict=True)
        ],
        "cells": [
            {
                "x": left,
                "y": _TITLE + (index + 2) * _LINE,
                "text": fit(text, width),
                "color": COLORS.get(text, "#343741"),
            }
            for index, row in enumerate(texts)
            for text, left, width in zip(row, lefts, widths, strict=True)
        ],
        "more": f"{len(told) - len(shown)} more" if len(told) > len(shown) else "",
    }


DRAW: Mapping[str, Callable[[Panel, Sequence[Row], Box, Span], Drawn]] = {
    "metric": metric,
    "donut": donut,
    "bars": bars,
    "table": table,
}


def cell(column: Column, value: Any) -> str:
    """A value as people read it."""
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if column.data_type == "date":
        return moment(str(value))
    if isinstance(value, bool):
        return str(value).lower()
    if column.format == "duration":
        return duration(float(value))
    return str(round(value, 1) if isinstance(value, float) else value)


def moment(text: str) -> str:
    """ISO 8601 to the second."""
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def duration(nanoseconds: float) -> str:
    """`1.3 s`."""
    for unit, size in _UNITS:
        if nanoseconds >= size:
            return f"{nanoseconds / size:.1f} {unit}"
    return f"{nanoseconds / 1e6:.1f} ms"


def color(value: Any, place: int) -> str:
    """Verdicts have their own colors, everything else those of its place."""
    return COLORS.get(str(value), PALETTE[place % len(PALETTE)])


def fit(text: str, width: float) -> str:
    """Text cut to a width in pixels."""
    room = max(1, int(width / _CHARACTER) - 1)
    return text if len(text) <= room else text[: room - 1] + "…"


def _widths(heads: Sequence[str], texts: Sequence[Sequence[str]], room: float) -> list[float]:
    """Each column as wide as it wants, the widest ones cut until all fit."""
    wanted = [
        (max([len(head), *(len(row[index]) for row in texts)]) + 2) * _CHARACTER for index, head in enumerate(heads)
    ]
    limit = max(wanted, default=0.0)
    while sum(min(width, limit) for width in wanted) > room:
        limit *= 0.98
    cut = [min(width, limit) for width in wanted]
    return [width * room / sum(cut) for width in cut] if cut else []


def _arc(center: tuple[float, float], radius: float, begin: float, end: float) -> str:
    """Path of an arc; `begin` and `end` are parts of the whole, from the top clockwise."""
    (x0, y0), (x1, y1) = (
        (center[0] + radius * math.sin(2 * math.pi * part), center[1] - radius * math.cos(2 * math.pi * part))
        for part in (begin, end)
    )
    return f"M {x0:.1f} {y0:.1f} A {radius:.1f} {radius:.1f} 0 {int(end - begin > 0.5)} 1 {x1:.1f} {y1:.1f}"
