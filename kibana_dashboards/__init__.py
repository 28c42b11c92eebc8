"""What Kibana is given: dashboards, the Elastic package, and the set-up of a Kibana."""
