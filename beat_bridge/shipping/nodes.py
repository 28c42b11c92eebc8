"""A cluster's other nodes, so that one address is enough to survive the node behind it.

The client can look for nodes itself, but asks without a credential, which a cluster with security refuses.
"""

import logging
import time

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

LOG = logging.getLogger(__name__)
_EVERY_SECONDS = 300.0
_AFTER_FAILURE_SECONDS = 10.0


class Nodes:
    """Looks for nodes from time to time."""

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._denied = False

    def look(self, client: Elasticsearch, *, failed: bool = False) -> None:
        """Add the nodes that the cluster names to those that the client asks; not each time this is called.

        Args:
            client: With its credential, which needs the cluster privilege `monitor`.
            failed: A request was answered by no node, so it is worth looking again soon.
        """
        now = time.monotonic()
        if now - self._looked_at < (_AFTER_FAILURE_SECONDS if failed else _EVERY_SECONDS):
            return
        self._looked_at = now
        try:
            answer = client.nodes.info(metric="http")
            for node in answer["nodes"].values():
                name, slash, address = node["http"]["publish_address"].rpartition("/")
                host, _, port = address.rpartition(":")
                # `name/address:port` where the node has a name to be called by: its certificate is for that
                where = answer.meta.node.replace(host=name if slash else host, port=int(port))
                client.transport.node_pool.add(where)
        except ApiError as error:
            if not self._denied:
                LOG.warning("cannot ask for the cluster's nodes, so only those that are configured are used: %s", error)
            self._denied = True
        except TransportError:  # nobody is there, or not in time: the request that comes next says so
            self._looked_at = now + _AFTER_FAILURE_SECONDS - _EVERY_SECONDS
        except (AttributeError, KeyError, TypeError, ValueError):
            LOG.warning("the list of the cluster's nodes cannot be understood")
