"""The bridge's own state as documents of the data stream logs-doorwatch.heartbeat-*."""

from datetime import datetime

import msgspec

from beat_bridge.ecs import parts
from beat_bridge.ecs.shape import data_stream, digest, finish, merge, moment
from beat_bridge.model.bridge import BridgeStatus
from beat_bridge.model.documents import Document
from beat_bridge.model.host import Host


def heartbeat_document(host: Host, status: BridgeStatus, at: datetime, namespace: str = "default") -> Document:
    """One heartbeat.

    Args:
        host: The host the bridge runs on.
        status: Its counts.
        at: When, with time zone.
        namespace: The data stream's namespace.

    Raises:
        DoorwatchError: The namespace is not one.
    """
    name = digest(host.id, host.boot_id, "heartbeat", moment(at))
    body = merge(
        parts.envelope("heartbeat", namespace, at, name),
        parts.host_part(host),
        {
            "message": _message(status),
            "event": {"category": ["host"], "type": ["info"], "action": "heartbeat"},
            "doorwatch": {
                "bridge": {
                    "passes": status.passes,
                    "open_findings": status.open_findings,
                    "last_error": status.last_error,
                    "spool": msgspec.structs.asdict(status.spool),
                    "guests": {
                        "watched": len(status.guests),
                        "unseen": [guest.name for guest in status.guests if guest.last_error],
                    },
                }
            },
        },
    )
    return Document(data_stream=data_stream("heartbeat", namespace), id=name, body=finish(body))


def _message(status: BridgeStatus) -> str:
    spool = status.spool
    told = (
        f"{status.passes} looks, {status.open_findings} open findings; {spool.pending_documents} documents wait, "
        f"{spool.dead_letters} were refused"
    )
    if status.guests:
        unseen = sum(bool(guest.last_error) for guest in status.guests)
        told += f"; {len(status.guests)} guests, of which {unseen} could not be looked at"
    return f"{told}; {status.last_error}" if status.last_error else told
