"""A recorded host full of network software."""

from pathlib import Path

import pytest

from beat_bridge.detectors import detect
from beat_bridge.detectors.scene import Scene
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import FilterKind
from beat_bridge.model.inventory import Inventory, decode
from tests import inventories

RECORDED = Path(inventories.__file__).parent / "recorded" / "network_software.json"
"""Debian 12: eleven captures of tcpdump, four DHCP clients, LLDP, 802.1X, VRRP, router advertisements, ping, sshd,
PostgreSQL and others, as `doorwatch scan --save` recorded them while they ran between two ends of a veth."""


@pytest.fixture(scope="module", name="recorded")
def recorded_inventory() -> Inventory:
    """The recording."""
    return decode(RECORDED.read_bytes(), RECORDED.name)


def test_ordinary_network_software_is_quiet(recorded: Inventory) -> None:
    """Of real programs with real filters none is found."""
    assert len([s for s in recorded.sockets if s.filter.kind is FilterKind.CLASSIC]) >= 20
    assert detect(recorded) == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dhclient", "UDP, destination port = 68"),
        ("dhcpcd", "UDP, destination port = 68"),
        ("keepalived", "Accepts nothing"),
        ("lldpd", "LLDP"),
    ],
)
def test_what_a_filter_is_for_is_told(recorded: Inventory, name: str, words: str) -> None:
    """The judgement of a real program's filter names what the program lives by."""
    scene = Scene(recorded)
    judged = [
        judgement
        for socket in recorded.sockets
        if name in {process.name for process in scene.holders(socket)}
        if (judgement := scene.judgement(socket)) is not None
    ]
    assert {judgement.verdict for judgement in judged} == {Verdict.BENIGN}
    assert any(words in judgement.summary for judgement in judged)
