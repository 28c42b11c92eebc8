"""Looking at the host again and again, and telling what changed."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from beat_bridge.detectors import detect, lifecycle
from beat_bridge.detectors.cross_view import undecided
from beat_bridge.detectors.lifecycle import Ledger, OpenFinding, advance
from beat_bridge.ecs.findings import finding_document
from beat_bridge.ecs.inventories import inventory_documents
from beat_bridge.errors import DoorwatchError
from beat_bridge.files import write_atomically
from beat_bridge.model.base import Value
from beat_bridge.model.documents import Document
from beat_bridge.model.findings import Finding, FindingEvent, Standing
from beat_bridge.model.host import Host
from beat_bridge.model.inventory import Inventory

INVENTORY_SECONDS = 3600.0
"""An inventory document that has not changed is written again after this long, so that silence is not agreement."""


class Look(Value, frozen=True, kw_only=True):
    """What one look brought."""

    inventory: Inventory
    findings: tuple[Finding, ...]
    events: tuple[FindingEvent, ...]
    documents: int
    """How many were published."""


class Watch:
    """Knows what was told before, across restarts."""

    def __init__(  # noqa: PLR0913 - each is one seam of the way from a look to documents
        self,
        look: Callable[[], Inventory],
        publish: Callable[[Iterable[Document]], None],
        ledger_file: Path,
        namespace: str,
        confirm: Callable[[Sequence[Finding]], Sequence[Finding]] | None = None,
        *,
        observer: Host | None = None,
    ) -> None:
        """Take up where the last process ended.

        Args:
            look: The sensors.
            publish: Makes documents durable, or raises DoorwatchError and takes none.
            ledger_file: What was told, kept in a private directory.
            namespace: Last part of the data streams' names.
            confirm: Looks again, more firmly; asked where a finding needs it that was not confirmed before.
            observer: The machine that looks, where that is another than the host.

        Raises:
            DoorwatchError: The ledger cannot be read.
        """
        self._look = look
        self._publish = publish
        self._ledger_file = ledger_file
        self._namespace = namespace
        self._confirm = confirm
        self._observer = observer
        self._ledger = _read_ledger(ledger_file)
        self._told: dict[str, tuple[bytes, datetime]] = {}
        self._mutex = threading.Lock()

    @property
    def open_findings(self) -> Mapping[str, OpenFinding]:
        """What was told and is not gone, by key."""
        return self._ledger.open

    @property
    def turned_away(self) -> int:
        """Findings of the last look that were not told, because too many are open already."""
        return self._ledger.turned_away

    def look(self) -> Look:
        """Look once, publish what is new, and remember it.

        The documents are durable before the ledger is: a crash in between tells the same events again under the
        same ids, which whoever has them already refuses as duplicates.

        Raises:
            DoorwatchError: The documents could not be made durable. Nothing is remembered, so the next look tells
                them again.
        """
        with self._mutex:
            return self._look_once()

    def _look_once(self) -> Look:
        inventory = self._look()
        findings = detect(inventory)
        if self._confirm is not None and any(map(self._needs_confirmation, findings)):
            findings = tuple(self._confirm(findings))
        if self._confirm is None:
            inventory = undecided(inventory, findings)
        ledger, events = advance(self._ledger, findings, inventory)
        told = dict(self._told)
        documents = [finding_document(event, self._namespace, self._observer) for event in events]
        documents += self._changed(told, inventory)
        if documents:
            self._publish(documents)
        if ledger != self._ledger:
            _write_ledger(self._ledger_file, ledger)
        self._ledger, self._told = ledger, told
        return Look(inventory=inventory, findings=findings, events=events, documents=len(documents))

    def _needs_confirmation(self, finding: Finding) -> bool:
        if finding.standing not in (Standing.CANDIDATE, Standing.SAMPLED):
            return False
        known = self._ledger.open.get(finding.key)
        return known is None or known.finding.standing is not Standing.CONFIRMED

    def _changed(self, told: dict[str, tuple[bytes, datetime]], inventory: Inventory) -> Iterator[Document]:
        """Inventory documents that say something else than last time, or that were last said long ago."""
        now = datetime.now(UTC)
        present = set()
        for document in inventory_documents(inventory, self._namespace, self._observer):
            subject, content = _without_moment(document)
            present.add(subject)
            before = told.get(subject)
            if before is None or before[0] != content or (now - before[1]).total_seconds() >= INVENTORY_SECONDS:
                told[subject] = (content, now)
                yield document
        for subject in told.keys() - present:
            del told[subject]


def _without_moment(document: Document) -> tuple[str, bytes]:
    """What a document is about, and a digest of what it says besides when."""
    body = {key: value for key, value in document.body.items() if key not in ("@timestamp", "event")}
    doorwatch = body.get("doorwatch", {})
    about = [
        doorwatch.get("coverage", {}).get("sensor", ""),
        str(doorwatch.get("socket", {}).get("inode", "")),
        str(document.body.get("event", {}).get("action", "")),
    ]
    if "coverage" in doorwatch:
        # how many objects were looked at differs with every pass; whether all were is what matters
        coverage = {key: doorwatch["coverage"].get(key) for key in ("sensor", "status", "reason")}
        body = body | {"message": "", "doorwatch": doorwatch | {"coverage": coverage}}
    return "\x1f".join(about), sha256(msgspec.json.encode(body, order="deterministic")).digest()


def _read_ledger(path: Path) -> Ledger:
    try:
        return lifecycle.decode(path.read_bytes(), str(path))
    except FileNotFoundError:
        return Ledger()
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read the findings told before: {error.strerror}") from error


def _write_ledger(path: Path, ledger: Ledger) -> None:
    try:
        write_atomically(path, lifecycle.encode(ledger))
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot remember what was told: {error.strerror}") from error
