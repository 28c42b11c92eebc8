"""Documents on disk until Elasticsearch has them.

A directory with one owner at a time:

    lock        held (flock) by the process that has the spool open; its pid is inside
    cursor      what became of everything so far
    segments/   the documents, in order
    letters/    those that Elasticsearch refused, each with the reason
    torn/       bytes found damaged, set aside
    replay      what a replay of letters is about to do, while it does

`appended == delivered + dead_letters + damaged_records + pending_documents` holds in every status, across every crash.
"""

import os
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory
from beat_bridge.model.bridge import SpoolStatus
from beat_bridge.model.documents import SerialisedDocument
from beat_bridge.shipping import records
from beat_bridge.shipping.cursor import Cursor
from beat_bridge.shipping.letters import DeadLetters, Letter
from beat_bridge.shipping.lock import Lock
from beat_bridge.shipping.reader import Batch, Reader
from beat_bridge.shipping.replay import Intent, IntentFile
from beat_bridge.shipping.row import Row

DEFAULT_BUDGET_BYTES = 1 << 30
SEGMENT_BYTES = 8 << 20


class SpoolFullError(DoorwatchError):
    """Documents were turned away, all or none of an append: the budget or the disk is full. The caller keeps them."""


class Spool:
    """The spool, for one process; its methods may be called from any thread."""

    def __init__(
        self, directory: Path, *, budget_bytes: int = DEFAULT_BUDGET_BYTES, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """Open a spool, or make one, and finish what a crash interrupted.

        Args:
            directory: Private to this user; made where it is missing.
            budget_bytes: What segments, letters and torn bytes may take on disk together. It can be exceeded by one
                file of letters that is being replayed, and by letters for documents that were already spooled.
            segment_bytes: When to begin a new file. Twice as much stays free on the disk, for dead letters.

        Raises:
            DoorwatchError: Another process has it open, or it cannot be used; nothing was changed.
        """
        self.directory = directory
        self.budget_bytes = budget_bytes
        # a segment goes when its last document is settled; until then its letters need room beside it
        self._reserve_bytes = 2 * segment_bytes
        ensure_private_directory(directory)
        self._lock = Lock(directory / "lock")
        try:
            for name in ("segments", "letters", "torn"):
                ensure_private_directory(directory / name)
            self._torn = directory / "torn"
            self.letters = DeadLetters(directory / "letters")
            self._cursor = Cursor(directory / "cursor")
            self._mutex = threading.Lock()
            self._arrived = threading.Condition(self._mutex)
            counts = self._cursor.counts
            self._row = Row(directory / "segments", segment_bytes, counts.ordinal)
            self._next = max(counts.settled, counts.appended, self._row.end())
            self._kept_bytes = self._measure_kept()
            self._intent = IntentFile(directory / "replay")
            self._lettered = -1
            self._settle_replay()
            self.rewind()
        except OSError as error:
            self._lock.close()
            raise DoorwatchError(f"{directory}: cannot open the spool: {error.strerror}") from error
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory. Nothing has to be saved: everything reported is on disk already."""
        with self._mutex:
            self._row.close()
            self.letters.close()
            self._cursor.close()
            self._lock.close()

    def append(self, documents: Iterable[SerialisedDocument]) -> None:
        """Put documents on disk, in order; they are durable when this returns.

        Raises:
            SpoolFullError: None of them was taken, and they are counted as refused.
            DoorwatchError: One of them is not a document (more than a line, too large); none was taken.
        """
        with self._mutex:
            encoded = [records.encode(document, self._next + place) for place, document in enumerate(documents)]
            if not encoded:
                return
            size = sum(map(len, encoded))
            used = self._used_bytes()
            if used + size > self.budget_bytes:
                raise self._refuse(
                    len(encoded),
                    f"{used} of the budget's {self.budget_bytes} bytes are in use: wait until Elasticsearch takes "
                    "documents again, replay dead letters, or give it a larger budget",
                )
            try:
                free = _free_bytes(self.directory)
                if free < size + self._reserve_bytes:
                    raise self._refuse(
                        len(encoded),
                        f"{free} bytes are free on the disk, of which {self._reserve_bytes} are kept for dead letters, "
                        "so that a full disk can empty itself: free some space",
                    )
                self._write(encoded)
            except OSError as error:
                raise self._refuse(
                    len(encoded), f"the disk does not take them ({error.strerror}): free some space"
                ) from error

    def next_batch(self, max_documents: int, max_bytes: int) -> Batch | None:
        """The documents behind those that the last call gave; None where there are no more as yet.

        Raises:
            DoorwatchError: The disk cannot be read.
        """
        try:
            return self._reader.take(max_documents, max_bytes)
        except OSError as error:
            raise DoorwatchError(f"{self.directory}: cannot read the spool: {error.strerror}") from error

    def wait(self, seconds: float) -> None:
        """Return when documents arrive, or when the time is over."""
        with self._arrived:
            self._arrived.wait(seconds)

    def commit(self, batch: Batch, dead: Sequence[Letter] = ()) -> None:
        """Settle a batch: its documents are delivered, except those that these letters are about.

        Batches are committed in the order they were given. The letters are on disk before the batch is settled.

        Raises:
            OSError: The disk does not take the letters or the counts. The batch can be committed again; the letters
                are then not written twice.
        """
        with self._mutex:
            counts = self._cursor.counts
            if dead and self._lettered != batch.end:
                self._kept_bytes += self.letters.append(dead)
                self._lettered = batch.end
            self._cursor.write(
                msgspec.structs.replace(
                    counts,
                    settled=batch.end,
                    delivered=counts.delivered + len(batch.records) - len(dead),
                    dead_letters=counts.dead_letters + len(dead) + batch.dead,
                    damaged=counts.damaged + batch.damaged,
                    torn=counts.torn + batch.torn,
                    position=batch.position,
                    appended=self._next,
                    ordinal=self._row.ordinal,
                )
            )
            self._retire()

    def rewind(self) -> None:
        """Make `next_batch` begin again at the first document that is not settled."""
        counts = self._cursor.counts
        self._reader = Reader(
            self._row.segments, counts.settled, counts.position, self.letters.sequences(at_least=counts.settled)
        )

    def replay(self, ids: Collection[str] | None = None) -> int:
        """Put dead letters back among the documents to be sent.

        A letter is removed when its document is on disk again, and a crash in between is put right on opening: a
        document is never in both places, and never in neither.

        Args:
            ids: `_id`s of the documents; None for all.

        Returns:
            How many were put back.

        Raises:
            DoorwatchError: The disk does not take them; those that were not put back are still letters.
        """
        replayed = 0
        with self._mutex:
            for path in self.letters.files():
                chosen = [
                    letter
                    for letter in self.letters.read_file(path)
                    if isinstance(letter, Letter) and (ids is None or letter.id in ids)
                ]
                if chosen:
                    self._replay_from(path, chosen)
                    replayed += len(chosen)
        return replayed

    def status(self) -> SpoolStatus:
        """Counts since the directory was made, and what lies in it now."""
        with self._mutex:
            counts = self._cursor.counts
            return SpoolStatus(
                appended=self._next,
                delivered=counts.delivered,
                dead_letters=counts.dead_letters,
                refused=counts.refused,
                pending_documents=self._next - counts.settled,
                pending_bytes=self._row.size_behind(counts.position),
                budget_bytes=self.budget_bytes,
                torn_records=counts.torn,
                damaged_records=counts.damaged,
                replayed=counts.replayed,
            )

    def _used_bytes(self) -> int:
        return self._kept_bytes + self._row.size()

    def _write(self, encoded: Sequence[bytes]) -> None:
        self._row.append(encoded, self._next)
        self._next += len(encoded)
        self._arrived.notify_all()

    def _refuse(self, documents: int, reason: str) -> SpoolFullError:
        """Count documents as refused; the error to raise."""
        counts = self._cursor.counts
        counts = msgspec.structs.replace(counts, refused=counts.refused + documents)
        try:
            self._cursor.write(counts)
        except OSError:
            self._cursor.remember(counts)
        return SpoolFullError(f"{self.directory}: the spool is full, {documents} documents were not taken: {reason}")

    def _retire(self) -> None:
        """Remove the segments that reading has left behind and whose documents are all settled."""
        damage = self._reader.damage
        for ordinal in self._row.retire(self._cursor.counts.position.ordinal, damage, self._torn):
            self._kept_bytes += sum(stretch.end - stretch.start for stretch in damage.pop(ordinal, ()))

    def _replay_from(self, path: Path, letters: Sequence[Letter]) -> None:
        """Move some letters of one file to the segments."""
        intent = Intent(
            file=path.name,
            letters=tuple(letter.sequence for letter in letters),
            first=self._next,
            replayed=self._cursor.counts.replayed,
        )
        try:
            self._intent.write(intent)
            self._write([records.encode(letter.document(), self._next + place) for place, letter in enumerate(letters)])
        except OSError as error:
            self._intent.remove()
            raise DoorwatchError(
                f"{self.directory}: no room to put {len(letters)} letters back ({error.strerror}): "
                "they are still dead letters; free some space"
            ) from error
        try:
            self._settle_replay()
        except OSError as error:
            raise DoorwatchError(
                f"{self.directory}: letters were put back but cannot be removed from {path.name} ({error.strerror}): "
                "the next `doorwatch letters` or `doorwatch run` does that"
            ) from error

    def _settle_replay(self) -> None:
        """Remove the letters whose documents a replay has put on disk again; a crash may have come at any point."""
        intent = self._intent.read()
        if intent is None:
            return
        moved = intent.moved(self._row.sequences())
        self.letters.remove(self.letters.directory / intent.file, moved)
        self._kept_bytes = self._measure_kept()
        counts = self._cursor.counts
        self._cursor.write(msgspec.structs.replace(counts, replayed=intent.replayed + len(moved), appended=self._next))
        self._intent.remove()

    def _measure_kept(self) -> int:
        return self.letters.size() + sum(path.stat().st_size for path in self._torn.iterdir())


def _free_bytes(directory: Path) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize
