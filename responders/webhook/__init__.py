"""Where alerts arrive: bodies, credentials, the application, the server."""
