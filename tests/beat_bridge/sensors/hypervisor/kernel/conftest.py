"""A guest of each release, looked at from outside, and what it says of itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from drgn import Program

from beat_bridge.model.inventory import Inventory
from beat_bridge.sensors.hypervisor.kernel.program import open_program
from beat_bridge.sensors.hypervisor.looking import Introspection
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory
from beat_bridge.sensors.hypervisor.memory.layout import q35
from beat_bridge.sensors.hypervisor.memory.ram_file import RamFile
from beat_bridge.sensors.hypervisor.symbols.profile import Profile, load_profile
from tests.lab.guest import Guest
from tests.lab.guest.fixtures import bookworm, guest, trixie

__all__ = ["bookworm", "guest", "trixie"]


LOOKS = 20


class Watched(NamedTuple):
    """A guest, and the means to look at it from outside."""

    guest: Guest
    memory: PhysicalMemory
    profile: Profile
    prog: Program
    introspection: Introspection

    def look(self) -> Inventory:
        """One look."""
        return self.introspection.look()

    def whole_look(self, *sensors: str) -> Inventory:
        """A look in which these sensors saw everything: in a running guest another look may be needed."""
        for _ in range(LOOKS):
            seen = self.look()
            gaps = [each for each in seen.gaps if each.sensor in sensors]
            if not gaps:
                return seen
        return pytest.fail(f"no look of {LOOKS} was whole; the last lacked {gaps}", pytrace=False)


@pytest.fixture(scope="session")
def watched(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A guest of each release, being watched."""
    memory = RamFile(Path(guest.ram_file), q35(guest.memory))
    profile = load_profile(guest.kernel_image, memory, tmp_path_factory.mktemp("profiles"))
    yield Watched(guest, memory, profile, open_program(memory, profile), Introspection(memory, profile))
    memory.close()
