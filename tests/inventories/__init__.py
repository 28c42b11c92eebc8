"""Hosts as the sensors would describe them: builders, and the filters that real programs attach."""
