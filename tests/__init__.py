"""Doorwatch's tests; they mirror the rooms."""
