"""Sets up a Kibana: the connector to the responder, rules with their webhook action, dashboards, osquery packs."""
