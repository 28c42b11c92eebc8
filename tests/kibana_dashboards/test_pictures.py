"""Pictures of the dashboards: true, whole, and safe whatever a document holds."""

import copy
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beat_bridge.ecs.fields import check
from docs import make
from kibana_dashboards.dashboards import dashboards, evaluate, lens
from kibana_dashboards.pictures import picture, pictures, recorded_documents, recorded_span
from kibana_dashboards.pictures.charts import duration, fit
from kibana_dashboards.reference import render_dashboards

BOARDS = dashboards("logs-*")
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    """Every text that a picture shows."""
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - our own


@pytest.mark.parametrize("shown", pictures(), ids=lambda shown: shown.name)
def test_a_picture_shows_every_panel_within_its_frame(shown: Any) -> None:
    """It is well-formed, names each panel of its dashboard, stands alone, and draws nothing outside of itself."""
    (board,) = (board for board in BOARDS if board["id"] == f"doorwatch-{shown.name}")
    said = texts(shown.svg)
    assert all(panel.title in said for panel in lens.panels(board))
    root = ET.fromstring(shown.svg)  # noqa: S314 - our own
    assert not [node for node in root.iter() if any("href" in name for name in node.attrib)]
    for group in root.iter(f"{SVG}g"):
        x, y = map(float, group.attrib["transform"].removeprefix("translate(").rstrip(")").split())
        for node in group:
            if "x" in node.attrib:
                assert 0 <= x + float(node.attrib["x"]) <= shown.width
                assert 0 <= y + float(node.attrib["y"]) <= shown.height


@pytest.mark.parametrize("shown", pictures(), ids=lambda shown: shown.name)
def test_the_documentation_has_these_pictures(shown: Any) -> None:
    """What docs/ holds is what `make docs` draws now."""
    assert (make.FOLDER / f"dashboard-{shown.name}.svg").read_text(encoding="utf-8") == shown.svg


def test_the_recorded_documents_are_documents() -> None:
    """Each passes the check that every document of the product passes, and none names the machine it was made on."""
    for document in recorded_documents():
        assert check(document) == ()
    hosts = {(document["host"]["id"], document["host"]["name"]) for document in recorded_documents()}
    assert {name for _, name in hosts} == {"guest-bookworm", "guest-trixie", "demo-host"}
    assert all(set(identifier) <= set("0123") for identifier, _ in hosts)


def test_most_panels_have_something_to_show() -> None:
    """The lab's documents fill most panels, so that comparing them with a server's answers says something."""
    documents, span = recorded_documents(), recorded_span()
    shown = [panel for board in BOARDS for panel in lens.panels(board)]
    empty = [
        panel.title
        for panel in shown
        if not any(
            value not in (None, 0, []) for row in evaluate.rows(panel, documents, span) for value in row.values()
        )
    ]
    assert len(empty) <= len(shown) / 5, empty


HOSTILE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=200)


@settings(max_examples=40)
@given(text=HOSTILE)
def test_no_document_can_break_a_picture(text: str) -> None:
    """Names chosen by an attacker stay text: the picture is well-formed and has no element more."""
    documents = [copy.deepcopy(dict(document)) for document in recorded_documents()]
    for document in documents:
        document["host"]["name"] = text
        if "process" in document:
            document["process"]["executable"] = text
    for board in BOARDS:
        drawn = ET.fromstring(picture(board, documents, recorded_span()).svg)  # noqa: S314 - well-formed or not
        assert {node.tag.removeprefix(SVG) for node in drawn.iter()} <= {
            *("svg", "title", "desc", "style", "rect", "text", "g", "path", "circle")
        }


def test_an_empty_cluster_can_be_drawn() -> None:
    """Without a document every panel says so instead of failing."""
    for board in BOARDS:
        said = texts(picture(board, [], recorded_span()).svg)
        assert "nothing" in said
        assert "0" in said or "-" in said


@pytest.mark.parametrize(
    ("nanoseconds", "said"),
    [(0, "0.0 ms"), (1.5e6, "1.5 ms"), (2.5e9, "2.5 s"), (90e9, "1.5 min"), (5400e9, "1.5 h")],
)
def test_durations_are_told_in_the_unit_that_people_use(nanoseconds: float, said: str) -> None:
    """Nanoseconds as milliseconds, seconds, minutes or hours."""
    assert duration(nanoseconds) == said


@given(text=HOSTILE, width=st.floats(0, 500))
def test_a_cut_text_fits(text: str, width: float) -> None:
    """Text is whole or ends in an ellipsis, and is never longer than its room."""
    cut = fit(text, width)
    assert cut == text or cut.endswith("…")
    assert len(cut) <= max(1, int(width / 6.8))


def test_the_page_of_the_dashboards_is_current() -> None:
    """docs/dashboards.md is what the saved objects say: `make docs` writes it."""
    assert (make.FOLDER / "dashboards.md").read_text(encoding="utf-8") == render_dashboards()
