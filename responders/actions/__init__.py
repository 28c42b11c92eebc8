"""What a response can do to a host, one module each."""
