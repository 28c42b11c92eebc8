"""The watch tells what changed, once, and forgets nothing that could not be written."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.documents import Document
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.processes import Process
from doorwatch.run import watch as watching
from doorwatch.run.watch import Watch
from tests.inventories import builders
from tests.inventories.samples import HYPERVISOR

(BACKDOOR,) = builders.bpfdoor().processes


class Host:
    """Sensors and disk that a test steers."""

    def __init__(self) -> None:
        self.inventory = builders.inventory()
        self.published: list[Document] = []
        self.full = False

    def look(self) -> Inventory:
        """The next look, a minute after the one before."""
        self.inventory = msgspec.structs.replace(
            self.inventory, taken_at=self.inventory.taken_at + timedelta(minutes=1)
        )
        return self.inventory

    def publish(self, documents: Iterable[Document]) -> None:
        """Take documents, or none of them."""
        if self.full:
            raise DoorwatchError("the spool is full")
        self.published.extend(documents)

    def show(self, *processes: Process) -> None:
        """Put processes on the host."""
        self.inventory = msgspec.structs.replace(self.inventory, processes=processes)

    def findings(self) -> list[tuple[str, str]]:
        """Ids and actions of the finding documents published so far."""
        return [(d.id, d.body["event"]["action"]) for d in self.published if "finding" in d.data_stream]


def _watch(host: Host, directory: Path) -> Watch:
    return Watch(host.look, host.publish, directory / "findings.json", "default")


def test_a_finding_is_told_once_until_it_is_gone(tmp_path: Path) -> None:
    """It opens once, is silent while nothing changes, and is told again when it is gone."""
    host = Host()
    watch = _watch(host, tmp_path)
    host.show(BACKDOOR)
    watch.look()
    opened = len(host.findings())
    watch.look()
    assert opened > 0
    assert len(host.findings()) == opened
    host.show()
    watch.look()
    assert [action for _, action in host.findings()[opened:]] == ["finding-gone"] * opened
    assert not watch.open_findings


def test_what_could_not_be_written_is_told_again(tmp_path: Path) -> None:
    """A full disk loses nothing: the next look that can write tells the same events."""
    host = Host()
    watch = _watch(host, tmp_path)
    host.show(BACKDOOR)
    host.full = True
    with pytest.raises(DoorwatchError, match="full"):
        watch.look()
    assert not watch.open_findings
    host.full = False
    watch.look()
    assert {action for _, action in host.findings()} == {"finding-opened"}


def test_a_restart_tells_nothing_twice(tmp_path: Path) -> None:
    """What one process told, the next one knows."""
    host = Host()
    host.show(BACKDOOR)
    _watch(host, tmp_path).look()
    before = host.findings()
    _watch(host, tmp_path).look()
    assert host.findings() == before


def test_a_crash_before_remembering_tells_the_same_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between publishing and remembering, the next process tells the same documents under the same ids."""
    host = Host()
    host.show(BACKDOOR)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(watching, "_write_ledger", killed)
        with pytest.raises(KeyboardInterrupt):
            _watch(host, tmp_path).look()
    first = host.findings()
    host.published.clear()
    _watch(host, tmp_path).look()
    assert host.findings() == first


def test_inventory_is_told_when_it_changes(tmp_path: Path) -> None:
    """Coverage is told at the first look, again when a sensor goes blind, and not in between."""
    host = Host()
    watch = _watch(host, tmp_path)
    watch.look()
    told = len(host.published)
    assert told == len(builders.COMPLETE)
    watch.look()
    assert len(host.published) == told
    host.inventory = builders.partial(host.inventory, "processes")
    watch.look()
    (document,) = host.published[told:]
    assert document.body["doorwatch"]["coverage"]["sensor"] == "processes"
    assert document.body["doorwatch"]["coverage"]["status"] != "complete"


def test_a_damaged_ledger_is_one_line(tmp_path: Path) -> None:
    """A ledger that is no ledger is refused with its name, rather than read as "nothing was told"."""
    (tmp_path / "findings.json").write_text('{"open": 3}')
    with pytest.raises(DoorwatchError, match=r"findings\.json"):
        _watch(Host(), tmp_path)


def test_every_document_of_a_guest_names_the_machine_that_watches_it(tmp_path: Path) -> None:
    """Findings and inventories carry the observer that the watch was given."""
    host = Host()
    host.show(BACKDOOR)
    Watch(host.look, host.publish, tmp_path / "findings.json", "default", observer=HYPERVISOR).look()
    assert {document.data_stream for document in host.published} >= {"logs-doorwatch.finding-default"}
    assert {document.body["observer"]["hostname"] for document in host.published} == {HYPERVISOR.name}
