"""What people and ordinary programs look for in payloads: the first words of known protocols.

A filter that demands one of these sniffs for a protocol. That is worth a look, and it is no secret.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

Text = Mapping[int, tuple[int, int]]
"""Bits demanded of payload bytes: offset from the payload's first byte to (mask, value)."""


class Word(NamedTuple):
    """The first bytes of a protocol's messages; None stands for any byte."""

    protocol: str
    pattern: tuple[int | None, ...]
    textual: bool
    """More text may follow."""


def _text(protocol: str, *words: str) -> list[Word]:
    """Words in both cases, for those who fold it."""
    spelled = dict.fromkeys(spelling for word in words for spelling in (word, word.lower(), word.upper()))
    return [Word(protocol, tuple(word.encode("ascii")), textual=True) for word in spelled]


def _binary(protocol: str, *patterns: str) -> list[Word]:
    """Patterns in hexadecimal, `..` for any byte."""
    return [
        Word(
            protocol,
            tuple(
                None if pattern[i : i + 2] == ".." else int(pattern[i : i + 2], 16) for i in range(0, len(pattern), 2)
            ),
            textual=False,
        )
        for pattern in patterns
    ]


WORDS: tuple[Word, ...] = (
    *_text(
        "HTTP",
        *("GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PROPFIND "),
        *("HTTP/1.", "HTTP/2", "PRI * HTTP/2.0\r\n"),
    ),
    *_text("SSH", "SSH-2.0-", "SSH-1."),
    *_text("SIP", "INVITE ", "REGISTER ", "SIP/2.0 ", "BYE ", "ACK ", "CANCEL ", "SUBSCRIBE ", "NOTIFY ", "MESSAGE "),
    *_text("SIP", "INFO ", "REFER ", "PRACK ", "UPDATE ", "PUBLISH "),
    *_text("SSDP", "M-SEARCH * HTTP/1.1\r\n", "NOTIFY * HTTP/1.1\r\n"),
    *_text("RTSP", "RTSP/1.0", "DESCRIBE ", "SETUP ", "PLAY ", "ANNOUNCE ", "TEARDOWN "),
    *_text("SMTP", "EHLO ", "HELO ", "MAIL FROM:", "RCPT TO:", "STARTTLS", "220 ", "250 ", "250-", "354 ", "421 "),
    *_text("FTP", "USER ", "PASS ", "RETR ", "STOR ", "PASV", "EPSV", "PORT ", "QUIT", "230 ", "331 ", "530 "),
    *_text("POP3", "+OK", "-ERR"),
    *_text("IMAP", "* OK", "A001 ", "* BYE"),
    *_text("IRC", "NICK ", "JOIN ", "PRIVMSG ", "PING ", "PONG "),
    *_text("Redis", "*1\r\n", "*2\r\n", "*3\r\n", "+PONG"),
    *_text("memcached", "get ", "set ", "stats", "VALUE "),
    *_text("RFB", "RFB 003."),
    *_binary("BitTorrent", "13" + b"BitTorrent protocol".hex()),
    *_binary("a DHT node", b"d1:ad2:id20:".hex(), b"d1:rd2:id20:".hex()),
    *_binary(
        "TLS",
        *(
            f"{kind:02x}03{minor:02x}....{rest}"
            for kind, rest in ((0x16, "01"), (0x16, "02"), (0x14, "01"))
            for minor in range(5)
        ),
    ),
    *_binary("TLS", *(f"{kind:02x}03{minor:02x}" for kind in (0x15, 0x17, 0x18) for minor in range(5))),
    *_binary(
        "TLS",
        *(
            f"1603{minor:02x}....{kind}......03{inner:02x}"
            for minor in range(5)
            for kind in ("01", "02")
            for inner in range(5)
        ),
    ),
    *_binary(
        "DTLS", *(f"{kind:02x}fe{minor:02x}" for kind in (0x14, 0x15, 0x16, 0x17) for minor in (0xFF, 0xFD, 0xFC))
    ),
    *_binary("STUN", "........2112a442", "0001....2112a442", "0101....2112a442", "0003....2112a442"),
    *_binary(
        "QUIC", "..00000001", "..6b3343cf", "..00000000", *(f"..ff0000{draft:02x}" for draft in range(0x1B, 0x23))
    ),
    *_binary("WireGuard", "01000000", "02000000", "03000000", "04000000"),
    *_binary("Tailscale discovery", "TS\U0001f4ac".encode().hex()),
    *_binary(
        "SMB", "....0000ff534d42", "......00fe534d42", "........ff534d42", "........fe534d42", "ff534d42", "fe534d42"
    ),
    *_binary("RDP", "0300....02f0", "0300....0ee0", "0300....", "0300"),
    *_binary("OpenVPN", "38", "....38"),
    *_binary("a Source engine query", "ffffffff54", "ffffffff55", "ffffffff56", "ffffffff49"),
    *_binary("DHCP", ".." * 236 + "63825363"),
    *_binary("memcached", *(".." * 8 + word.hex() for word in (b"get ", b"set ", b"stats", b"gets "))),
    *_binary("Wake-on-LAN", "ffffffffffff"),
    *_binary("RTP", "80", "8000", "8008", "8060", "80e0"),
    *_binary("GTP", "30ff", "3001", "3002", "32ff"),
    *_binary("MQTT", "10....044d515454", "10..00044d515454", "10..00064d51497364"),
    *_binary("PostgreSQL", "........00030000", "0000000804d2162f"),
    *_binary("AMQP", "414d5150"),
    *_binary("Kafka", "........0012"),
    *_binary("Cassandra", "04000000", "84000000"),
    *_binary("MySQL", "........0a"),
    *_binary("an ELF file", "7f454c46"),
    *_binary("a Windows executable", "4d5a"),
)
OPTIONS: tuple[Word, ...] = tuple(
    _binary("TCP options", "020405b4", "0204....", "0101080a", "0101050a", "0402080a", "01030307", "0303", "080a")
)
"""What stands where the payload of a TCP segment is sought without asking how long its header is."""
LONGEST = max(len(word.pattern) for word in WORDS)
LEAST_EXPLAINED = 16
"""Bits of a word that a demand must hold before more text is taken for the rest of it."""


