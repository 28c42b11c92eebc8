"""Proof of cure: gone is said only by a look that could have seen it."""

from pathlib import Path

import msgspec
import pytest

from beat_bridge.model.inventory import Inventory
from doorwatch.run.cure import verify_with
from doorwatch.run.watch import Watch
from responders.alerts import Alert
from responders.incidents import Incident, incident_of
from tests.inventories import builders

(BACKDOOR,) = builders.bpfdoor().processes


class Host:
    """What the sensors see next."""

    def __init__(self) -> None:
        self.inventory = builders.bpfdoor()

    def look(self) -> Inventory:
        """The next look."""
        return self.inventory


@pytest.fixture
def host() -> Host:
    """A host with a backdoor on it."""
    return Host()


@pytest.fixture
def watch(host: Host, tmp_path: Path) -> Watch:
    """A watch that has told of the backdoor."""
    made = Watch(host.look, lambda _: None, tmp_path / "findings.json", "default")
    made.look()
    return made


def _incident(watch: Watch) -> Incident:
    """The incident that an alert about the backdoor's filter opens."""
    finding = next(e.finding for e in watch.open_findings.values() if e.finding.kind == "socket_filter")
    alert = Alert(
        uuid="a",
        host_id=finding.host.id,
        pid=BACKDOOR.pid,
        started_at=BACKDOOR.started_at,
        finding_key=finding.key,
    )
    return msgspec.structs.replace(incident_of(alert), alerts=(alert,))


def test_what_is_still_there_is_not_cured(watch: Watch) -> None:
    """The same finding in a new look is no cure, and is named."""
    result = verify_with(watch)(_incident(watch))
    assert result.cured is False
    assert "still shows it" in result.explanation


def test_a_process_that_runs_on_without_its_socket_is_not_cured(watch: Watch, host: Host) -> None:
    """A backdoor that closed its socket has not ended."""
    incident = _incident(watch)
    host.inventory = builders.inventory(BACKDOOR)
    result = verify_with(watch)(incident)
    assert result.cured is False
    assert "still runs" in result.explanation


def test_what_could_not_be_looked_at_is_not_called_cured(watch: Watch, host: Host) -> None:
    """A look that could not see sockets cannot tell, and says what it missed."""
    incident = _incident(watch)
    host.inventory = builders.partial(builders.inventory(), "packet_sockets")
    result = verify_with(watch)(incident)
    assert result.cured is None
    assert "packet_sockets" in result.explanation


def test_a_complete_look_without_it_is_a_cure(watch: Watch, host: Host) -> None:
    """Where everything was looked at and nothing of it is left, the case is closed."""
    incident = _incident(watch)
    host.inventory = builders.inventory()
    assert verify_with(watch)(incident).cured is True
    assert not watch.open_findings
