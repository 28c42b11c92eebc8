"""Filters of backdoors and of ordinary software, written down by what they do.

The backdoors follow the public reports on BPFDoor (instruction counts and constants as reported); the others follow the
programs' own sources, named beside each.
"""
# ruff: noqa: E501 - a program reads best as one line

from dataclasses import dataclass
from itertools import chain

from beat_bridge.cbpf import Link
from beat_bridge.model.base import Verdict
from beat_bridge.model.filters import Program
from tests.beat_bridge.cbpf.assembler import assemble


@dataclass(frozen=True)
class Recorded:
    """A filter and what should be said of it."""

    name: str
    program: Program
    link: Link
    verdict: Verdict
    magic: frozenset[tuple[str, str, int, int, int]] = frozenset()
    """(protocol, base, offset, width, value)."""


_IPV4 = "ldh [12]|jeq #0x800, next, no"
_VERSION_4 = "ldb [14]|and #0xf0|rsh #4|jeq #4, next, no"
_WHOLE = "ldh [20]|jset #0x1fff, no, next|ldxb 4*([14]&0xf)"
_TCP_PAYLOAD = "ldb [x + 26]|and #0xf0|rsh #2|add x|tax"
_END = "yes: ret #0xffff|no: ret #0"
CLASSIC_MAGIC = frozenset(
    {("udp", "header", 8, 2, 0x7255), ("icmp", "header", 8, 2, 0x7255), ("tcp", "payload", 0, 2, 0x5293)}
)

# 30 instructions: the filter of the samples of 2018 to 2022
CLASSIC = assemble(f"""
    {_IPV4}
    ldb [23]
    jeq #17, next, icmp
    {_WHOLE}
    ldh [x + 22]
    jeq #0x7255, yes, no
icmp: jeq #1, next, tcp
    {_WHOLE}
    ldh [x + 22]
    jeq #0x7255, next, no
    ldb [x + 14]
    jeq #8, yes, no
tcp: jeq #6, next, no
    {_WHOLE}
    {_TCP_PAYLOAD}
    ldh [x + 14]
    jeq #0x5293, yes, no
    {_END}
""")

# 13: one word on UDP, with the port of a service as a cover
SMALL = assemble(f"""
    {_IPV4}
    ldb [23]|jeq #17, next, no
    {_WHOLE}
    ldh [x + 16]|jeq #53, next, no
    ldh [x + 22]|jeq #0x1155, yes, no
    {_END}
""")

# 26: UDP and TCP
TWO_PROTOCOLS = assemble(f"""
    {_IPV4}
    ld #len
    ldb [23]|jeq #17, next, tcp
    {_WHOLE}
    ld [x + 22]|jeq #0x39393939, yes, no
tcp: jeq #6, next, no
    {_WHOLE}
    {_TCP_PAYLOAD}
    ld [x + 14]
    jeq #0x39393939, yes, next
    ldh [x + 14]
    jeq #0x8d6c, yes, no
    ja no
    {_END}
""")

# 39: four bytes of payload, each compared by itself, on three protocols; returns 0xFFFF
FOUR_BYTES = assemble(f"""
    {_IPV4}
    {_VERSION_4}
    ldb [23]|jeq #17, whole, next
    jeq #1, whole, next
    jeq #6, next, no
    {_WHOLE}
    {_TCP_PAYLOAD}
    ldb [x + 14]|jeq #0xde, next, no
    ldb [x + 15]|jeq #0xad, next, no
    ldb [x + 16]|jeq #0x10, next, no
    ldb [x + 17]|jeq #0x51, yes, no
whole: {_WHOLE}
    ldb [x + 22]|jeq #0xde, next, no
    ldb [x + 23]|jeq #0xad, next, no
    ldb [x + 24]|jeq #0x10, next, no
    ldb [x + 25]|jeq #0x51, yes, no
    {_END}
""")


