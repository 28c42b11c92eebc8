"""What one sensor of one pass could not see: counted, with the first reason in words."""

import logging
import re
import struct
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from drgn import FaultError, Object, ObjectNotFoundError, Program, Type

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.sensors.hypervisor.memory import MemoryFault
from beat_bridge.sensors.hypervisor.memory.paging import OutOfTimeError
from beat_bridge.terminal import one_line

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_OF_DRGN = re.compile(r"'[^']*' is not an? |cannot convert '")
"""How its lines begin where something has another type than a walker expects."""


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
        except (ValueError, OverflowError, struct.error) as error:  # what was read is nothing that a kernel writes
            self.lose(what, error)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is in the account, under its right name
            if _unknown_layout(error):
                self.lack(what, error)
            else:
                self._internal(what, error)

    def whole(self, walk: Iterable[_T], what: str) -> Iterator[_T]:
        """Pass on what a walk yields; where it breaks off, keep account of that and end quietly."""
        with self.question(what):
            yield from walk

    def _internal(self, what: str, error: Exception) -> None:
        """A fault of this program's, which must neither end the look nor pass for a property of the kernel."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        line = f"{type(error).__name__}: {_first_line(error)} ({Path(where.filename).name}:{where.lineno})"
        if self.reason is None:
            _log.error("%s: internal error: %s", one_line(what), one_line(line))
        self.listed = False
        self.missed += 1
        self._explain(Reason.FAILED, f"{what}: internal error, please report it: {line}")

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
            self.reason, self.detail = reason, one_line(detail)  # names are the guest's


def _unknown_layout(error: Exception) -> bool:
    """Whether this is how drgn, or a walker, says that a symbol, type or member is not there or not as expected.

    Python's own mistakes have the same classes: a key that a dictionary lacks, an attribute that None has not.
    """
    if isinstance(error, LookupError):
        return isinstance(error, ObjectNotFoundError) or not isinstance(error, KeyError | IndexError)
    if isinstance(error, AttributeError):
        return isinstance(error.obj, Object | Type | Program)
    return isinstance(error, TypeError) and _OF_DRGN.match(str(error)) is not None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
