"""Protocols that ordinary programs filter for inside a payload, known by their port."""

from typing import NamedTuple

from beat_bridge.cbpf.link import TCP, UDP
from beat_bridge.cbpf.words import Text


class Mark(NamedTuple):
    """A field with the values it has in this protocol; none given: any value that a program may look for."""

    offset: int
    width: int
    values: tuple[int, ...] = ()


class Carried(NamedTuple):
    """A protocol inside UDP or TCP."""

    name: str
    transport: int
    ports: frozenset[int]
    marks: tuple[Mark, ...]
    """What a program of this protocol filters for."""
    own: tuple[Mark, ...] = ()
    """What a program puts into its own requests (a transaction id, its address): good beside a mark with values."""
    loose: tuple[Mark, ...] = ()
    """Where people look for contents: never a secret, never quite ordinary."""
    names: tuple[Mark, ...] = ()
    """The same, where only names and the lengths of their labels stand."""


CARRIED: tuple[Carried, ...] = (
    Carried(
        "DHCP",
        UDP,
        frozenset({67, 68}),
        marks=(Mark(0, 1, (1, 2)), Mark(1, 1), Mark(2, 1), Mark(3, 1), Mark(236, 4, (0x63825363,)), Mark(240, 3)),
        own=(Mark(4, 4), Mark(12, 4), Mark(16, 4), Mark(28, 16)),
    ),
    Carried("DHCPv6", UDP, frozenset({546, 547}), marks=(Mark(0, 1, tuple(range(1, 37))),), own=(Mark(1, 3),)),
    *(
        Carried(
            "DNS",
            transport,
            frozenset({53, 5353, 5355}),
            marks=(Mark(start + 2, 2), *(Mark(start + count, 2, tuple(range(8))) for count in (4, 6, 8, 10))),
            names=(Mark(start + 12, 512),),
        )
        for transport, start in ((UDP, 0), (TCP, 2))
    ),
    Carried("NTP", UDP, frozenset({123}), marks=(Mark(0, 1), Mark(1, 1, tuple(range(17))))),
    Carried(
        "NetBIOS",
        UDP,
        frozenset({137, 138}),
        marks=(Mark(0, 1, tuple(range(16, 23))), Mark(2, 2), Mark(4, 2, tuple(range(8)))),
        names=(Mark(12, 256),),
    ),
    Carried("SNMP", UDP, frozenset({161, 162}), marks=(Mark(0, 1, (0x30,)),)),
    Carried("TFTP", UDP, frozenset({69}), marks=(Mark(0, 2, tuple(range(1, 7))),), names=(Mark(2, 256),)),
    Carried("PTP", UDP, frozenset({319, 320}), marks=(Mark(0, 1), Mark(1, 1, (1, 2, 0x12)), Mark(32, 1))),
    Carried("RIP", UDP, frozenset({520, 521}), marks=(Mark(0, 1, (1, 2)), Mark(1, 1, (1, 2)), Mark(2, 2, (0,)))),
    Carried("L2TP", UDP, frozenset({1701}), marks=(Mark(0, 2, (0xC802, 0x4002, 0x0002)),)),
    Carried("RADIUS", UDP, frozenset({1812, 1813, 1645, 1646}), marks=(Mark(0, 1, tuple(range(1, 64))),)),
    Carried("LDP", UDP, frozenset({646}), marks=(Mark(0, 2, (1,)),)),
    Carried("NetFlow", UDP, frozenset({2055, 4739, 9995, 9996}), marks=(Mark(0, 2, (1, 5, 7, 8, 9, 10)),)),
    Carried("sFlow", UDP, frozenset({6343}), marks=(Mark(0, 4, (2, 4, 5)),)),
    Carried(
        "HSRP", UDP, frozenset({1985, 2029}), marks=(Mark(0, 1, (0, 1)), Mark(1, 1, (0, 1, 2)), Mark(2, 1), Mark(6, 1))
    ),
    Carried(
        "GTP", UDP, frozenset({2123, 2152}), marks=(Mark(0, 1), Mark(1, 1, (1, 2, 26, 254, 255))), loose=(Mark(4, 4),)
    ),
    Carried("BFD", UDP, frozenset({3784, 4784}), marks=(Mark(0, 2), Mark(3, 1, (24, 26, 48))), loose=(Mark(4, 8),)),
    Carried(
        "VXLAN", UDP, frozenset({4789, 8472}), marks=(Mark(0, 1), Mark(1, 3, (0,)), Mark(4, 3)), loose=(Mark(8, 64),)
    ),
    Carried(
        "GENEVE",
        UDP,
        frozenset({6081}),
        marks=(Mark(0, 1), Mark(2, 2), Mark(4, 3)),
        loose=(Mark(8, 64),),
    ),
    Carried(
        "IKE and ESP in UDP", UDP, frozenset({500, 4500}), marks=(Mark(0, 4, (0,)), Mark(16, 3)), loose=(Mark(0, 8),)
    ),
)


_NAME_BYTES = (*range(64), *b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
"""Labels are at most 63 bytes long; digits, `-` and `.` are among the first 64 characters."""


class Fit(NamedTuple):
    """How a demand fits a protocol."""

    name: str
    ordinary: bool
    """All of it is what programs of this protocol filter for; else some of it is only what people look for."""


def fit(text: Text, transports: list[int], ports: list[int]) -> Fit | None:
    """The protocol that explains everything a path demands of a payload, or None.

    Args:
        text: What is demanded.
        transports: IP protocol numbers that the path accepts.
        ports: Ports that the path demands at either end.
    """
    for protocol in CARRIED:
        if ports and transports == [protocol.transport] and protocol.ports.issuperset(ports):
            found = _fit(protocol, text)
            if found is not None:
                return found
    return None


def _fit(protocol: Carried, text: Text) -> Fit | None:
    proven = False
    own = loose = False
    for offset, (mask, value) in text.items():
        mark = _mark_at(protocol.marks, offset, mask, value)
        if mark is not None:
            proven = proven or (bool(mark.values) and mask == 0xFF)
        elif _mark_at(protocol.own, offset, mask, value):
            own = True
        elif _mark_at(protocol.loose, offset, mask, value) or (
            _mark_at(protocol.names, offset, mask, value) and _of_a_name(mask, value)
        ):
            loose = True
        else:
            return None
    return Fit(protocol.name, ordinary=not loose and (proven or not own))


def _mark_at(marks: tuple[Mark, ...], offset: int, mask: int, value: int) -> Mark | None:
    for mark in marks:
        if mark.offset <= offset < mark.offset + mark.width:
            shift = 8 * (mark.offset + mark.width - 1 - offset)
            if not mark.values or any((wanted >> shift ^ value) & mask == 0 for wanted in mark.values):
                return mark
    return None


def _of_a_name(mask: int, value: int) -> bool:
    """Whether a byte may belong to a name: a letter, a digit, `-`, `.`, `_`, the length of a label, or an end."""
    return any((value ^ byte) & mask == 0 for byte in _NAME_BYTES)
