"""From the spool on disk to Elasticsearch, with nothing dropped in silence.

`Spool` keeps documents on disk; `Forwarder` sends them to a `Target`, which for a cluster is
`beat_bridge.shipping.bulk.BulkTarget` (imported by name, because it loads the Elasticsearch client); what the cluster
will not have goes to `DeadLetters`.
"""

from beat_bridge.shipping.delivery import Pace
from beat_bridge.shipping.forwarder import Forwarder, ForwarderState, ForwarderStatus, Limits
from beat_bridge.shipping.letters import DeadLetters, Letter, Refusal
from beat_bridge.shipping.options import ElasticsearchOptions
from beat_bridge.shipping.spool import Spool, SpoolFullError
from beat_bridge.shipping.target import Target

__all__ = [
    "DeadLetters",
    "ElasticsearchOptions",
    "Forwarder",
    "ForwarderState",
    "ForwarderStatus",
    "Letter",
    "Limits",
    "Pace",
    "Refusal",
    "Spool",
    "SpoolFullError",
    "Target",
]
