"""Real parts for tests: what this machine offers, and how to start it."""
