"""The responder without the bridge: the webhook and the engine, until told to stop."""

from collections.abc import Callable

from responders.incidents import Incident
from responders.options import ResponderOptions, check
from responders.outcomes import CureResult
from responders.responder import Responder
from responders.webhook.application import create_app
from responders.webhook.credentials import load_credentials
from responders.webhook.server import WebhookServer


def serve_until(options: ResponderOptions, stop: Callable[[], object], announce: Callable[[str], None]) -> None:
    """Serve while `stop` has not returned.

    Raises:
        DoorwatchError: The options are unsafe or unusable.
    """
    check(options)
    credentials = load_credentials(options)
    with (
        Responder(options, verify=_nobody_looks, record=lambda _: None) as responder,
        WebhookServer(create_app(responder.submit, lambda: responder.healthy, credentials), options) as server,
    ):
        announce(f"taking alerts at {server.url}; playbooks: {', '.join(book.name for book in responder.playbooks)}")
        stop()


def _nobody_looks(_: Incident) -> CureResult:
    return CureResult(cured=None, explanation="this responder runs without sensors: scan the host to find out")
