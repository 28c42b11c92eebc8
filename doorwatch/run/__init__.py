"""`doorwatch run`: sensors, spool, delivery, rules and responder in one process, from one configuration file."""
