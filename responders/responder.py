"""The responder: takes alerts, works on them one after the other, and keeps watch over the leases it gave.

Accepting an alert and working on it are apart: `submit` returns once the alert is on disk, and one worker thread does
the rest, so that two alerts about one process can never act at the same time. Whatever was interrupted is taken up
again at the next start: an alert stays queued until its playbook ended, and a step that was begun and not finished
looks at what is true now before it acts again.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory
from beat_bridge.model.host import Host
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.responses import ResponseStep
from responders import audit
from responders.alerts import Alert
from responders.confirmation import epoch_of
from responders.incidents import Incident
from responders.journal import Journal, Receipt, Waiting
from responders.leases import LeaseKeeper
from responders.options import ResponderOptions
from responders.outcomes import CureResult, RecordsError
from responders.playbooks.model import Playbook
from responders.playbooks.selection import choose, load_playbooks
from responders.response import Means, Response
from responders.this_host import this_host

log = logging.getLogger(__name__)
IDLE_SECONDS = 1.0
"""How often the worker looks for steps that another process added, when nothing else wakes it."""
RETRY_SECONDS = 5.0
"""How long it waits after its own records could not be written (disk full)."""


class Responder:
    """The engine behind the webhook."""

    def __init__(  # noqa: PLR0913 - each is a door to another room, and all but one are named
        self,
        options: ResponderOptions,
        *,
        verify: Callable[[Incident], CureResult],
        record: Callable[[ResponseStep], None],
        inventory: Callable[[], Inventory] | None = None,
        probe: Callable[[Incident], str] | None = None,
        host: Host | None = None,
        playbooks: Sequence[Playbook] | None = None,
    ) -> None:
        """Open the state directory; nothing runs before `start`.

        Args:
            options: Checked by `responders.options.check` where a webhook is served.
            verify: Looks at the host again, after the response.
            record: Is handed every step at least once, in order; raises DoorwatchError or OSError to be asked again.
            inventory: A look at this host, for the evidence.
            probe: Looks at an isolated host from outside and says what it observed.
            host: This host; read from the machine where it is not given.
            playbooks: Instead of the files that the options name.

        Raises:
            DoorwatchError: A playbook is wrong, or another responder uses this state directory.
        """
        self.options = options
        self.host = host or this_host(options.host_id)
        self.playbooks = tuple(playbooks) if playbooks is not None else load_playbooks(options.playbooks)
        self._record = record
        directory = ensure_private_directory(Path(options.state_dir))
        self._lock = _lock_directory(directory)
        try:
            self.journal = Journal(options.journal_file)
        except BaseException:
            os.close(self._lock)
            raise
        self._keeper = LeaseKeeper(self.journal, self.host, self._add_step)
        self._means = Means(
            host=self.host,
            journal=self.journal,
            add_step=self._add_step,
            keep_lease=self._keeper.adopt,
            verify=verify,
            inventory=inventory,
            probe=probe,
            evidence_dir=options.evidence_dir,
        )
        self._wake = threading.Condition()
        self._woken = False
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="responder", daemon=True)
        self.trouble = ""
        """Why the worker cannot work just now; empty where it can."""

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.close()

    def start(self) -> None:
        """Take up what an earlier run left, and begin to work."""
        self._thread.start()

    def close(self, seconds: float = 30.0) -> None:
        """Finish the step at hand and stop; leases go on by the kernel's timer."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        self._keeper.close()
        self.journal.close()
        os.close(self._lock)

    @property
    def healthy(self) -> bool:
        """The worker runs and can write its records."""
        return self._thread.is_alive() and not self.trouble

    def await_idle(self, seconds: float) -> bool:
        """Whether, within so many seconds, every alert taken so far has been worked on."""
        with self._wake:
            return self._wake.wait_for(lambda: not self.journal.pending(), seconds)

    def submit(self, alerts: Sequence[Alert]) -> tuple[Receipt, ...]:
        """Record alerts durably and have them worked on.

        Raises:
            QueueFullError: Too many wait already; none of these was taken.
            DoorwatchError: They could not be recorded.
        """
        now = datetime.now(UTC).timestamp()
        dated = [self._with_start(alert) for alert in alerts]
        receipts = self.journal.submit(dated, now, self.options.maximum_pending)
        with self._wake:
            self._woken = True
            self._wake.notify_all()
        return receipts

    def _with_start(self, alert: Alert) -> Alert:
        """An alert of this boot that has only ticks gets the date too: by it alerts of all senders meet."""
        ours = alert.host_id == self.host.id and alert.boot_id == self.host.boot_id
        if alert.started_at is None and alert.start_ticks is not None and ours:
            return msgspec.structs.replace(alert, started_at=epoch_of(alert.start_ticks))
        return alert

    def _work(self) -> None:
        while not self._stopping:
            try:
                self._publish()
                pause = self._keeper.watch()
                waiting = self.journal.next_alert()
                if waiting is not None:
                    self._answer(waiting)
                    pause = 0.0
                self.trouble = ""
                if waiting is not None:
                    with self._wake:
                        self._wake.notify_all()
            except RecordsError as error:
                # its own records cannot be written: the alert stays queued, nothing is lost
                self.trouble = str(error)
                log.error("the responder cannot work: %s", error)  # noqa: TRY400 - one line; no traceback for a full disk
                pause = RETRY_SECONDS
            with self._wake:
                if pause and not self._woken and not self._stopping:
                    self._wake.wait(min(pause, RETRY_SECONDS if self.trouble else IDLE_SECONDS))
                self._woken = False
        try:
            self._publish()
        except RecordsError as error:
            log.warning("steps wait to be published at the next start: %s", error)

    def _answer(self, waiting: Waiting) -> None:
        """Work on one alert until its playbook ended."""
        alert = waiting.alert
        incident = self.journal.incident(waiting.incident)
        if incident is None:
            raise RecordsError(f"{self.journal.path}: the incident {waiting.incident} of alert {alert.uuid} is missing")
        playbook, reason = choose(self.playbooks, alert)
        if playbook is None:
            self.journal.finish_alert(alert.uuid, f"no playbook answers: {reason}")
            log.info("alert %s of rule %r: no playbook answers: %s", alert.uuid, alert.rule_name, reason)
            return
        try:
            Response(self._means, incident, alert, playbook).run(interrupted=waiting.interrupted)
            result = f"answered by {playbook.name}"
        except RecordsError:
            raise  # tried again
        except Exception:  # an alert that trips over a bug must not stop the alerts behind it
            log.exception("alert %s could not be worked on", alert.uuid)
            result = "a fault in the responder: its log has the details"
        self.journal.finish_alert(alert.uuid, result)

    def _add_step(self, step: ResponseStep) -> ResponseStep:
        kept = self.journal.add_step(step, lambda sealed: audit.seal(self.options.audit_file, sealed))
        self._publish()
        return kept

    def _publish(self) -> None:
        """Hand on the steps that nobody was told of; those that cannot be handed on wait."""
        for step in self.journal.unpublished():
            try:
                self._record(step)
            except (DoorwatchError, OSError) as error:
                log.warning("a response step could not be published and waits: %s", error)
                return
            self.journal.mark_published(step)


def _lock_directory(directory: Path) -> int:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DoorwatchError(f"{directory}: another responder is running on this state directory") from error
    return descriptor
