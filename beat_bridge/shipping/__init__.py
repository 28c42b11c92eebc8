"""From the spool on disk to Elasticsearch, with nothing dropped in silence."""
