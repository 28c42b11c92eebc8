"""The responder's part of the configuration."""

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value


class ResponderOptions(Value, frozen=True, kw_only=True):
    """Where the responder listens, whom it believes, what it may do, and where it keeps its records."""

    state_dir: str = ""
    """A private directory: journal, audit file, evidence; empty for `responder` in the bridge's own state directory."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8443
    """0 takes any free port."""
    tls_certificate: str = ""
    """PEM file: the certificate and its chain."""
    tls_key: str = ""
    """PEM file, readable by its owner alone."""
    allow_plaintext: bool = False
    """Serve without TLS; only on a loopback address."""
    token_file: str = ""
    """A file with the bearer token that senders must show."""
    username: str = ""
    """Who senders must be, instead of showing a token."""
    password_file: str = ""
    """With `username`: basic authentication, as Kibana's webhook connector speaks it."""
    playbooks: tuple[str, ...] = ()
    """Playbook files, the first that matches an alert wins; empty for those that are shipped."""
    host_id: str = ""
    """This host's `host.id`; empty for /etc/machine-id, which is what Elastic Agent reports."""
    maximum_pending: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    """Alerts accepted and not yet worked on; beyond it senders are told to come back (503)."""

    @property
    def journal_file(self) -> Path:
        """SQLite: alerts, incidents, steps and leases."""
        return Path(self.state_dir) / "journal.sqlite"

    @property
    def audit_file(self) -> Path:
        """The hash chain."""
        return Path(self.state_dir) / "audit.jsonl"

    @property
    def evidence_dir(self) -> Path:
        """One directory for each incident."""
        return Path(self.state_dir) / "evidence"

    @property
    def serves_tls(self) -> bool:
        """A certificate was given."""
        return bool(self.tls_certificate)


def check(options: ResponderOptions) -> None:
    """Refuse a configuration that would listen without protection.

    Raises:
        DoorwatchError: Says which option, and what to set.
    """
    if bool(options.tls_certificate) != bool(options.tls_key):
        raise DoorwatchError("responder: tls_certificate and tls_key belong together: give both, or neither")
    if bool(options.username) != bool(options.password_file):
        raise DoorwatchError("responder: username and password_file belong together: give both, or neither")
    if not options.token_file and not options.username:
        raise DoorwatchError("responder: nobody could authenticate: set token_file, or username and password_file")
    if options.serves_tls:
        return
    if not options.allow_plaintext:
        raise DoorwatchError(
            "responder: no TLS certificate: set tls_certificate and tls_key, "
            "or allow_plaintext: true while listening on a loopback address"
        )
    if not _is_loopback(options.host):
        raise DoorwatchError(
            f"responder: plaintext on {options.host} would show the token to the network: "
            "set tls_certificate and tls_key, or host: 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may lead anywhere
