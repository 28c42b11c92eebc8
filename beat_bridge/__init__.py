"""The bridge: what was seen on a host, as ECS documents, into Elasticsearch or the embedded store."""
