"""How to reach a Kibana, and what to put there."""

from typing import Annotated, Literal

import msgspec

from beat_bridge.model.base import Value

Part = Literal["connector", "rules", "dashboards", "packs"]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=600)]


class KibanaOptions(Value, frozen=True, kw_only=True):
    """One space of one Kibana, how to know that it is the right one, and who we are there. Secrets lie in files."""

    url: str
    """With scheme, port, and the base path where there is one."""
    space: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{1,128}$")] = "default"
    ca_file: str = ""
    """PEM file of the authority that signed its certificate; empty for the system's own."""
    fingerprint: str = ""
    """SHA-256 of its certificate, in hexadecimal, colons allowed; in place of an authority."""
    api_key_file: str = ""
    """Holds the encoded API key. Either this, or `username` with `password_file`."""
    username: str = ""
    password_file: str = ""
    request_timeout: Seconds = 30.0
    """Seconds for one answer, from the first byte sent to the last received."""


class ResponderOptions(Value, frozen=True, kw_only=True):
    """The responder's webhook, as Kibana reaches it."""

    url: str
    """`https://HOST:8443/v1/alerts`."""
    username: str
    password_file: str
    ca_file: str = ""
    """PEM file of the authority that signed the responder's certificate, where Kibana's system does not know it."""
