"""How an action ended, and the two ways in which it says that it did not act.

DoorwatchError
├── RefusedError        a guard said no before anything was done
└── ActionFailedError   it was tried and did not work
"""

from datetime import datetime

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.model.responses import StepState


class RefusedError(DoorwatchError):
    """The target did not match, a guard said no, or the budget was spent: nothing was done."""


class ActionFailedError(DoorwatchError):
    """It was tried and did not work; the line says why and what to do."""


class Outcome(Value, frozen=True, kw_only=True):
    """What an action did."""

    explanation: str
    state: StepState = StepState.SUCCEEDED
    proof: str = ""
    evidence: tuple[str, ...] = ()
    lease_expires_at: datetime | None = None


class CureResult(Value, frozen=True, kw_only=True):
    """What a new look at the host says of an incident."""

    cured: bool | None
    """None where the look could not tell, which is never a cure."""
    explanation: str
