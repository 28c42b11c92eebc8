"""The front door: the `doorwatch` command, its configuration, and the one process that runs all parts."""
