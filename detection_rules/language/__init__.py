"""KQL and EQL: queries that compile once into functions over documents."""
