"""The product's own host sensors, run inside a guest."""

import io
import sys
import tarfile
from pathlib import Path

import msgspec

from beat_bridge.model.inventory import Inventory, decode
from tests.lab.guest.qemu import Guest

ROOT = Path(__file__).parents[3]
PLACE = "/run/product"
PYTHONS = {"bookworm": (3, 11), "trixie": (3, 13)}
"""Each release's python3: msgspec's compiled half fits one version alone."""
_LOOK = """\
import os, sys
sys.path.insert(0, {place!r})
hidden = {hidden!r}.split()
listed = os.listdir
# as a library in front of libc's readdir would do (LD_PRELOAD)
os.listdir = lambda *path: [name for name in listed(*path) if not (path == ("/proc",) and name in hidden)]
from beat_bridge.model.inventory import encode
from beat_bridge.sensors.host import look
os.write(1, encode(look()))
"""


def fits(release: str) -> bool:
    """Whether this interpreter's compiled modules run in a guest of a release."""
    return PYTHONS[release] == sys.version_info[:2]


def install(guest: Guest) -> None:
    """Put the sensors, and what they import, into a guest."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for room in ("beat_bridge/errors.py", "beat_bridge/__init__.py", "beat_bridge/model", "beat_bridge/sensors"):
            archive.add(ROOT / room, room, filter=_source)
        library = Path(msgspec.__file__).parent
        archive.add(library, library.name, filter=_source)
    guest.put(f"{PLACE}.tar.gz", packed.getvalue())
    guest.check("mkdir", "-p", PLACE)
    guest.check("tar", "-xzf", f"{PLACE}.tar.gz", "-C", PLACE)


def _source(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name or "/hypervisor" in member.name else member


def look(guest: Guest, *, hidden: tuple[int, ...] = ()) -> Inventory:
    """One look from inside.

    Args:
        guest: Where `install` was.
        hidden: Processes that the look's own libc keeps from it.
    """
    script = _LOOK.format(place=PLACE, hidden=" ".join(map(str, hidden)))
    return decode(guest.check("python3", "-c", script, timeout=120).encode(), "the guest")
