"""All parts of one configuration, opened in the order they stand on one another and closed in reverse."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from beat_bridge.ecs.heartbeats import heartbeat_document
from beat_bridge.ecs.responses import response_document
from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory
from beat_bridge.model.bridge import BridgeStatus
from beat_bridge.model.documents import Document
from beat_bridge.model.inventory import Inventory
from beat_bridge.model.responses import ResponseStep
from beat_bridge.sensors.host import look as look_at_host
from beat_bridge.sensors.host.identity import identity
from beat_bridge.sensors.hypervisor.options import GuestOptions
from beat_bridge.shipping import Forwarder, Spool, Target
from beat_bridge.standalone import Courier, LocalEngine, LocalStore, Outbox
from detection_rules import Watch as Watching
from detection_rules import load_rules
from doorwatch.configuration import MIB, AlertOptions, Configuration
from doorwatch.run.cure import verify_with
from doorwatch.run.local_target import LocalTarget
from doorwatch.run.publisher import Publisher
from doorwatch.run.watch import Watch
from responders.incidents import Incident
from responders.options import ResponderOptions
from responders.responder import Responder

if TYPE_CHECKING:
    from doorwatch.run.guests import Guests

log = logging.getLogger(__name__)
STOP_SECONDS = 15.0


class Seams(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller may put in the place of the parts that look outwards."""

    look: Callable[[], Inventory] = look_at_host
    """The sensors."""
    probe: Callable[[Incident], str] | None = None
    """Says what is seen of an isolated host from outside."""
    observe: Callable[[Document], None] | None = None
    """Is shown every document once it is on disk."""


class Service:
    """The running parts; made by `open_service`."""

    def __init__(self, configuration: Configuration, spool: Spool, publisher: Publisher, watch: Watch) -> None:
        self.configuration = configuration
        self.spool = spool
        self.watch = watch
        self.forwarder: Forwarder | None = None
        self.engine: LocalEngine | None = None
        self.outbox: Outbox | None = None
        self.guests: Guests | None = None
        self.responder: Responder | None = None
        self.alerts_url = ""
        """Where the responder takes alerts; empty where none runs here."""
        self.publisher = publisher
        self._passes = 0
        self.last_error = ""
        self.final_status = BridgeStatus(spool=spool.status())
        """What was so when it had stopped; set by `open_service`."""

    def look(self) -> bool:
        """Look once; False where that failed, which is logged and told by the next heartbeat.

        What could not be published is told again by the next look: nothing is lost by going on.
        """
        try:
            look = self.watch.look()
        except DoorwatchError as error:
            self.last_error = str(error)
            log.error("%s", error)  # noqa: TRY400 - one line; no traceback for a full disk
            return False
        self._passes += 1
        self.last_error = ""
        for event in look.events:
            finding = event.finding
            log.warning("finding %s: %s %s: %s", event.change, finding.verdict, finding.kind, finding.explanation)
        return True

    def tick(self) -> None:
        """Let the rules know that time passes: some sequences end by what does not happen."""
        if self.engine is None:
            return
        try:
            self.engine.advance()
        except DoorwatchError as error:
            self.last_error = str(error)
            log.error("%s", error)  # noqa: TRY400 - one line; no traceback for a full disk

    def status(self) -> BridgeStatus:
        """How it is doing."""
        return BridgeStatus(
            spool=self.spool.status(),
            passes=self._passes,
            open_findings=len(self.watch.open_findings),
            last_error="; ".join(self._troubles()),
            guests=() if self.guests is None else self.guests.statuses(),
        )

    def _troubles(self) -> Iterator[str]:
        """Everything that keeps a part from its work just now, one clause each."""
        if self.last_error:
            yield self.last_error
        if self.watch.turned_away:
            yield f"{self.watch.turned_away} findings are not told: too many are open"
        if self.forwarder is not None and (detail := self.forwarder.status().detail):
            yield detail
        if self.engine is not None:
            for remark in self.engine.status().remarks:
                yield f"rule {remark}"
        if self.outbox is not None:
            alerts = self.outbox.status()
            if alerts.last_reason:
                yield f"{alerts.waiting} alerts wait: {alerts.last_reason}"
            if alerts.turned_away:
                yield f"{alerts.turned_away} alerts were turned away: the outbox is full"
        if self.responder is not None and self.responder.trouble:
            yield self.responder.trouble

    def record(self, step: ResponseStep) -> None:
        """Publish what the responder did.

        Raises:
            DoorwatchError: It could not be made durable; the responder tells it again.
        """
        self.publisher.publish([response_document(step, self.configuration.namespace)])

    def note_final_status(self) -> None:
        """Remember how it stood when everything else had stopped."""
        self.final_status = self.status()

    def beat(self) -> None:
        """Publish a heartbeat; one that cannot be published is missed, and that is what its absence says."""
        now = datetime.now(UTC)
        try:
            self.publisher.publish([heartbeat_document(identity(), self.status(), now, self.configuration.namespace)])
        except DoorwatchError as error:
            self.last_error = str(error)


