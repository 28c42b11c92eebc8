"""The bridge's part of the command line."""
