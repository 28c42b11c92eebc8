"""Tables of our own for osquery: socket filters, findings, and what could not be seen."""