@contextmanager
def open_service(configuration: Configuration, seams: Seams | None = None) -> Iterator[Service]:
    """Open and start everything a configuration asks for.

    Raises:
        DoorwatchError: A part cannot be opened; what was opened before is closed again.
    """
    seams = seams or Seams()
    state = ensure_private_directory(configuration.state_dir)
    with ExitStack() as stack:
        spool = stack.enter_context(Spool(state / "spool", budget_bytes=configuration.spool.budget_mib * MIB))
        engine, outbox = _open_engine(configuration, state, stack)
        publisher = Publisher(spool, _consider(engine, seams.observe))
        watch = Watch(seams.look, publisher.publish, state / "findings.json", configuration.namespace)
        service = Service(configuration, spool, publisher, watch)
        stack.callback(service.note_final_status)
        service.engine, service.outbox = engine, outbox
        service.forwarder = _start_forwarder(configuration, state, spool, stack)
        if configuration.responder is not None:
            _start_responder(configuration.responder, service, seams, stack)
        if outbox is not None and configuration.alerts is not None:
            _start_courier(configuration.alerts, service.alerts_url, outbox, stack)
        if configuration.guests is not None:
            _start_guests(configuration.guests, service, publisher, stack)
        yield service


def _consider(
    engine: LocalEngine | None, observe: Callable[[Document], None] | None
) -> Callable[[Document], object] | None:
    if observe is None:
        return None if engine is None else engine.consider

    def consider(document: Document) -> None:
        observe(document)
        if engine is not None:
            engine.consider(document)

    return consider


def _open_engine(
    configuration: Configuration, state: Path, stack: ExitStack
) -> tuple[LocalEngine | None, Outbox | None]:
    if configuration.alerts is None:
        return None, None
    rules = load_rules([Path(directory) for directory in configuration.rules] or None)
    outbox = stack.enter_context(Outbox(state / "alerts.sqlite"))
    return LocalEngine(rules.match, outbox, Watching(rules)), outbox


def _start_forwarder(configuration: Configuration, state: Path, spool: Spool, stack: ExitStack) -> Forwarder:
    """Begin to ship, to the cluster or to the local store."""
    target: Target
    if configuration.elasticsearch is None:
        store = stack.enter_context(
            LocalStore(state / "store.sqlite", budget_bytes=configuration.store.budget_mib * MIB)
        )
        target = LocalTarget(store.add)
    else:
        from beat_bridge.shipping.bulk import BulkTarget  # noqa: PLC0415 - loads the client, an extra

        cluster = BulkTarget(configuration.elasticsearch)
        stack.callback(cluster.close)
        target = cluster
    forwarder = Forwarder(spool, target)
    stop = threading.Event()
    thread = threading.Thread(target=forwarder.run, args=(stop,), name="forwarder", daemon=True)

    def end() -> None:
        stop.set()
        thread.join(STOP_SECONDS)

    stack.callback(end)
    thread.start()
    return forwarder


def _start_responder(options: ResponderOptions, service: Service, seams: Seams, stack: ExitStack) -> None:
    from responders.webhook.application import create_app  # noqa: PLC0415 - loads the web server, an extra
    from responders.webhook.credentials import load_credentials  # noqa: PLC0415
    from responders.webhook.server import WebhookServer  # noqa: PLC0415

    if not options.state_dir:
        options = msgspec.structs.replace(options, state_dir=str(service.configuration.state_dir / "responder"))
    credentials = load_credentials(options)
    responder = Responder(
        options, verify=verify_with(service.watch), record=service.record, inventory=seams.look, probe=seams.probe
    )
    stack.enter_context(responder)
    app = create_app(responder.submit, lambda: responder.healthy, credentials)
    service.responder = responder
    service.alerts_url = stack.enter_context(WebhookServer(app, options)).url


def _start_guests(options: GuestOptions, service: Service, publisher: Publisher, stack: ExitStack) -> None:
    from doorwatch.run.guests import Guests  # noqa: PLC0415 - loads what reads guests, an extra

    configuration = service.configuration
    service.guests = Guests(options, publisher.publish, configuration.state_dir / "guests", configuration.namespace)
    stack.callback(service.guests.stop)
    service.guests.start()


def _start_courier(options: AlertOptions, own_url: str, outbox: Outbox, stack: ExitStack) -> None:
    from beat_bridge.standalone.webhook import Webhook  # noqa: PLC0415 - loads requests, an extra

    webhook = Webhook(
        options.url or own_url,
        ca_file=Path(options.ca_file) if options.ca_file else None,
        token_file=Path(options.token_file) if options.token_file else None,
    )
    stack.callback(webhook.close)
    courier = Courier(outbox, webhook)
    stack.callback(courier.stop)
    courier.start()
