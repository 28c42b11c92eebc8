"""A dashboard as one SVG: geometry here, markup in the template."""

from collections.abc import Mapping, Sequence
from typing import Any

from beat_bridge.model.base import Value
from kibana_dashboards.dashboards.evaluate import Document, Row, Span, rows
from kibana_dashboards.dashboards.lens import Panel, panels
from kibana_dashboards.dashboards.rendering import render
from kibana_dashboards.pictures import charts

WIDTH = 1280
_ROW, _GAP, _HEAD = 22, 8, 56
"""Pixels: height of one unit of the grid, space between panels, height of the dashboard's title."""
_COLUMNS = 48


class Picture(Value, frozen=True, kw_only=True):
    """One picture."""

    name: str
    """The dashboard's, without `doorwatch-`."""
    title: str
    width: int
    height: int
    svg: str

    @property
    def file_name(self) -> str:
        """`overview.svg`."""
        return f"{self.name}.svg"


def picture(dashboard: Mapping[str, Any], documents: Sequence[Document], span: Span) -> Picture:
    """A dashboard as it shows some documents.

    Args:
        dashboard: Its saved object.
        documents: Of every data set.
        span: The time it shows.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    read = panels(dashboard)
    height = _HEAD + max(y + h for _, y, _, h in (panel.grid for panel in read)) * _ROW + _GAP
    title = dashboard["attributes"]["title"]
    svg = render(
        "kibana_dashboards.pictures",
        "dashboard.svg.j2",
        width=WIDTH,
        height=height,
        title=title,
        description=dashboard["attributes"]["description"],
        span=f"{charts.moment(span.begin.isoformat())} to {charts.moment(span.end.isoformat())} UTC",
        panels=[_drawn(panel, rows(panel, documents, span), span) for panel in read],
    )
    return Picture(name=dashboard["id"].removeprefix("doorwatch-"), title=title, width=WIDTH, height=height, svg=svg)


def _drawn(panel: Panel, told: Sequence[Row], span: Span) -> dict[str, Any]:
    x, y, w, h = panel.grid
    unit = (WIDTH - _GAP) / _COLUMNS
    box = charts.Box(x=round(x * unit) + _GAP, y=_HEAD + y * _ROW, width=round(w * unit) - _GAP, height=h * _ROW - _GAP)
    drawn = charts.DRAW[panel.kind](panel, told, box, span)
    return {"box": box, "title": charts.fit(panel.title, box.width * 0.9), "kind": panel.kind, **drawn}
