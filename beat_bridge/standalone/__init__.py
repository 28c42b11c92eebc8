"""The embedded default: a local store and a local rule engine in place of Elasticsearch and Kibana."""
