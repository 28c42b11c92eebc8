"""What one sensor of one pass could not see: counted, with the first reason in words."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from drgn import FaultError

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.sensors.hypervisor.memory import MemoryFault
from beat_bridge.sensors.hypervisor.memory.paging import OutOfTimeError

_T = TypeVar("_T")


@dataclass(slots=True)
class Gaps:
    """Filled by the walkers that answer for one sensor."""

    examined: int = 0
    missed: int = 0
    listed: bool = True
    """Every list that the sensor depends on was walked to its end."""
    reason: Reason | None = None
    detail: str = ""

    def miss(self, what: str, error: Exception) -> None:
        """One object that exists could not be read."""
        self.missed += 1
        self._explain(Reason.FAILED, f"{what}: {error}")

    def lose(self, what: str, error: Exception) -> None:
        """A list could not be followed to its end: how much is missing is not known."""
        self.listed = False
        self.miss(what, error)

    def lack(self, what: str, error: Exception) -> None:
        """This kernel has no such thing, or arranges it in a way that is not known here."""
        self.listed = False
        self._explain(Reason.UNSUPPORTED, f"{what}: not possible with this kernel ({_first_line(error)})")

    @contextmanager
    def question(self, what: str) -> Iterator[None]:
        """One question of the sensor's: where it cannot be answered to the end, the others still are."""
        try:
            yield
        except (FaultError, MemoryFault, OutOfTimeError) as error:
            self.lose(what, error)
        except (LookupError, AttributeError, TypeError, ValueError, OverflowError) as error:
            # drgn's ways of saying that a symbol, type or member is not what the walker expects
            self.lack(what, error)

    def whole(self, walk: Iterable[_T], what: str) -> Iterator[_T]:
        """Pass on what a walk yields; where it breaks off, keep account of that and end quietly."""
        with self.question(what):
            yield from walk

    @property
    def complete(self) -> bool:
        """Nothing is known to be missing so far."""
        return self.listed and not self.missed

    def coverage(self, sensor: str) -> Coverage:
        """The account."""
        status = CoverageStatus.COMPLETE if self.complete else CoverageStatus.PARTIAL
        if not self.complete and not self.examined:
            status = CoverageStatus.NONE
        return Coverage(
            sensor=sensor,
            status=status,
            reason=None if self.complete else self.reason,
            detail="" if self.complete else self.detail,
            examined=self.examined,
            missed=self.missed,
            listed=self.listed,
        )

    def _explain(self, reason: Reason, detail: str) -> None:
        if self.reason is None:
            self.reason, self.detail = reason, detail


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
