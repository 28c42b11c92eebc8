"""How to reach an Elasticsearch cluster."""

from typing import Annotated

import msgspec

from beat_bridge.model.base import Value

Seconds = Annotated[float, msgspec.Meta(gt=0, le=600)]


class ElasticsearchOptions(Value, frozen=True, kw_only=True):
    """A cluster, how to know it is the right one, and who we are there.

    Secrets are named by file, never written here: a changed file is picked up by the next request.
    """

    hosts: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("https://localhost:9200",)
    """URLs with scheme and port. Credentials go over https, or over http to this machine only."""
    ca_file: str = ""
    """PEM file of the authority that signed the cluster's certificate; empty for the system's own."""
    fingerprint: str = ""
    """SHA-256 of the cluster's CA or server certificate in hexadecimal, colons allowed, as Elasticsearch prints it."""
    verify: bool = True
    """False takes any certificate: for a laboratory only."""
    api_key_file: str = ""
    """File holding the encoded API key (`id:key` in base64). Either this, or `username` with `password_file`."""
    username: str = ""
    """The user, where there is no API key."""
    password_file: str = ""
    """File holding the user's password."""
    compress: bool = False
    """gzip requests: about a tenth of the traffic for several times the processor time."""
    sniff: bool = False
    """Ask the cluster for its other nodes, and use them too. The role then needs the cluster privilege `monitor`."""
    request_timeout: Seconds = 30.0
    """Seconds to wait for one answer."""
