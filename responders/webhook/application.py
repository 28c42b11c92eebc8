"""The webhook: `POST /v1/alerts` takes alerts, `GET /healthz` says whether the responder works.

202 means: on disk. 503 with Retry-After means: nothing of this body was taken, send it again. Credentials are checked
before a byte of the body is read, the body is counted as it arrives, and the sender is not waited for without end.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from beat_bridge.errors import DoorwatchError
from beat_bridge.terminal import printable
from responders.alerts import Alert
from responders.journal import QueueFullError, Receipt
from responders.webhook.bodies import parse
from responders.webhook.credentials import Credentials

log = logging.getLogger(__name__)
MAXIMUM_BODY = 1 << 20
"""Bytes."""
BODY_SECONDS = 10.0
RETRY_AFTER = "5"
"""Seconds, as the header wants them."""


def create_app(
    submit: Callable[[Sequence[Alert]], tuple[Receipt, ...]],
    healthy: Callable[[], bool],
    credentials: Credentials,
) -> Starlette:
    """The ASGI application.

    Args:
        submit: Records alerts durably; raises QueueFullError or DoorwatchError.
        healthy: Whether the responder works.
        credentials: Who may send.
    """

    async def alerts(request: Request) -> JSONResponse:
        if not credentials.accept(request.headers.get("authorization", "")):
            log.warning("refused an alert from %s: wrong or missing credentials", _peer(request))
            challenge = {"WWW-Authenticate": 'Basic realm="doorwatch", Bearer'}
            return _error(401, "wrong or missing credentials", challenge)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(request)
        except TimeoutError:
            return _error(408, f"the body did not arrive within {BODY_SECONDS:g} s")
        except ClientDisconnect:
            return _error(400, "the sender went away")
        if body is None:
            return _error(413, f"the body is larger than {MAXIMUM_BODY} bytes: send fewer alerts at once")
        return await run_in_threadpool(_take, submit, body, _peer(request))

    async def healthz(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"}) if healthy() else _error(503, "the responder cannot work: see its log")

    return Starlette(
        routes=[Route("/v1/alerts", alerts, methods=["POST"]), Route("/healthz", healthz, methods=["GET"])]
    )


def _take(submit: Callable[[Sequence[Alert]], tuple[Receipt, ...]], body: bytes, peer: str) -> JSONResponse:
    try:
        parsed = parse(body)
    except DoorwatchError as error:
        log.warning("refused a body from %s: %s", peer, error)
        return _error(400, str(error))
    for note in parsed.notes:
        log.warning("a body from %s: %s", peer, note)
    try:
        receipts = submit(parsed.alerts)
    except QueueFullError as error:
        return _error(503, str(error), {"Retry-After": RETRY_AFTER})
    except DoorwatchError as error:
        log.error("alerts from %s could not be recorded: %s", peer, error)  # noqa: TRY400 - one line; not a fault of ours
        return _error(503, "the alerts could not be recorded: send them again", {"Retry-After": RETRY_AFTER})
    return JSONResponse(
        {
            "incidents": sorted({receipt.incident for receipt in receipts if receipt.incident}),
            "alerts": [
                {
                    "id": receipt.uuid,
                    "incident": receipt.incident,
                    "status": receipt.status,
                    "reason": receipt.reason,
                }
                for receipt in receipts
            ],
            "notes": list(parsed.notes),
        },
        status_code=202,
    )


async def _read(request: Request) -> bytes | None:
    """The body; None where it is too large, whatever its Content-Length claimed."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAXIMUM_BODY:
            return None
    return bytes(body)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _peer(request: Request) -> str:
    return printable(request.client.host) if request.client else "an unknown address"
