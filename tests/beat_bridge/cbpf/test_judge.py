"""Backdoors are called malicious and ordinary filters are not, whatever constants either holds."""

from pathlib import Path

import pytest

from beat_bridge.cbpf import Link, decode, judge
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import Instruction
from tests.beat_bridge.cbpf.assembler import assemble
from tests.beat_bridge.cbpf.recorded import (
    BACKDOORS,
    CLASSIC,
    FOUR_BYTES,
    ORDINARY,
    SMALL,
    TWO_PROTOCOLS,
    Recorded,
    many_words,
)

PCAP = [
    line.split("\t") for line in (Path(__file__).parent / "pcap_filters.tsv").read_text(encoding="ascii").splitlines()
]


def named(recorded: Recorded) -> str:
    """The test's name."""
    return recorded.name


@pytest.mark.parametrize("recorded", BACKDOORS, ids=named)
def test_backdoors_are_malicious(recorded: Recorded) -> None:
    """Each shape of backdoor filter is malicious, and what it waits for is named."""
    judgement = judge(recorded.program, recorded.link)
    assert judgement.verdict is Verdict.MALICIOUS
    found = {(m.protocol, m.base, m.offset, m.width, m.value) for m in judgement.magic}
    assert recorded.magic == found or not recorded.magic
    assert judgement.complete
    assert judgement.summary.startswith("Wakes on ")


@pytest.mark.parametrize("recorded", ORDINARY, ids=named)
def test_ordinary_software_is_not_malicious(recorded: Recorded) -> None:
    """Filters of DHCP clients, LLDP, EAPOL, ping and the like get the verdict they deserve, followed to the end."""
    judgement = judge(recorded.program, recorded.link)
    assert judgement.verdict is recorded.verdict, judgement.reasons
    assert judgement.complete


@pytest.mark.parametrize(("verdict", "expression", "program"), PCAP, ids=[f"{line[0]}: {line[1]}" for line in PCAP])
def test_what_libpcap_compiles_is_judged_by_its_meaning(verdict: str, expression: str, program: str) -> None:
    """Programs that `tcpdump -ddd` made of expressions: headers are benign, words suspicious, secrets malicious."""
    judgement = judge(decode(program, expression))
    assert judgement.verdict == verdict, judgement.reasons
    assert judgement.complete


def test_the_reported_instruction_counts() -> None:
    """The recorded shapes have the lengths that reports give."""
    lengths = [
        len(p)
        for p in (SMALL, TWO_PROTOCOLS, CLASSIC, FOUR_BYTES, many_words(89, ports=False), many_words(99, ports=True))
    ]
    assert lengths == [13, 26, 30, 39, 205, 229]


def test_the_summary_can_be_read_aloud() -> None:
    """The classic filter in one sentence, with its family and every protocol."""
    judgement = judge(CLASSIC)
    assert judgement.summary == (
        "Wakes on UDP, ICMP or TCP packets whose payload begins with 0x7255 (UDP, ICMP) or 0x5293 (TCP); "
        "nothing else is let through."
    )
    assert judgement.family == "BPFDoor (classic, 2018-2022)"
    assert judgement.protocols == ("icmp", "tcp", "udp")
    assert any("3 protocols" in reason for reason in judgement.reasons)


def test_a_constant_alone_decides_nothing() -> None:
    """The words of BPFDoor as ports and addresses are benign; another word in the same payload is malicious."""
    as_port = (
        "ldh [12]|jeq #0x800, next, no|ldb [23]|jeq #17, next, no|ldxb 4*([14]&0xf)"
        "|ldh [x + {}]|jeq #{}, yes, no|yes: ret #1|no: ret #0"
    )
    assert judge(assemble(as_port.format(16, 0x7255))).verdict is Verdict.BENIGN
    other = judge(assemble(as_port.format(22, 0x1A2B)))
    assert (other.verdict, other.family) == (Verdict.MALICIOUS, "")


def test_what_the_kernel_refuses_is_unknown() -> None:
    """An invalid program is neither benign nor a crash."""
    judgement = judge((Instruction(0x15, 9, 9, 0), Instruction(0x06, 0, 0, 1)))
    assert judgement.verdict is Verdict.UNKNOWN
    assert not judgement.complete
    assert "instruction 0" in judgement.summary


def test_a_secret_behind_dhcp_ports_is_still_a_secret() -> None:
    """The port of a known protocol covers only what programs of that protocol filter for."""
    text = (
        "ldb [9]|jeq #17, next, no|ldxb 4*([0]&0xf)|ldh [x + 2]|jeq #68, next, no"
        "|ld [x + {}]|jeq #{}, yes, no|yes: ret #1|no: ret #0"
    )
    cookie = judge(assemble(text.format(8 + 236, 0x63825363)), Link.RAW)
    transaction = judge(assemble(text.format(8 + 4, 0xCAFE1234)), Link.RAW)
    secret = judge(assemble(text.format(8 + 240, 0xCAFE1234)), Link.RAW)
    assert (cookie.verdict, secret.verdict) == (Verdict.BENIGN, Verdict.MALICIOUS)
    assert transaction.verdict is Verdict.SUSPICIOUS


@pytest.mark.parametrize("link", list(Link))
def test_every_link_gets_an_answer(link: Link) -> None:
    """The same program is judged for each kind of socket without a crash, and with words."""
    for recorded in (*BACKDOORS, *ORDINARY):
        judgement = judge(recorded.program, link)
        assert judgement.summary
        assert judgement.reasons
