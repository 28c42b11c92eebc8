r"""Filter programs as people and tools write them down, into instructions.

Three spellings, told apart by their shape:

    30                       decimal, as `tcpdump -ddd` prints it: a count, then `code jt jf k`, one record a line;
    40 0 0 12                with commas in place of line breaks it is what bpf_asm and iptables -m bpf use
    { 0x28, 0, 0, 0xc },     C, as `tcpdump -dd` prints it
    280000000c000000         hexadecimal `struct sock_filter` records as they lie in a little-endian memory;
                             white space, commas, 0x and \x between the bytes do not matter
"""

import re
from collections.abc import Iterator

from beat_bridge.cbpf.check import obstacle
from beat_bridge.cbpf.opcodes import MAX_INSTRUCTIONS
from beat_bridge.errors import DoorwatchError
from beat_bridge.model.filters import Instruction, Program

MAX_CHARACTERS = 1 << 18
"""4,096 records in the longest of the spellings, and room for white space."""
_LIMITS = (0xFFFF, 0xFF, 0xFF, 0xFFFFFFFF)
_FIELDS = ("code", "jt", "jf", "k")
_C_RECORD = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")
_HEX_TOKEN = re.compile(r"(?:0[xX])?[0-9a-fA-F]+")


def decode(text: str, source: str = "the program") -> Program:
    """Read a program in any of the three spellings.

    Args:
        text: At most 262,144 characters.
        source: Names the text in errors (a file name).

    Raises:
        DoorwatchError: `SOURCE:LINE: what is wrong`, also for a program that the kernel would refuse to attach.
    """
    if len(text) > MAX_CHARACTERS:
        raise DoorwatchError(f"{source}: longer than {MAX_CHARACTERS} characters; this is not a filter program")
    if next(_records(text), None) is None:
        raise DoorwatchError(f"{source}: empty; expected `tcpdump -ddd` output or hexadecimal sock_filter records")
    if "{" in text:
        program = _decode_c(text, source)
    elif _is_decimal(text):
        program = _decode_decimal(text, source)
    else:
        program = _decode_hexadecimal(text, source)
    reason = obstacle(program)
    if reason:
        raise DoorwatchError(f"{source}: {reason}; the kernel would refuse this program")
    return program


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each record, where a record ends at a line break or a comma."""
    for number, line in enumerate(text.splitlines(), 1):
        for record in line.split(","):
            fields = record.split()
            if fields:
                yield number, fields


def _is_decimal(text: str) -> bool:
    """A lone decimal count first, then records of several fields; or nothing but records of four numbers."""
    records = [fields for _, fields in _records(text)]
    if not all(field.isascii() and field.isdigit() for field in records[0]):
        return False
    if len(records[0]) == 1:
        return len(records) > 1 and len(records[1]) > 1
    return all(len(fields) == len(_FIELDS) for fields in records)


def _decode_decimal(text: str, source: str) -> Program:
    records = list(_records(text))
    counted = len(records[0][1]) == 1
    if counted:
        declared = _number(records[0][1][0], 0xFFFF, "the count", f"{source}:{records[0][0]}")
        if declared != len(records) - 1:
            raise DoorwatchError(
                f"{source}:{records[0][0]}: announces {declared} instructions, and {len(records) - 1} follow"
            )
    return tuple(_instruction(fields, f"{source}:{line}") for line, fields in records[1 if counted else 0 :])


def _decode_c(text: str, source: str) -> Program:
    without_comments = re.sub(
        r"/\*.*?\*/|//[^\n]*", lambda match: re.sub(r"[^\n]", " ", match[0]), text, flags=re.DOTALL
    )
    if without_comments.count("{") == without_comments.count("}") and re.search(r"\{[^{}]*\{", without_comments):
        # an initialiser around the records
        opening, closing = without_comments.index("{"), without_comments.rindex("}")
        lines = without_comments.count("\n", 0, opening)
        without_comments = "\n" * lines + without_comments[opening + 1 : closing]
    program = []
    end = 0
    for match in _C_RECORD.finditer(without_comments):
        _refuse_leftover(without_comments, end, match.start(), source)
        place = f"{source}:{without_comments.count(chr(10), 0, match.start()) + 1}"
        program.append(_instruction([field.strip() for field in match[1].split(",") if field.strip()], place))
        end = match.end()
    _refuse_leftover(without_comments, end, len(without_comments), source)
    return tuple(program)


def _refuse_leftover(text: str, start: int, end: int, source: str) -> None:
    leftover = text[start:end].strip(" \t\r\n,;")
    if leftover:
        line = text.count("\n", 0, start + text[start:end].index(leftover)) + 1
        raise DoorwatchError(f"{source}:{line}: {leftover[:40]!r} is no {{ code, jt, jf, k }} record")


def _decode_hexadecimal(text: str, source: str) -> Program:
    data = bytearray()
    line = 1
    for line, written in enumerate(text.splitlines(), 1):
        for token in re.split(r"[\s,;:\"']+|\\x", written):
            if not token:
                continue
            if not _HEX_TOKEN.fullmatch(token):
                raise DoorwatchError(
                    f"{source}:{line}: {token[:40]!r} is neither a hexadecimal byte nor part of `tcpdump -ddd` output"
                )
            prefixed = token[:2] in ("0x", "0X")
            digits = token[2:] if prefixed else token
            if len(digits) % 2:
                if not (prefixed and len(digits) == 1):
                    raise DoorwatchError(f"{source}:{line}: {token[:40]!r} has an odd number of hexadecimal digits")
                digits = f"0{digits}"
            data += bytes.fromhex(digits)
    if len(data) % 8:
        raise DoorwatchError(
            f"{source}:{line}: {len(data)} bytes are no whole number of sock_filter records, 8 bytes each"
        )
    if len(data) > MAX_INSTRUCTIONS * 8:
        raise DoorwatchError(f"{source}:{line}: more than {MAX_INSTRUCTIONS} instructions")
    return from_memory(bytes(data))


def from_memory(data: bytes) -> Program:
    """`struct sock_filter` records as a little-endian kernel holds them; a torn last record is left out."""
    return tuple(
        Instruction(
            int.from_bytes(data[start : start + 2], "little"),
            data[start + 2],
            data[start + 3],
            int.from_bytes(data[start + 4 : start + 8], "little"),
        )
        for start in range(0, len(data) - 7, 8)
    )


def _instruction(fields: list[str], place: str) -> Instruction:
    if len(fields) != len(_FIELDS):
        raise DoorwatchError(f"{place}: a record has the four numbers code, jt, jf and k; here are {len(fields)}")
    code, jt, jf, k = (
        _number(field, limit, name, place) for field, limit, name in zip(fields, _LIMITS, _FIELDS, strict=True)
    )
    return Instruction(code, jt, jf, k)


def _number(field: str, limit: int, name: str, place: str) -> int:
    if not _NUMBER.fullmatch(field):
        raise DoorwatchError(f"{place}: {name} is {field[:40]!r}, not a number")
    value = int(field, 16 if field[:2] in ("0x", "0X") else 10)
    if value > limit:
        raise DoorwatchError(f"{place}: {name} is {field}, more than {limit:#x}")
    return value
