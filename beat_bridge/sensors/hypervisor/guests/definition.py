"""What a libvirt domain's definition (its XML) says about RAM and network cards."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.memory.layout import Layout, i440fx, q35

MAX_DEFINITION = 4 << 20
_UNITS = {
    "b": 1,
    "bytes": 1,
    "KB": 10**3,
    "k": 1 << 10,
    "KiB": 1 << 10,
    "MB": 10**6,
    "M": 1 << 20,
    "MiB": 1 << 20,
    "GB": 10**9,
    "G": 1 << 30,
    "GiB": 1 << 30,
    "TB": 10**12,
    "T": 1 << 40,
    "TiB": 1 << 40,
}
"""https://libvirt.org/formatdomain.html#memory-allocation."""


@dataclass(frozen=True, slots=True)
class Backing:
    """A guest's RAM, as defined."""

    layout: Layout
    shared: bool
    """Whether what the guest writes arrives in a file."""


def parse(text: str, guest: str) -> ET.Element:
    """The definition's root.

    Raises:
        DoorwatchError: It is too long, or no XML.
    """
    if len(text) > MAX_DEFINITION:
        raise DoorwatchError(f"{guest}: its definition has {len(text)} characters: that is no definition of a guest")
    try:
        return ET.fromstring(text)  # noqa: S314 - libvirtd wrote it, and expat bounds what entities expand to
    except ET.ParseError as error:
        raise DoorwatchError(f"{guest}: its definition is no XML: {error}") from error


def backing(domain: ET.Element, guest: str) -> Backing:
    """Where RAM is, from a running guest's definition.

    Raises:
        DoorwatchError: Its arrangement is not one that can be read; the line says which.
    """
    kind = domain.find("os/type")
    machine = "" if kind is None else kind.get("machine", "")
    if kind is None or kind.get("arch") != "x86_64":
        raise DoorwatchError(f"{guest}: only x86_64 guests can be read from outside")
    if domain.find("devices/memory") is not None or domain.find("maxMemory") is not None:
        raise DoorwatchError(
            f"{guest}: memory that can be plugged in cannot be read: remove <maxMemory> and <memory> devices"
        )
    cells = domain.findall("cpu/numa/cell")
    if len(cells) > 1:
        raise DoorwatchError(f"{guest}: RAM in several NUMA cells cannot be read: remove <numa> from its definition")
    size = _size(domain, guest)
    if "q35" in machine:
        layout = q35(size)
    elif "i440fx" in machine or machine in ("pc", ""):
        layout = i440fx(size)
    else:
        raise DoorwatchError(f"{guest}: where RAM lies in a machine {machine} is not known: use q35")
    access = domain.find("memoryBacking/access")
    shared = (access is not None and access.get("mode") == "shared") or any(
        cell.get("memAccess") == "shared" for cell in cells
    )
    return Backing(layout, shared)


def _size(domain: ET.Element, guest: str) -> int:
    element = domain.find("memory")
    number, unit = ("", "") if element is None else (element.text or "", element.get("unit", "KiB"))
    if not number.isdecimal() or unit not in _UNITS:
        raise DoorwatchError(f"{guest}: its definition does not say how much memory it has")
    return int(number) * _UNITS[unit]


def with_link(domain: ET.Element, up: bool) -> Iterator[str]:
    """The definition of each network card, with its cable plugged in or pulled."""
    for card in domain.findall("devices/interface"):
        for link in card.findall("link"):
            card.remove(link)
        ET.SubElement(card, "link", state="up" if up else "down")
        yield ET.tostring(card, encoding="unicode")


def snapshot(name: str) -> str:
    """The definition of a snapshot."""
    root = ET.Element("domainsnapshot")
    ET.SubElement(root, "name").text = name
    return ET.tostring(root, encoding="unicode")
