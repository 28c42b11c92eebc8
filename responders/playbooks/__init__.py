"""Playbooks: which alerts are answered, and with what."""
