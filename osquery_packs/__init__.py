"""osquery: packs of queries, and an extension with tables of our own."""

from osquery_packs.loading import load_packs
from osquery_packs.model import Pack, Query

__all__ = ["Pack", "Query", "load_packs"]
