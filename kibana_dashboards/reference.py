"""docs/dashboards.md, made from the saved objects."""

from collections.abc import Iterator

from kibana_dashboards.dashboards import dashboards
from kibana_dashboards.dashboards.lens import Column, Panel, panels
from kibana_dashboards.dashboards.saved_objects import DATA_VIEW, SavedObject

_HEAD = """\
# Dashboards

Made from the code by `make docs`; do not edit.

Four dashboards read the data streams `logs-doorwatch.*`. The command `package build` puts them into the Elastic
package, beside the rules, the osquery packs and the mappings: `doorwatch-VERSION.zip`, which Kibana installs under
Integrations. The file is the same to the byte wherever it is built, and Elastic's own validator accepts it.

The pictures are drawn by the program from documents of its lab, with the panels' own queries: two Debian guests looked
at from below, and the demo's host. A test runs the same queries on Elastic's server and compares every row.

How far this is tried: every saved object holds the schema of its kind, every field stands in the mappings, and the
panels' queries run on Elastic's server. **No Kibana has drawn these dashboards**: widths, colours and the words of its
own controls are as its documentation says.

A panel reads only what lies in the dashboard's time range. A finding is told when it opens, changes and is gone, and a
sensor's gap when it is new or has lasted an hour: a range shorter than that shows less than there is.
"""
_OPERATIONS = {
    "count": "number of documents",
    "unique_count": "different {}",
    "min": "smallest {}",
    "max": "largest {}",
    "sum": "sum of {}",
    "median": "median of {}",
    "last_value": "newest {}",
    "terms": "by {}",
    "date_histogram": "over time",
    "difference": "different {}, without the ended",
}


def render_dashboards() -> str:
    """The dashboards' reference in Markdown."""
    return "\n".join([_HEAD, *(line for board in dashboards(DATA_VIEW) for line in _dashboard(board))])


def _dashboard(board: SavedObject) -> Iterator[str]:
    attributes = board["attributes"]
    title = attributes["title"]
    yield f"## {title.removeprefix('[Doorwatch] ')}\n"
    yield f"{attributes['description']}\n"
    yield f"![{title}](dashboard-{board['id'].removeprefix('doorwatch-')}.svg)\n"
    yield "| panel | shows | of documents where |"
    yield "|---|---|---|"
    for panel in panels(board):
        yield f"| {panel.title} | {_shows(panel)} | `{panel.query}` |"
    yield ""


def _shows(panel: Panel) -> str:
    told = "; ".join(_told(column) for column in panel.columns)
    return f"{told}; since {panel.since}" if panel.since else told


def _told(column: Column) -> str:
    return _OPERATIONS[column.operation].format(f"`{column.field}`")
