"""How an action ended, and the ways in which it says that it did not act.

DoorwatchError
├── RefusedError        a guard said no before anything was done
│   └── GoneError       the process has ended
├── ActionFailedError   it was tried and did not work
└── RecordsError        journal or audit file cannot be written, so nothing may be done
"""

from datetime import datetime

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.model.responses import StepState


class RefusedError(DoorwatchError):
    """The target did not match, a guard said no, or the budget was spent: nothing was done."""


class GoneError(RefusedError):
    """The process has ended: there is nothing left to act on."""


class ActionFailedError(DoorwatchError):
    """It was tried and did not work; the line says why and what to do."""


class RecordsError(DoorwatchError):
    """The responder's own records cannot be written: nothing is done that could not be recorded."""


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
