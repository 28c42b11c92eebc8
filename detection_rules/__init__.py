"""Detection content: rules in Elastic's TOML, each proven by documents, and the languages they are written in."""
