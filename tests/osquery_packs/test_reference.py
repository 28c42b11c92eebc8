"""docs/osquery.md is what the code says."""

from pathlib import Path

from osquery_packs.extension import schema
from osquery_packs.loading import load_packs
from osquery_packs.reference import render_packs

PAGE = Path(__file__).parent.parent.parent / "docs" / "osquery.md"


def test_the_page_is_made_from_the_packs() -> None:
    """The page in docs/ is the generated one (`make docs` writes it), and names every query and column."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == render_packs()
    for pack in load_packs():
        assert all(f"| `{name}` |" in page for name in pack.queries)
    for table in schema.TABLES:
        assert all(f"| `{column.name}` |" in page for column in table.columns)
