"""The vocabulary every room speaks: what a host holds, what was found in it, what was done about it.

Frozen values only; no I/O, no import from any other room.
"""
