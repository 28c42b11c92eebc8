"""IP addresses as Elasticsearch's `ip` fields hold them: 128 bits, IPv4 mapped into IPv6.

So `::1` and `0:0:0:0:0:0:0:1` are the same, every address has its place in one order, and `::/0` holds them all.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any, Final

_MAPPED: Final = 0xFFFF << 32
_LONGEST: Final = 45
"""Characters of an address."""


def address(text: Any) -> int | None:
    """An address as a number; None where the value is none."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        return None
    return _address(text)


@lru_cache(maxsize=4096)
def _address(text: str) -> int | None:
    try:
        known = ip_address(text)
    except ValueError:
        return None
    if isinstance(known, IPv4Address):
        return _MAPPED | int(known)
    return None if known.scope_id else int(known)


@lru_cache(maxsize=1024)
def block(text: str) -> tuple[int, int]:
    """The first and the last address of a CIDR block; a bare address is a block of one.

    Raises:
        ValueError: It is none.
    """
    network = ip_network(text, strict=False)
    mapped = _MAPPED if isinstance(network, IPv4Network) else 0
    return mapped | int(network.network_address), mapped | int(network.broadcast_address)
