"""A kernel build as it runs in one guest: names, addresses, types, and the code as it should be."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from drgn import Program

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory import PhysicalMemory
from beat_bridge.sensors.hypervisor.symbols import cache, finders
from beat_bridge.sensors.hypervisor.symbols.boot_image import file_state, read_image
from beat_bridge.sensors.hypervisor.symbols.btf import Btf
from beat_bridge.sensors.hypervisor.symbols.build import KernelBuild, build_from_image, build_from_memory
from beat_bridge.sensors.hypervisor.symbols.symbol_table import KernelSymbol
from beat_bridge.sensors.hypervisor.symbols.vmcoreinfo import START_KERNEL_MAP, VmCoreInfo, find_vmcoreinfo

_log = logging.getLogger(__name__)


class UnknownSymbolError(DoorwatchError, LookupError):
    """This kernel has no symbol of that name."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One kernel in one guest in one boot. Addresses are those of the guest, KASLR slide included."""

    build: KernelBuild
    boot: VmCoreInfo

    @property
    def build_id(self) -> str:
        """GNU build id in hexadecimal."""
        return self.build.build_id

    @property
    def release(self) -> str:
        """`uname -r`."""
        return self.boot.release

    @property
    def kernel_offset(self) -> int:
        """KASLR slide in bytes."""
        return self.boot.kernel_offset

    @property
    def phys_base(self) -> int:
        """As the kernel's variable of that name, in bytes."""
        return self.boot.phys_base

    @property
    def types(self) -> Btf:
        """The kernel's types."""
        return self.build.types

    @property
    def text_start(self) -> int:
        """Address of the first byte of code (`_text`)."""
        return self.build.text_start + self.kernel_offset

    @property
    def text_end(self) -> int:
        """Address behind the last (`_etext`)."""
        return self.build.text_end + self.kernel_offset

    def find(self, name: str) -> int | None:
        """The address of a symbol; of several with one name, the lowest. A per-CPU variable's is its offset."""
        link = self.build.symbols.find(name)
        return None if link is None else self._slid(link)

    def address(self, name: str) -> int:
        """The same.

        Raises:
            UnknownSymbolError: There is none.
        """
        found = self.find(name)
        if found is None:
            raise UnknownSymbolError(f"kernel {self.release} has no symbol {name}")
        return found

    def symbol_at(self, address: int) -> KernelSymbol | None:
        """The symbol whose bytes hold an address; None outside the kernel's image (modules, BPF programs, data)."""
        link = address - self.kernel_offset
        if not START_KERNEL_MAP <= link < self.build.symbols.addresses[-1]:
            return None
        place = self.build.symbols.before(link)
        return None if place is None else self._symbol(place)

    def symbols_named(self, name: str) -> Iterator[KernelSymbol]:
        """All symbols of a name: static functions may share one."""
        return map(self._symbol, self.build.symbols.places(name))

    def all_symbols(self) -> Iterator[KernelSymbol]:
        """Every symbol, ascending."""
        return map(self._symbol, range(len(self.build.symbols)))

    def physical(self, address: int) -> int:
        """The guest-physical address of an address in the kernel's image."""
        return self.boot.physical(address)

    def register_finders(self, prog: Program) -> None:
        """Let a drgn program take its types, constants, functions, per-CPU variables and symbols from here."""
        finders.register_finders(prog, self)

    def _slid(self, link: int) -> int:
        return link + self.kernel_offset if link >= START_KERNEL_MAP else link

    def _symbol(self, place: int) -> KernelSymbol:
        symbol = self.build.symbols.at(place)
        return replace(symbol, address=self._slid(symbol.address))


def load_profile(
    image: Path | None,
    memory: PhysicalMemory,
    cache_dir: Path | None = None,
    runs: Callable[[VmCoreInfo], bool] | None = None,
) -> Profile:
    """Find out which kernel runs in this memory, and all about it.

    Args:
        image: The kernel's file, if it is at hand: its word is better than the guest's.
        memory: The guest's RAM.
        cache_dir: Where builds read from images are kept, so that the next look need not read them again. A build
            that was read from a guest's RAM is never kept: another guest of the same build would have to believe it.
        runs: See `find_vmcoreinfo`.

    Raises:
        DoorwatchError: No Linux kernel runs there, or the image is of another, or it has no types.
    """
    boot = find_vmcoreinfo(memory) if runs is None else find_vmcoreinfo(memory, runs)
    build = _cached_build(image, boot, cache_dir) or build_from_memory(memory, boot)
    if boot.build_id and build.build_id != boot.build_id:
        raise DoorwatchError(
            f"{image}: this is the kernel {build.release} (build id {build.build_id[:16]}), "
            f"but the guest runs {boot.release} (build id {boot.build_id[:16]}): give that kernel's image"
        )
    profile = Profile(build, boot)
    _agree(profile)
    return profile


def _cached_build(image: Path | None, boot: VmCoreInfo, cache_dir: Path | None) -> KernelBuild | None:
    """The build from the cache or from the image; None where there is neither.

    The cache answers for the image it was made from: the same file unchanged, or another with the same bytes.
    """
    cached = cache.load(cache_dir, boot.build_id) if cache_dir is not None and boot.build_id else None
    if image is None:
        return cached.build if cached is not None else None
    state = file_state(image)
    if cached is not None and cached.image_state == state:
        return cached.build
    contents = read_image(image)
    digest = sha256(contents).hexdigest()
    if cached is not None and cached.image_sha256 == digest:
        return cached.build
    build = build_from_image(contents, str(image))
    if cache_dir is not None and build.build_id:
        try:
            cache.store(cache_dir, cache.Entry(build, digest, state))
        except DoorwatchError as error:  # a full disk makes the next look slower, it must not prevent this one
            _log.warning("%s", error)
    return build


def _agree(profile: Profile) -> None:
    """Every symbol that VMCOREINFO names must be where the symbol table has it.

    Raises:
        DoorwatchError: One is not.
    """
    for name, address in profile.boot.symbols.items():
        found = profile.find(name)
        if found is not None and found != address and address >= START_KERNEL_MAP:
            raise DoorwatchError(
                f"kernel {profile.release}: VMCOREINFO has {name} at {address:#x}, its symbol table at {found:#x}: "
                "the guest's note does not belong to this kernel"
            )
