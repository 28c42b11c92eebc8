"""Pictures of the dashboards, drawn from documents of the lab by the panels' own queries."""

from kibana_dashboards.dashboards import dashboards
from kibana_dashboards.dashboards.saved_objects import DATA_VIEW
from kibana_dashboards.pictures.drawing import Picture, picture
from kibana_dashboards.pictures.recorded import recorded_documents, recorded_span

__all__ = ["Picture", "picture", "pictures", "recorded_documents", "recorded_span"]


def pictures() -> tuple[Picture, ...]:
    """One picture of each dashboard, as it shows what was recorded.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    documents, span = recorded_documents(), recorded_span()
    return tuple(picture(dashboard, documents, span) for dashboard in dashboards(DATA_VIEW))
