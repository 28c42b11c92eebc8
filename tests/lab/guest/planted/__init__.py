"""Programs that run in the guest, each one harmless thing to be found from outside; they stay until killed.

Each prints what it made as one JSON object, then the line `ready`. They need the standard library alone.
"""
