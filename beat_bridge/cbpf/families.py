"""Malware that is known to demand certain words. A name for the analyst; it never decides a verdict."""

from collections.abc import Sequence
from types import MappingProxyType

from beat_bridge.model.filters import Magic

_BY_WORD = MappingProxyType(
    # value: (width in bytes, family); KISA's and Rapid7's public reports on BPFDoor
    {
        0x39393939: (4, "BPFDoor (KISA 2025)"),
        0x8D6C: (2, "BPFDoor (KISA 2025)"),
        0x9F4F: (2, "BPFDoor (KISA 2025)"),
        0x270F: (2, "BPFDoor (Rapid7)"),
        0x2048: (2, "BPFDoor (Rapid7)"),
        0x1155: (2, "BPFDoor (Rapid7)"),
        0x5433: (2, "BPFDoor (Rapid7)"),
        0x3182: (2, "BPFDoor (Rapid7)"),
        0x1051: (2, "BPFDoor (Rapid7)"),
        0x3321: (2, "BPFDoor (Rapid7)"),
        0xDEAD: (2, "BPFDoor (Rapid7)"),
        0x7255: (2, "BPFDoor (classic, 2018-2022)"),
        0x5293: (2, "BPFDoor (classic, 2018-2022)"),
    }
)


def family_of(magic: Sequence[Magic]) -> str:
    """The known family whose words are among these, or an empty string."""
    found = ""
    for item in magic:
        width, family = _BY_WORD.get(item.value, (0, ""))
        if width == item.width and item.mask is None:
            found = family if not found or "classic" in family else found
    return found
