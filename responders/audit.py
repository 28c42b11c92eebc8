"""The audit file: one JSON object a line, each sealed with the hash of all before it.

    {"at": ..., "hash": H(n), "previous": H(n-1), "sequence": n, "step": {...}}

H(n) is SHA-256 over the line's canonical JSON (sorted keys, no spaces) without `hash`; H(0)'s previous is 64 zeros. An
edit, a deletion or a swap breaks the chain at that line. A file that was cut at its end still has a sound chain: the
anchor file beside it tells how long it should be, and every response document carries the hash of its own line
(`ResponseStep.audit_hash`), so that a copy of the chain's head lies wherever those documents are sent. Whoever can
rewrite both files can make a new chain, but not one that holds the hashes already sent.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory, write_atomically
from beat_bridge.model.base import Value
from beat_bridge.model.responses import ResponseStep
from responders.outcomes import RecordsError

GENESIS = "0" * 64
MAXIMUM_LINE = 1 << 20
"""Bytes; a step is far smaller."""
_ENCODER = msgspec.json.Encoder(order="sorted")


class Anchor(Value, frozen=True, kw_only=True):
    """How long the audit file is known to be, and its last hash."""

    count: int = 0
    hash: str = GENESIS
    size: int = 0
    """Bytes."""


class AuditLine(Value, frozen=True, kw_only=True):
    """One line of the audit file."""

    sequence: int
    previous: str
    step: ResponseStep
    hash: str = ""
    note: str = ""
    """What happened to the file itself (a torn line that was set aside)."""


class AuditReport(Value, frozen=True, kw_only=True):
    """What verifying found."""

    lines: int
    """Sound lines from the beginning."""
    head: str
    """Hash of the last of them."""
    problem: str = ""
    """The first thing that is wrong, with its line; empty where nothing is."""

    @property
    def sound(self) -> bool:
        """Nothing is wrong."""
        return not self.problem


def anchor_file(path: Path) -> Path:
    """Where an audit file's anchor lies."""
    return path.with_name(path.name + ".anchor")


def append(path: Path, step: ResponseStep) -> str:
    """Seal a step into the audit file; it is on disk when this returns.

    Several processes may append at once. A line that a crash tore is moved to a file of its own, and the next line
    says so.

    Returns:
        The new line's hash.

    Raises:
        DoorwatchError: The file is shorter than its anchor says, or does not go on where the anchor ends.
        OSError: As the file system says; nothing is then appended.
    """
    ensure_private_directory(path.parent)
    with _locked(path) as stream:
        anchor, note = _settle(path, stream)
        line = AuditLine(sequence=anchor.count, previous=anchor.hash, step=step, note=note)
        digest = _digest(msgspec.to_builtins(line))
        data = _ENCODER.encode(msgspec.structs.replace(line, hash=digest)) + b"\n"
        stream.seek(anchor.size)
        try:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(anchor.size)
            raise
        _write_anchor(path, Anchor(count=anchor.count + 1, hash=digest, size=anchor.size + len(data)))
    return digest


def seal(path: Path, step: ResponseStep) -> str:
    """`append`, for those who must not act unrecorded.

    Raises:
        RecordsError: It could not be appended.
    """
    try:
        return append(path, step)
    except OSError as error:
        raise RecordsError(f"{path}: cannot be written: {error.strerror}") from error
    except DoorwatchError as error:
        raise RecordsError(str(error)) from error


def verify(path: Path, head: str = "") -> AuditReport:
    """Check every line, and the length against the anchor.

    Args:
        path: The audit file; its anchor lies beside it.
        head: A hash from a response document, which the chain must hold.

    Raises:
        DoorwatchError: The file cannot be read.
    """
    lines, last, problem, wanted = 0, GENESIS, "", head
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            anchor = _read_anchor(path)
            for found in _checked(stream):
                if isinstance(found, str):
                    problem = f"{path}:{lines + 1}: {found}"
                    break
                lines, last = lines + 1, found.hash
                wanted = "" if last == wanted else wanted
                if lines == anchor.count and last != anchor.hash:
                    problem = f"{path}:{lines}: the chain does not meet its anchor: it was rewritten up to here"
                    break
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read: {error.strerror}") from error
    if not problem and lines < anchor.count:
        problem = f"{path}:{lines + 1}: the file was cut: {anchor.count - lines} of {anchor.count} lines are missing"
    # a crash between the two writes leaves the anchor one line behind, never more
    if not problem and lines > anchor.count + 1:
        problem = (
            f"{path}:{anchor.count + 1}: the anchor knows {anchor.count} of {lines} lines: it was lost or replaced"
        )
    if not problem and wanted:
        problem = f"{path}: no line has the hash {wanted}: the chain was rewritten since that document was sent"
    return AuditReport(lines=lines, head=last, problem=problem)


