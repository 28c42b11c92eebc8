"""A baseline on disk, so that what changes while nobody looks is drift all the same.

One private file a guest, for its present boot. It is what this program itself has seen; a file that is damaged, or that
is of another boot, is worth nothing and is written anew. A boot is told by its id alone: without one, a kernel that is
not moved by KASLR looks like itself after a restart, with other data.
"""

import logging
import os
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import write_atomically
from beat_bridge.sensors.hypervisor.integrity.baseline import MAX_BYTES, Baseline, decode, encode

_log = logging.getLogger(__name__)


def kept_baseline(path: Path, here: Baseline) -> Baseline | None:
    """The baseline that was kept for this boot; None, with a log line that says why, where it cannot be used.

    Args:
        path: The file.
        here: The guest as it is now; its pages are not asked for.
    """
    try:
        kept = decode(_read(path), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s: this baseline cannot be read, changes since it was taken go unseen: %s", path, error.strerror)
        return None
    except DoorwatchError as error:
        _log.warning("%s; changes since it was taken go unseen", error)
        return None
    if not kept.boot_id or kept.boot_id != here.boot_id or not kept.belongs_to(here):
        _log.info("%s: this baseline is of another boot: a new one is taken", path)
        return None
    return kept


def keep_baseline(path: Path, baseline: Baseline) -> bool:
    """Keep a baseline if it is whole: of a boot that has an id, and every page was read.

    Returns:
        Whether there is nothing left to do; a file that cannot be written is told in the log, once.
    """
    pages = (baseline.kernel_text, baseline.read_only_data)
    if not baseline.boot_id or not all(digests and all(digests) for digests in pages):
        return False
    try:
        write_atomically(path, encode(baseline))
    except OSError as error:
        _log.warning(
            "%s: the baseline cannot be kept, changes made while nobody looks go unseen: %s", path, error.strerror
        )
    return True


def _read(path: Path) -> bytes:
    """At most one byte more than a baseline can have; no link is followed and no device waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_BYTES + 1)
