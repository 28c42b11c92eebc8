"""All questions asked of one inventory."""

from beat_bridge.model.findings import Finding
from beat_bridge.model.inventory import Inventory


def detect(inventory: Inventory) -> tuple[Finding, ...]:  # noqa: ARG001 - the questions follow
    """Everything found in one inventory, in a stable order: the same inventory always gives the same findings."""
    return ()