def many_words(count: int, ports: bool) -> Program:
    """The long ones (205 and 229 instructions): a list of accepted words; some let ports 443 and 22 pass, 0x40000."""
    words = [0x3000 + 37 * index for index in range(count)]
    tests = "|".join(f"jeq #{word}, yes, next" for word in words)
    passing = (
        "ldxb 4*([14]&0xf)|ldh [x + 16]|jeq #443, pass, next|jeq #22, pass, next|" if ports else "ldxb 4*([14]&0xf)|"
    )
    return assemble(
        f"{_IPV4}|{_VERSION_4}|{'ld #len|' if ports else ''}ldb [23]|jeq #6, next, udp|ldh [20]|jset #0x1fff, no, next|{passing}{_TCP_PAYLOAD}|ldh [x + 14]|{tests}"
        f"|ja no|udp: jeq #17, next, no|{_WHOLE}|ldh [x + 22]|{tests}|ja no|yes: ret #0xffff|pass: ret #0x40000|no: ret #0"
    )


BACKDOORS = (
    Recorded("classic", CLASSIC, Link.ETHERNET, Verdict.MALICIOUS, CLASSIC_MAGIC),
    Recorded("small", SMALL, Link.ETHERNET, Verdict.MALICIOUS, frozenset({("udp", "header", 8, 2, 0x1155)})),
    Recorded(
        "two protocols",
        TWO_PROTOCOLS,
        Link.ETHERNET,
        Verdict.MALICIOUS,
        frozenset(
            {
                ("udp", "header", 8, 4, 0x39393939),
                ("tcp", "payload", 0, 4, 0x39393939),
                ("tcp", "payload", 0, 2, 0x8D6C),
            }
        ),
    ),
    Recorded(
        "four bytes",
        FOUR_BYTES,
        Link.ETHERNET,
        Verdict.MALICIOUS,
        frozenset(
            {
                ("udp", "header", 8, 4, 0xDEAD1051),
                ("icmp", "header", 8, 4, 0xDEAD1051),
                ("tcp", "payload", 0, 4, 0xDEAD1051),
            }
        ),
    ),
    Recorded("205 instructions", many_words(89, ports=False), Link.ETHERNET, Verdict.MALICIOUS),
    Recorded("229 instructions", many_words(99, ports=True), Link.ETHERNET, Verdict.MALICIOUS),
    Recorded(
        "on a raw socket",
        assemble(f"ldb [9]|jeq #1, next, no|ldxb 4*([0]&0xf)|ldh [x + 8]|jeq #0x7255, yes, no|{_END}"),
        Link.RAW,
        Verdict.MALICIOUS,
        frozenset({("icmp", "header", 8, 2, 0x7255)}),
    ),
    Recorded(
        "on a UDP socket",
        assemble(f"ld [8]|jeq #0xcafe1234, yes, no|{_END}"),
        Link.UDP,
        Verdict.MALICIOUS,
        frozenset({("udp", "header", 8, 4, 0xCAFE1234)}),
    ),
    Recorded(
        "the header length with the version left in it",
        assemble(
            f"{_IPV4}|ldb [23]|jeq #17, next, no|ldb [14]|lsh #2|tax|ldh [x + {(22 - 0x100) & 0xFFFFFFFF:#x}]|jeq #0x7255, yes, no|{_END}"
        ),
        Link.ETHERNET,
        Verdict.MALICIOUS,
        frozenset({("udp", "header", 8, 2, 0x7255)}),
    ),
    Recorded(
        "where the kernel says the payload begins",
        assemble(f"ld #poff|tax|ld [x + 0]|jeq #0xcafe1234, yes, no|{_END}"),
        Link.ETHERNET,
        Verdict.MALICIOUS,
        frozenset({("any", "payload", 0, 4, 0xCAFE1234)}),
    ),
    Recorded(
        "the word as the return value",
        assemble(
            f"{_IPV4}|ldb [23]|jeq #17, next, no|{_WHOLE}|ldh [x + 22]|xor #0x7255|tax|ld #1|jgt x, next, no|ret a|no: ret #0"
        ),
        Link.ETHERNET,
        Verdict.MALICIOUS,
        frozenset({("udp", "header", 8, 2, 0x7255)}),
    ),
)

