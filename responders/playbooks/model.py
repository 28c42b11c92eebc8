"""What a playbook says, as typed values. Whatever would make one dangerous is refused when it is loaded."""

import ipaddress
from enum import StrEnum
from typing import Annotated

import msgspec

from beat_bridge.model.base import Value, Verdict
from responders.alerts import Severity

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+$")]


class Transport(StrEnum):
    """A transport protocol with ports."""

    TCP = "tcp"
    UDP = "udp"


class Peer(Value, frozen=True, kw_only=True):
    """Addresses that stay reachable while a host is isolated."""

    network: str
    """`10.0.5.0/24`, `2001:db8::/32`, or a single address."""
    protocol: Transport = Transport.TCP
    ports: Annotated[tuple[Port, ...], msgspec.Meta(max_length=64)] = ()
    """Empty for every protocol and port."""

    def __post_init__(self) -> None:
        """A network that is none, or is all of them, is a mistake."""
        if "%" in self.network:
            raise ValueError(f"{self.network} names a zone, which may hold any text: give the address alone")
        network = ipaddress.ip_network(self.network)  # its ValueError says what is wrong
        if network.prefixlen == 0:
            raise ValueError(f"{self.network} is every address: nothing would be isolated")

    @property
    def address(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The network as a value."""
        return ipaddress.ip_network(self.network)


class CaptureEvidence(Value, frozen=True, kw_only=True, tag="capture_evidence", tag_field="action"):
    """Keep what an analyst will need, before anything changes it."""

    time_cap_seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    size_cap_bytes: Annotated[int, msgspec.Meta(ge=4096, le=1 << 33)] = 256 << 20
    """For all files of one capture together."""
    environment: bool = False
    """Also /proc/PID/environ, which may hold secrets of the host's owner."""
    freeze: bool = False
    """Stop the process (SIGSTOP) while it is looked at; it goes on afterwards."""


class StopSignal(StrEnum):
    """How a process is stopped."""

    KILL = "kill"
    """SIGKILL at once: a backdoor is not asked to tidy up."""
    TERMINATE = "terminate"
    """SIGTERM, and SIGKILL after the grace time."""


class StopProcess(Value, frozen=True, kw_only=True, tag="stop_process", tag_field="action"):
    """End the process that the alert names."""

    signal: StopSignal = StopSignal.KILL
    grace_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 3.0
    """How long each signal may take to work."""


class Scope(StrEnum):
    """Which network namespace is isolated."""

    PROCESS = "process"
    """The one that the process is in: a container's, or the host's for a process of the host."""
    HOST = "host"
    """The responder's own."""


class IsolateNetwork(Value, frozen=True, kw_only=True, tag="isolate_network", tag_field="action"):
    """Cut the network off for a time that the kernel itself keeps."""

    lease_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)]
    scope: Scope = Scope.PROCESS
    reachable_from: Annotated[tuple[Peer, ...], msgspec.Meta(max_length=64)] = ()
    """Who may still connect to this host, and to which of its ports (management)."""
    may_reach: Annotated[tuple[Peer, ...], msgspec.Meta(max_length=64)] = ()
    """Which services this host may still connect to (Elasticsearch, a resolver)."""


class VerifyCure(Value, frozen=True, kw_only=True, tag="verify_cure", tag_field="action"):
    """Look again: is what was found gone?"""


Step = CaptureEvidence | StopProcess | IsolateNetwork | VerifyCure


class Match(Value, frozen=True, kw_only=True):
    """Which alerts a playbook answers: all of these must hold."""

    rules: tuple[str, ...] = ()
    """Rule names or ids, with * and ? as wildcards; empty for every rule."""
    minimum_severity: Severity = Severity.LOW
    minimum_risk_score: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0
    minimum_verdict: Verdict | None = None
    """Alerts that carry no verdict (Elastic Defend's own) are then not answered."""
    hosts: tuple[str, ...] = ()
    """Host names or ids, with wildcards; empty for every host."""
    never_hosts: tuple[str, ...] = ()
    never_executables: tuple[str, ...] = ()
    """Paths, with wildcards, whose processes are never acted on."""


class Budget(Value, frozen=True, kw_only=True):
    """How much may be isolated before a person has to look."""

    isolations: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 5
    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=604_800)] = 3600


class Playbook(Value, frozen=True, kw_only=True):
    """What is done about which alerts, in this order."""

    name: Name
    description: str = ""
    dry_run: bool = False
    """Record what would be done, and do nothing."""
    match: Match = Match()
    budget: Budget = Budget()
    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=16)]

    def __post_init__(self) -> None:
        """Evidence comes first, and no action comes twice."""
        kinds = [type(step) for step in self.steps]
        if len(set(kinds)) < len(kinds):
            raise ValueError("an action stands in steps twice: an incident has each action once")
        acts = [kind for kind in kinds if kind in (StopProcess, IsolateNetwork)]
        if acts and kinds[0] is not CaptureEvidence:
            raise ValueError(f"capture_evidence must be the first step, before {action_of(acts[0])}")
        if VerifyCure in kinds and kinds[-1] is not VerifyCure:
            raise ValueError("verify_cure must be the last step")


def action_of(step: Step | type[Step]) -> str:
    """A step's action as playbooks and documents name it."""
    return str(step.__struct_config__.tag)
