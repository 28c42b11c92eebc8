"""What could be compared of two views, and why the rest could not."""

from dataclasses import dataclass, field

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import Coverage, CoverageStatus

SENSOR = "cross_view"


@dataclass(slots=True)
class Account:
    """Filled while two views are compared."""

    compared: int = 0
    undecided: int = 0
    reason: Reason | None = None
    details: list[str] = field(default_factory=list)

    def lacks(self, reason: Reason, detail: str, count: int = 0) -> None:
        """Something could not be compared.

        Args:
            reason: Why; the first is kept.
            detail: In words.
            count: Of how many things it is therefore not known whether the other view shows them.
        """
        self.undecided += count
        self.reason = self.reason or reason
        self.details.append(detail)

    def coverage(self) -> Coverage:
        """The account, as the sensor `cross_view` gives it."""
        status = CoverageStatus.PARTIAL if self.details else CoverageStatus.COMPLETE
        return Coverage(
            sensor=SENSOR,
            status=CoverageStatus.NONE if self.details and not self.compared else status,
            reason=self.reason,
            detail="; ".join(self.details),
            examined=self.compared,
            missed=self.undecided,
        )
