"""The view from inside: this host's own kernel interfaces."""
