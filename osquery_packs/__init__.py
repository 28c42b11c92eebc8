"""osquery: packs of queries, and an extension with tables of our own."""
