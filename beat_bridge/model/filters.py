"""Socket filters and what they mean."""

from enum import StrEnum
from hashlib import sha256
from struct import pack
from typing import Annotated

import msgspec

from beat_bridge.model.base import Unavailable, Value, Verdict

U8 = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
U16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]


class Instruction(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One `struct sock_filter` (include/uapi/linux/filter.h): `{__u16 code; __u8 jt; __u8 jf; __u32 k;}`."""

    code: U16
    jt: U8
    jf: U8
    k: U32


Program = tuple[Instruction, ...]


def program_sha256(program: Program) -> str:
    """SHA-256, in hexadecimal, over the program's records in network byte order: one name on every machine."""
    return sha256(b"".join(pack("!HBBI", i.code, i.jt, i.jf, i.k) for i in program)).hexdigest()


class FilterKind(StrEnum):
    """What a socket carries."""

    NONE = "none"
    CLASSIC = "classic"
    EBPF = "ebpf"
    UNKNOWN = "unknown"
    """It could not be asked; `SocketFilter.unavailable` says why."""


class SocketFilter(Value, frozen=True, kw_only=True):
    """The filter on one socket."""

    kind: FilterKind
    program: Program = ()
    """The instructions, for CLASSIC only."""
    bpf_program_id: int = 0
    """The id of the program, for EBPF where it could be told."""
    unavailable: Unavailable | None = None


class Magic(Value, frozen=True, kw_only=True):
    """A value that an accepting path demands at a place in the packet that belongs to no protocol header."""

    protocol: str
    """Whose payload holds it: `udp`, `tcp`, `icmp`, `icmp6`, `sctp`, `ip`, `ethernet`; `any` where none is demanded."""
    offset: int
    """Bytes from where `base` says: udp[8:2] is protocol udp, base header, offset 8, width 2."""
    width: int
    """Bytes."""
    value: int
    """In network byte order, as read by the filter."""
    mask: int | None = None
    """The bits of `value` that are demanded, where not all are."""
    base: str = "header"
    """What `offset` counts from.

    `header` or `payload` of `protocol`, `packet` (its first byte), or `roving`: a place that the packet decides.
    """

    @property
    def text(self) -> str:
        """In the manner of pcap filters: `udp[8:2] = 0x7255`, `tcp.payload[0:2] & 0xff00 = 0x5200`.

        `udp[x + 4:2] = 0x7255` for a roving place.
        """
        start = f"x + {self.offset}" if self.base == "roving" else str(self.offset)
        place = f"{self.protocol}{'.payload' if self.base == 'payload' else ''}[{start}:{self.width}]"
        mask = "" if self.mask is None else f" & {self.mask:#x}"
        digits = 2 * min(max(self.width, 1), 8)
        return f"{place}{mask} = {self.value:#0{digits + 2}x}"


class FilterJudgement(Value, frozen=True, kw_only=True):
    """What a program demands of a packet before it lets it through, and what that makes of it."""

    verdict: Verdict
    summary: str
    """One sentence an analyst can read aloud."""
    magic: tuple[Magic, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why this verdict, one plain clause each."""
    family: str = ""
    """Known malware the constants or the shape point to; empty where none does. Never decides the verdict."""
    protocols: tuple[str, ...] = ()
    """Protocols that some accepting path demands, sorted."""
    paths: tuple[str, ...] = ()
    """Each accepting path in words (bounded; the last line says how many more there are)."""
    complete: bool = True
    """Every accepting path was followed."""
