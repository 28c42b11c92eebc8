"""The embedded default: a local store and a local rule engine in place of Elasticsearch and Kibana.

`LocalStore` takes the documents; `LocalEngine` evaluates rules over them and keeps alerts in an `Outbox`, from which a
`Courier` posts them to the responder through `beat_bridge.standalone.webhook.Webhook` (imported by name, because it
loads requests).
"""

from beat_bridge.standalone.engine import Courier, EngineStatus, LocalEngine, NotDeliveredError
from beat_bridge.standalone.outbox import Outbox, OutboxStatus
from beat_bridge.standalone.store import LocalStore, StoreStatus

__all__ = [
    "Courier",
    "EngineStatus",
    "LocalEngine",
    "LocalStore",
    "NotDeliveredError",
    "Outbox",
    "OutboxStatus",
    "StoreStatus",
]
