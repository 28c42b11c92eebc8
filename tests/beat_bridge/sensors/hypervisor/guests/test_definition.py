"""What a libvirt definition says about RAM, and the lines where it cannot be read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.errors import DoorwatchError
from beat_bridge.sensors.hypervisor.guests import definition
from beat_bridge.sensors.hypervisor.memory.layout import FOUR_GIB, flat, split
from tests.beat_bridge.sensors.hypervisor.refusals import answered_or_refused

GIB = 1 << 30
SHARED = "<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>"


BOMB = "<!DOCTYPE d [<!ENTITY a '{}'>{}]><d>&h;</d>".format(
    "x" * 1000,
    "".join(f"<!ENTITY {each} '{f'&{before};' * 100}'>" for before, each in pairwise("abcdefgh")),
)
"""Entities of entities, which would expand to 10**17 characters."""


def domain(
    inside: str = "", memory: str = "<memory unit='GiB'>1</memory>", machine: str = "pc-q35-7.2", arch: str = "x86_64"
) -> str:
    """A definition as libvirt writes it."""
    return f"<domain>{memory}<os><type arch='{arch}' machine='{machine}'>hvm</type></os>{inside}</domain>"


def read(text: str) -> definition.Backing:
    """What it says."""
    return definition.backing(definition.parse(text, "web"), "web")


@pytest.mark.parametrize(
    ("memory", "machine", "layout"),
    [
        ("<memory unit='GiB'>1</memory>", "pc-q35-7.2", flat(GIB)),
        ("<memory>1048576</memory>", "pc-q35-7.2", flat(GIB)),
        ("<memory unit='b'>1073741824</memory>", "pc-i440fx-9.1", flat(GIB)),
        ("<memory unit='MiB'>8192</memory>", "q35", split(8 * GIB, 2 * GIB)),
        ("<memory unit='GiB'>8</memory>", "pc-i440fx-9.1", split(8 * GIB, 3 * GIB)),
    ],
)
def test_ram_is_laid_out_as_the_machine_has_it(memory: str, machine: str, layout: object) -> None:
    """Sizes in every unit; above the PCI hole by the machine's rule."""
    assert read(domain(memory=memory, machine=machine)).layout == layout


@pytest.mark.parametrize(
    ("inside", "shared"),
    [
        ("", False),
        (SHARED, True),
        ("<memoryBacking><source type='memfd'/><access mode='private'/></memoryBacking>", False),
        ("<memoryBacking><source type='memfd'/></memoryBacking>", False),
        ("<cpu><numa><cell id='0' memory='1048576' memAccess='shared'/></numa></cpu>", True),
    ],
)
def test_only_shared_ram_is_in_a_file(inside: str, shared: bool) -> None:
    """A file that QEMU maps privately does not hold what the guest writes."""
    assert read(domain(inside)).shared is shared


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (domain(arch="aarch64"), "only x86_64"),
        (domain(machine="microvm"), "machine microvm is not known: use q35"),
        (domain(memory=""), "does not say how much"),
        (domain(memory="<memory unit='furlong'>1</memory>"), "does not say how much"),
        (domain(memory="<memory>-1</memory>"), "does not say how much"),
        (domain("<maxMemory slots='2'>9</maxMemory>"), "remove <maxMemory>"),
        (domain("<devices><memory model='dimm'/></devices>"), "remove <maxMemory>"),
        (domain("<cpu><numa><cell/><cell/></numa></cpu>"), "remove <numa>"),
        ("<domain>", "is no XML"),
        ("<domain/>", "only x86_64"),
        ("<domain>" + " " * (5 << 20) + "</domain>", "is no definition of a guest"),
        (BOMB, "is no XML"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, line: str) -> None:
    """Each arrangement that is not known has a line that names the guest and what to change; bombs are refused."""
    with pytest.raises(DoorwatchError, match=line) as caught:
        read(text)
    assert str(caught.value).startswith("web: ")


@given(st.text(alphabet="<>/='\"& abcdomemry190\n", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever libvirt hands over, it is one answer or one line."""
    with answered_or_refused("web"):
        read(text)


@given(size=st.integers(1, 1 << 44), machine=st.sampled_from(["pc-q35-9.0", "pc-i440fx-9.0"]))
def test_no_byte_of_ram_is_lost(size: int, machine: str) -> None:
    """However large, all of it is laid out, and nothing of it in the hole below 4 GiB."""
    layout = read(domain(memory=f"<memory unit='b'>{size}</memory>", machine=machine)).layout
    assert sum(extent.size for extent in layout) == size
    assert all(extent.end <= 0xE000_0000 or extent.start >= FOUR_GIB for extent in layout)


def test_each_card_gets_the_link_it_should_have() -> None:
    """Every interface is told once, whatever its link was; nothing else is."""
    cards = "<interface type='user'><link state='up'/><mac address='a'/></interface><interface type='user'/>"
    found = list(definition.with_link(definition.parse(domain(f"<devices>{cards}<disk/></devices>"), "web"), up=False))
    assert [card.count('<link state="down" />') for card in found] == [1, 1]
    assert "up" not in "".join(found).replace("type", "")
    assert "<mac" in found[0]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=40))
def test_a_snapshots_name_stays_a_name(name: str) -> None:
    """No name becomes markup."""
    root = definition.parse(definition.snapshot(name), "web")
    assert [element.tag for element in root] == ["name"]
    assert (root[0].text or "") == name