_DHCP_SYSTEMD = "|".join(
    chain(
        ("ld #len", "jge #268, next, no", "ldb [9]", "jeq #17, next, no", "ldh [6]", "jset #0x3fff, no, next"),
        ("ldh [22]", "jeq #68, next, no", "ldb [28]", "jeq #2, next, no", "ldb [29]", "jeq #1, next, no"),
        ("ldb [30]", "jeq #6, next, no", "ld [32]", "jeq #0x1badcafe, next, no"),
        (
            "ldx #0x02001122",
            "ld [56]",
            "xor x",
            "jeq #0, next, no",
            "ldx #0x3344",
            "ldh [60]",
            "xor x",
            "jeq #0, next, no",
        ),
        ("ld [264]", "jeq #0x63825363, yes, no"),
    )
)
_ETHERNET_ADDRESS = "ld [2]|jeq #0x00112233, next, no|ldh [0]|jeq #0x0200, yes, no"

ORDINARY = (
    Recorded(
        "ISC dhclient (common/bpf.c)",
        assemble(f"{_IPV4}|ldb [23]|jeq #17, next, no|{_WHOLE}|ldh [x + 16]|jeq #68, yes, no|{_END}"),
        Link.ETHERNET,
        Verdict.BENIGN,
    ),
    Recorded(
        "dhcpcd (src/bpf.c, BOOTP)",
        assemble(
            f"{_IPV4}|ldb [23]|jeq #17, next, no|ldh [20]|jset #0x1fff, no, next|ldb [14]|and #0xf|mul #4|tax|st M[0]"
            f"|ld [x + 14]|jeq #{(67 << 16) + 68}, next, no|ldb [x + 22]|jeq #2, next, no|ld [x + 258]|jeq #0x63825363, yes, no|{_END}"
        ),
        Link.ETHERNET,
        Verdict.BENIGN,
    ),
    Recorded(
        "dhcpcd (src/bpf.c, ARP)",
        assemble(
            f"ldh [12]|jeq #0x806, next, no|ldh [14]|jeq #1, next, no|ldh [16]|jeq #0x800, next, no|ldh [20]|jeq #1, reply, next"
            f"|jeq #2, next, no|reply: ld [28]|jeq #0xc0000201, yes, next|ld [38]|jeq #0xc0000201, yes, no|{_END}"
        ),
        Link.ETHERNET,
        Verdict.BENIGN,
    ),
    Recorded("systemd (dhcp-network.c)", assemble(f"{_DHCP_SYSTEMD}|{_END}"), Link.RAW, Verdict.BENIGN),
    Recorded(
        "NetworkManager's n-dhcp4 (n-dhcp4-socket.c)",
        assemble(
            "ldb [9]|jeq #17, next, no|ldh [6]|jset #0x3fff, no, next|ldxb 4*([0]&0xf)|ldh [x + 2]|jeq #68, next, no"
            f"|ldb [x + 8]|jeq #2, next, no|ld [x + 244]|jeq #0x63825363, yes, no|{_END}"
        ),
        Link.RAW,
        Verdict.BENIGN,
    ),
    Recorded(
        "busybox udhcpc (dhcpc.c)",
        assemble(
            f"ldb [9]|jeq #17, next, no|ldh [6]|jset #0x1fff, no, next|ldxb 4*([0]&0xf)|ldh [x + 2]|jeq #68, yes, no|{_END}"
        ),
        Link.RAW,
        Verdict.BENIGN,
    ),
    Recorded(
        "systemd-networkd, LLDP (lldp-network.c)",
        assemble(
            f"ldh [12]|jeq #0x88cc, next, no|ld [0]|jeq #0x0180c200, next, no|ldh [4]|jeq #0, yes, next|jeq #3, yes, next|jeq #0xe, yes, no|{_END}"
        ),
        Link.ETHERNET,
        Verdict.BENIGN,
    ),
    Recorded(
        "wpa_supplicant, EAPOL (l2_packet_linux.c)",
        assemble(f"ldh [12]|jeq #0x888e, next, no|{_ETHERNET_ADDRESS}|{_END}"),
        Link.ETHERNET,
        Verdict.BENIGN,
    ),
    Recorded(
        "hostapd, DHCP snooping (l2_packet_linux.c)",
        assemble(
            f"{_IPV4}|ldb [23]|jeq #17, next, no|{_WHOLE}|ldh [x + 14]|jeq #67, next, no|ldh [x + 16]|jeq #68, yes, no|{_END}"
        ),
        Link.ETHERNET,
        Verdict.BENIGN,
    ),
    Recorded(
        "iputils ping (ping.c)",
        assemble(
            "ldxb 4*([0]&0xf)|ldh [x + 4]|jeq #0xbeef, next, other|ret #0xffffffff|other: ldb [x + 0]|jeq #0, no, yes|yes: ret #0xffffffff|no: ret #0"
        ),
        Link.RAW,
        Verdict.BENIGN,
    ),
    Recorded(
        "iputils ping, IPv6 (ping6_common.c)",
        assemble("ldh [4]|jeq #0xbeef, yes, next|ldb [0]|jeq #129, no, yes|yes: ret #0xffffffff|no: ret #0"),
        Link.ICMP6,
        Verdict.BENIGN,
    ),
    Recorded(
        "systemd-udevd's monitor (device-monitor.c)",
        assemble(f"ld [8]|jeq #0xfeedcafe, next, no|ld [24]|jeq #0x1a2b3c4d, yes, no|{_END}"),
        Link.NETLINK,
        Verdict.BENIGN,
    ),
    Recorded(
        "keepalived, VRRP",
        assemble(f"ldb [9]|jeq #112, next, no|ldb [20]|and #0xf|jeq #1, yes, no|{_END}"),
        Link.RAW,
        Verdict.BENIGN,
    ),
    Recorded("a socket that drops all until it is bound", assemble("ret #0"), Link.ETHERNET, Verdict.BENIGN),
    Recorded("everything", assemble("ret #0xffff"), Link.ETHERNET, Verdict.BENIGN),
    Recorded(
        "only what is sent to this host",
        assemble("ld #type|jeq #0, yes, no|yes: ret #1|no: ret #0"),
        Link.ETHERNET,
        Verdict.BENIGN,
    ),
    Recorded(
        "one packet in sixteen",
        assemble("ld #rand|and #15|jeq #0, yes, no|yes: ret #1|no: ret #0"),
        Link.ETHERNET,
        Verdict.BENIGN,
    ),
    Recorded("SO_REUSEPORT steering by CPU", assemble("ld #cpu|add #1|ret a"), Link.UDP, Verdict.BENIGN),
    Recorded(
        "a VLAN kept aside by the kernel",
        assemble("ld #vlan_avail|jeq #1, next, no|ld #vlan_tci|and #0xfff|jeq #0x255, yes, no|yes: ret #1|no: ret #0"),
        Link.ETHERNET,
        Verdict.BENIGN,
    ),
    Recorded(
        "tailscaled's discovery (magicsock_linux.go)",
        assemble(
            f"ldb [9]|jeq #17, next, no|ldh [6]|jset #0x1fff, no, next|ldxb 4*([0]&0xf)|ld [x + 8]|jeq #0x5453f09f, next, no"
            f"|ldh [x + 12]|jeq #0x92ac, yes, no|{_END}"
        ),
        Link.RAW,
        Verdict.SUSPICIOUS,
    ),
)