def _index() -> Mapping[tuple[int, int | None], tuple[Word, ...]]:
    """The words by each of their bytes: (index, byte)."""
    found: dict[tuple[int, int | None], list[Word]] = {}
    for word in WORDS:
        for place in enumerate(word.pattern):
            found.setdefault(place, []).append(word)
    return MappingProxyType({place: tuple(words) for place, words in found.items()})


_BY_BYTE = _index()
_SHIFTS = (0, 12, 24)
"""Where the payload may begin, counted from where it was taken to begin: TCP options, an unnamed transport."""


class Reading(NamedTuple):
    """How well a known word explains a demand."""

    protocol: str
    unexplained: int
    """Bits demanded besides the word, where they are not more text after a textual word."""


def read(text: Text, fixed: bool) -> Reading | None:
    """The known word that explains most of a demand, or None where none explains any.

    Args:
        text: What is demanded; not empty.
        fixed: It is certain where the payload begins.
    """
    if len(text) > 2 * LONGEST:
        return None
    best: Reading | None = None
    first = min(text)
    mask, value = text[first]
    for shift in _SHIFTS[:1] if fixed else _SHIFTS:
        index = first - shift
        if mask == 0xFF:
            candidates: Iterable[Word] = (*_BY_BYTE.get((index, value), ()), *_BY_BYTE.get((index, None), ()))
        else:
            candidates = WORDS
        if not fixed and not shift:
            candidates = (*candidates, *OPTIONS)
        for word in candidates:
            reading = _read_as(word, text, shift)
            if reading is not None and (best is None or reading.unexplained < best.unexplained):
                best = reading
    return best


def _read_as(word: Word, text: Text, shift: int) -> Reading | None:
    explained = unexplained = 0
    readable = True
    telling = False  # a few bytes of 0x00 or 0xff are the first of no protocol in particular
    matched = 0
    for offset, (mask, value) in text.items():
        index = offset - shift
        expected = word.pattern[index] if 0 <= index < len(word.pattern) else None
        if expected is not None:
            if (expected ^ value) & mask:
                return None
            explained += mask.bit_count()
            matched += 1
            telling = telling or expected not in (0x00, 0xFF)
        else:
            unexplained += mask.bit_count()
            readable = readable and index >= len(word.pattern) and _printable(mask, value)
    if explained < (LEAST_EXPLAINED if unexplained else 1) or not (telling or matched == len(word.pattern)):
        return None
    return Reading(word.protocol, 0 if word.textual and readable else unexplained)


def _printable(mask: int, value: int) -> bool:
    return mask & 0x5F == 0x5F and (0x20 <= value < 0x7F or value in (0x0D, 0x0A, 0x09))


def best_of(texts: Iterable[tuple[Text, bool]]) -> Reading | None:
    """The reading of several alternatives: as good as the worst of them; None where one is no known word."""
    worst: Reading | None = None
    for text, fixed in texts:
        reading = read(text, fixed)
        if reading is None:
            return None
        if worst is None or reading.unexplained > worst.unexplained:
            worst = reading
    return worst
