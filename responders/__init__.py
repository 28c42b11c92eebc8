"""The responder: from an alert to evidence, containment under a lease, and proof."""
