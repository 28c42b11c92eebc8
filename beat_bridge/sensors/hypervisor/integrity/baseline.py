"""The state of a kernel's code and read-only data in one boot, as a value that can be kept and compared with later.

It stands beside the image, not in its place: the image says what the build is, the baseline what this boot had made of
it when it was taken. What the kernel switches as it runs (tracing, jump labels, static calls) is left out of it.
"""

from typing import Annotated

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value

MAX_PAGES = 65_536
"""256 MiB of code: more than any kernel has."""
MAX_BYTES = 8 << 20
Digest = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?$")]
"""Of one page, in hexadecimal; empty where it could not be read."""
Digests = Annotated[tuple[Digest, ...], msgspec.Meta(max_length=MAX_PAGES)]
_Name = Annotated[str, msgspec.Meta(max_length=256)]


class Baseline(Value, frozen=True, kw_only=True):
    """One kernel in one boot."""

    build_id: _Name
    kernel_offset: int
    """KASLR slide in bytes."""
    boot_id: _Name
    """`/proc/sys/kernel/random/boot_id`; empty where nobody in the guest has asked for one yet."""
    kernel_text: Digests
    """Of each page from `_text` on."""
    read_only_data: Digests
    """Of each page from `__start_rodata` on."""

    def belongs_to(self, other: "Baseline") -> bool:
        """Whether both are of one boot of one build; a boot id that one of them lacks does not part them."""
        if self.boot_id and other.boot_id and self.boot_id != other.boot_id:
            return False
        return (self.build_id, self.kernel_offset) == (other.build_id, other.kernel_offset)


def encode(baseline: Baseline) -> bytes:
    """The baseline as one JSON object."""
    return msgspec.json.encode(baseline)


def decode(data: bytes, source: str) -> Baseline:
    """Read what `encode` wrote.

    Args:
        data: JSON.
        source: Where it came from, for the error line.

    Raises:
        DoorwatchError: It is no baseline, or larger than one can be.
    """
    if len(data) > MAX_BYTES:
        raise DoorwatchError(f"{source}: larger than {MAX_BYTES >> 20} MiB: not a kernel's baseline")
    try:
        return msgspec.json.decode(data, type=Baseline)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DoorwatchError(f"{source}: not a kernel's baseline: {error}") from error
