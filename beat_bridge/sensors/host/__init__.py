"""The view from inside: this host's own kernel interfaces."""

from beat_bridge.sensors.host.capability import capabilities
from beat_bridge.sensors.host.looking import look

__all__ = ["capabilities", "look"]
