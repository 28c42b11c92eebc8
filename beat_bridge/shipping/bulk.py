"""Elasticsearch as a target: documents as they lie in the spool, in `_bulk` requests."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from elastic_transport import TlsError, TransportError
from elasticsearch import ApiError, UnsupportedProductError

from beat_bridge.errors import DoorwatchError
from beat_bridge.shipping.connection import BulkAnswer, Cluster, error_type, reason
from beat_bridge.shipping.letters import Refusal
from beat_bridge.shipping.nodes import Nodes
from beat_bridge.shipping.options import ElasticsearchOptions
from beat_bridge.shipping.target import Answered, Lines, Malformed, NotNow, Outcome, TooLarge, Trouble

_HEADERS = {"Accept": "application/json", "Content-Type": "application/x-ndjson"}
_PARAMS = {
    "filter_path": "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason",
    # without the template that makes it a data stream, an index would be made with a guessed mapping
    "require_data_stream": "true",
}
_PROBE = b'{"create":{"_index":"doorwatch,probe"}}\n{}\n'
"""A comma is not allowed in a name: the item is refused, the request is not."""


class BulkTarget:
    """A cluster that takes documents."""

    def __init__(self, options: ElasticsearchOptions) -> None:
        """Prepare a connection; nothing is sent.

        Raises:
            DoorwatchError: The options do not go together, or a file they name cannot be read.
        """
        self._cluster = Cluster(options)
        self._nodes = Nodes() if options.sniff else None

    def send(self, lines: Sequence[Lines]) -> Outcome:
        """Send documents in one request."""
        try:
            answer = self._request(b"".join(lines))
        except ApiError as error:
            return self._refused(error)
        except (TlsError, UnsupportedProductError, DoorwatchError) as error:
            return NotNow(Trouble.DENIED, self._cluster.explain(error))
        except TransportError as error:
            self._look_for_nodes(failed=True)
            return NotNow(Trouble.RETRYING, self._cluster.explain(error))
        self._look_for_nodes()
        items = read_items(answer, len(lines))
        if items is None:
            return NotNow(
                Trouble.RETRYING, f"{self._cluster.name}: the answer to {len(lines)} documents cannot be understood"
            )
        return Answered(items)

    def understands(self) -> bool:
        """Whether the cluster takes a well-formed request that writes nothing."""
        return not self.obstacle()

    def obstacle(self) -> str:
        """Why the cluster does not take a request that writes nothing, in one line; empty where it does."""
        try:
            self._request(_PROBE)
        except (ApiError, TransportError, DoorwatchError, UnsupportedProductError) as error:
            return self._cluster.explain(error)
        return ""

    def close(self) -> None:
        """Close the connections."""
        self._cluster.close()

    def _request(self, body: bytes) -> Any:
        response = self._cluster.client().perform_request("POST", "/_bulk", params=_PARAMS, headers=_HEADERS, body=body)
        return response.body

    def _look_for_nodes(self, *, failed: bool = False) -> None:
        if self._nodes is not None:
            with contextlib.suppress(DoorwatchError):  # the credential's file is away: the next request says so
                self._nodes.look(self._cluster.client(), failed=failed)

    def _refused(self, error: ApiError) -> Outcome:
        status = error.meta.status
        refusal = Refusal(type=error_type(error) or "http_error", reason=reason(error), status=status)
        if status == 413:
            return TooLarge(refusal)
        if status == 400:
            return Malformed(refusal)
        soon = status == 429 or status >= 500
        return NotNow(Trouble.RETRYING if soon else Trouble.DENIED, self._cluster.explain(error))


def read_items(answer: Any, count: int) -> tuple[Refusal | None, ...] | None:
    """Each document's answer; None where a proxy, or a fault, answered something else."""
    if not isinstance(answer, BulkAnswer):
        return None
    if not answer.errors:
        return (None,) * count
    try:
        items = tuple(_judge(item) for item in msgspec.json.decode(answer.items))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return items if len(items) == count else None


def _judge(item: Mapping[str, Any]) -> Refusal | None:
    """One item of the answer, `{"create": {"status": ..., "error": {...}}}`."""
    (result,) = item.values()
    status = int(result["status"])
    if 200 <= status < 300:
        return None
    error = result.get("error", {})
    cause = error.get("caused_by", {}).get("reason", "")
    words = f"{error.get('reason', '')}{': ' if cause else ''}{cause}"
    return Refusal(type=str(error.get("type", "")), reason=" ".join(words.split())[:2000], status=status)