def read(path: Path) -> Iterator[AuditLine]:
    """The sound lines from the beginning; ends at the first that is not."""
    with path.open("rb") as stream:
        for found in _checked(stream):
            if isinstance(found, str):
                return
            yield found


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def _settle(path: Path, stream: BinaryIO) -> tuple[Anchor, str]:
    """Bring file and anchor together after a crash between the writes of the two."""
    anchor = _read_anchor(path)
    size = os.fstat(stream.fileno()).st_size
    if size < anchor.size:
        raise DoorwatchError(
            f"{path}: shorter than its anchor says ({size} of {anchor.size} bytes): it was cut. "
            f"Keep both files as evidence, and move them away to begin a new chain"
        )
    note = ""
    if size > anchor.size:
        stream.seek(anchor.size)
        rest = stream.read(MAXIMUM_LINE + 1)
        line = _decode(rest) if rest.endswith(b"\n") and rest.count(b"\n") == 1 else None
        if isinstance(line, AuditLine) and _fault(line, anchor.count, anchor.hash) == "":
            anchor = Anchor(count=anchor.count + 1, hash=line.hash, size=size)
        elif b"\n" not in rest:
            aside = path.with_name(f"{path.name}.torn-{anchor.count}")
            write_atomically(aside, rest)
            stream.truncate(anchor.size)
            note = f"a line torn by a crash was set aside in {aside.name} ({len(rest)} bytes)"
        else:
            raise DoorwatchError(
                f"{path}: holds lines that do not go on where its anchor ends: verify it with "
                f"doorwatch respond audit {path}, and move both files away to begin a new chain"
            )
    return anchor, note


def _checked(stream: BinaryIO) -> Iterator[AuditLine | str]:
    """Each sound line, then what is wrong with the next one, if anything."""
    sequence, previous = 0, GENESIS
    while data := stream.readline(MAXIMUM_LINE):
        if not data.endswith(b"\n"):
            yield "a torn line: the writer was interrupted here"
            return
        line = _decode(data)
        fault = line if isinstance(line, str) else _fault(line, sequence, previous)
        if fault or isinstance(line, str):
            yield fault
            return
        yield line
        sequence, previous = sequence + 1, line.hash


def _decode(data: bytes) -> AuditLine | str:
    try:
        line = msgspec.json.decode(data, type=AuditLine)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "not a line of an audit file"
    # two spellings of one value must not both pass
    return line if _ENCODER.encode(line) + b"\n" == data else "not spelled as it was written"


def _fault(line: AuditLine, sequence: int, previous: str) -> str:
    if line.hash != _digest(msgspec.to_builtins(msgspec.structs.replace(line, hash=""))):
        return "the line does not fit its own hash: it was changed"
    if line.sequence != sequence:
        return f"sequence {line.sequence} where {sequence} belongs: lines were removed, added or moved"
    if line.previous != previous:
        return "the line does not follow the one before it"
    return ""


def _digest(line: dict[str, Any]) -> str:
    return sha256(_ENCODER.encode({key: value for key, value in line.items() if key != "hash"})).hexdigest()


def _read_anchor(path: Path) -> Anchor:
    try:
        return msgspec.json.decode(anchor_file(path).read_bytes(), type=Anchor)
    except FileNotFoundError:
        return Anchor()
    except msgspec.DecodeError as error:
        raise DoorwatchError(f"{anchor_file(path)}: not an anchor: {error}") from error


def _write_anchor(path: Path, anchor: Anchor) -> None:
    write_atomically(anchor_file(path), msgspec.json.encode(anchor))
