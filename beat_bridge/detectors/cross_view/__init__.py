"""Does one view of a host show what another hides? The difference between two views is the finding.

Two sources: lists of one kernel that disagree (`lists.find`, a part of `detect`), and a view from inside against one
from outside (`compare`, `single`). What merely began or ended between two looks is never told: see `compare`.

**How firmly a difference stands**, and what follows from it:

| standing | came about by | verdict and confidence |
|---|---|---|
| candidate | one look at a running guest, in which lists disagree | unknown, 0.3; never told, see `lifecycle` |
| sampled | looks before and after, or a start time, say that it was there all the time | suspicious, 0.7 |
| confirmed | a look while the guest stood still shows it as well (`confirm`) | malicious, 0.95 |

Exceptions, which stay suspicious: a process whose name differs (0.5: it may have renamed itself twice), and a thing
that only the view from inside shows (0.6: a pause cannot prove that it exists).
"""

from beat_bridge.detectors.cross_view.compare import Comparison, bracketed, compare, not_compared, single
from beat_bridge.detectors.cross_view.confirm import confirm, reportable, undecided

__all__ = ["Comparison", "bracketed", "compare", "confirm", "not_compared", "reportable", "single", "undecided"]
