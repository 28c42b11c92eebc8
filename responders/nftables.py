"""Leases in the kernel: a ruleset that drops while a set has elements, and elements that the kernel's timer removes.

For one lease there is one table of family inet and, where the kernel has the hook, one of family netdev, both named
after the incident. In each, the dropping rules ask whether 0 is in a set (`meta mark & 0 @lease`: true for every packet
while the set has its one element), and the set is empty once the timeout has passed; what is left then lets everything
through. Nothing that a hostile host could name, like an interface, is a key. Both tables change in one transaction.

What is covered, by where the kernel calls the hooks (net/core/dev.c, net/ipv4, net/ipv6):

- inet prerouting and output see every IP packet that arrives, is forwarded or is sent by IP sockets, raw ones too;
- netdev egress sees every frame on its way to a device, so also those that packet sockets send;
- since Linux 6.16 an interface that is renamed leaves the netdev chain that names it (IP stays cut off by the inet
  table): who may rename an interface may also delete the tables;
- packet sockets receive before any of these: an isolated process may still hear, but it cannot answer.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from beat_bridge.model.base import Value
from responders.namespaces import NetworkNamespace
from responders.outcomes import ActionFailedError
from responders.playbooks.model import Peer

PRIORITY = -450
"""Before connection tracking, address translation and everybody's firewall (raw is -300, defragmentation -400)."""
TIMEOUT = 10.0
"""Seconds that one nft command may take."""
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NEIGHBOURS = "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept"


class LeaseView(Value, frozen=True, kw_only=True):
    """What the kernel holds of a lease."""

    live: bool
    """It drops packets now."""
    remaining: float = 0.0
    """Whole seconds until the timer lapses, as the kernel tells them."""
    heard: int = 0
    """Packets dropped on arrival."""
    spoken: int = 0
    """Packets of IP sockets dropped on their way out."""
    raw: int = 0
    """Frames of packet sockets (and anything else that reached a device) dropped on their way out."""


def hold(
    namespace: NetworkNamespace,
    name: str,
    seconds: int,
    reachable_from: Sequence[Peer] = (),
    may_reach: Sequence[Peer] = (),
) -> bool:
    """Start a lease, replacing whatever stood under its name.

    Args:
        namespace: What is cut off: everything in it except loopback.
        name: Table name, `[a-z0-9_]+`.
        seconds: How long the kernel's timer runs.
        reachable_from: Peers that may connect to us; `ports` are ours.
        may_reach: Peers we may connect to; `ports` are theirs.

    Returns:
        Whether frames of packet sockets are covered too.

    Raises:
        ActionFailedError: nft is absent, not allowed, or the kernel lacks nf_tables.
    """
    arriving = [*_rules(reachable_from, "saddr", "dport"), *_rules(may_reach, "saddr", "sport")]
    leaving = [*_rules(reachable_from, "daddr", "sport"), *_rules(may_reach, "daddr", "dport")]
    inet = _inet_table(name, seconds, arriving, leaving)
    devices = namespace.plain_interfaces
    if devices:
        replaced = _gone("inet", name) + _gone("netdev", name)
        try:
            _apply(namespace, replaced + inet + _netdev_table(name, seconds, devices, leaving))
        except ActionFailedError:
            pass  # no egress hook before Linux 5.16; anything else that is wrong shows again below
        else:
            return True
    _apply(namespace, _gone("inet", name) + inet)
    return False


def renew(namespace: NetworkNamespace, name: str, seconds: int) -> None:
    """Let a live lease run for so many seconds from now.

    Raises:
        ActionFailedError: There is no live lease of this name any more, or nft failed.
    """
    view = look(namespace, name)
    if view is None or not view.live:
        raise ActionFailedError(f"the lease {name} has lapsed or was released: there is nothing to renew")
    # before Linux 6.13 adding an element that is there does not change its timeout: remove it and add it anew
    _apply(
        namespace,
        "".join(
            f"delete element {family} {name} lease {{ 0 }}\n"
            f"add element {family} {name} lease {{ 0 timeout {seconds}s }}\n"
            for family in _families(namespace, name)
        ),
    )


def release(namespace: NetworkNamespace, name: str) -> None:
    """Remove a lease and its tables at once; nothing happens where there are none.

    Raises:
        ActionFailedError: nft failed.
    """
    families = _families(namespace, name)
    if families:
        _apply(namespace, "".join(f"delete table {family} {name}\n" for family in families))


def look(namespace: NetworkNamespace, name: str) -> LeaseView | None:
    """What the kernel holds under this name; None where there is no such table.

    Raises:
        ActionFailedError: It could not be asked, which is not the same as absent.
    """
    families = _families(namespace, name)
    if not families:
        return None
    listing = [entry for family in families for entry in _ask(namespace, "list", "table", family, name)]
    counters = {entry["counter"]["name"]: entry["counter"]["packets"] for entry in listing if "counter" in entry}
    elements = [element for entry in listing if "set" in entry for element in entry["set"].get("elem", ())]
    # the kernel does not list elements whose time is over
    remaining = [element["elem"].get("expires", 0) for element in elements]
    return LeaseView(
        live=bool(remaining),
        remaining=float(max(remaining, default=0)),
        heard=counters.get("heard", 0),
        spoken=counters.get("spoken", 0),
        raw=counters.get("raw", 0),
    )


def _lease_set(seconds: int) -> str:
    return f"set lease {{ type mark; flags timeout; elements = {{ 0 timeout {seconds}s }}; }}"


def _inet_table(name: str, seconds: int, arriving: Iterable[str], leaving: Iterable[str]) -> str:
    allowed_in = "".join(f"    {rule}\n" for rule in arriving)
    allowed_out = "".join(f"    {rule}\n" for rule in leaving)
    return f"""table inet {name} {{
  {_lease_set(seconds)}
  counter heard {{ }}
  counter spoken {{ }}
  chain arriving {{
    type filter hook prerouting priority {PRIORITY}; policy accept;
    iif lo accept
{allowed_in}    meta mark & 0 @lease counter name heard drop
  }}
  chain leaving {{
    type filter hook output priority {PRIORITY}; policy accept;
    oif lo accept
{allowed_out}    meta mark & 0 @lease counter name spoken drop
  }}
}}
"""


def _netdev_table(name: str, seconds: int, devices: Sequence[str], leaving: Iterable[str]) -> str:
    rules = list(leaving)
    if any(rule.startswith("ip ") for rule in rules):
        rules.append("meta protocol arp accept")
    allowed = "".join(f"    {rule}\n" for rule in rules)
    quoted = ", ".join(f'"{device}"' for device in devices)
    return f"""table netdev {name} {{
  {_lease_set(seconds)}
  counter raw {{ }}
  chain egress {{
    type filter hook egress devices = {{ {quoted} }} priority {PRIORITY}; policy accept;
{allowed}    meta mark & 0 @lease counter name raw drop
  }}
}}
"""


def _rules(peers: Sequence[Peer], address: str, port: str) -> list[str]:
    """Accepting rules for peers; every value comes out of a parser, so that none can break out of its place."""
    rules = []
    for peer in peers:
        family = "ip" if peer.address.version == 4 else "ip6"
        match = f"{family} {address} {peer.address}"
        if peer.ports:
            match += f" {peer.protocol.value} {port} {{ {', '.join(map(str, peer.ports))} }}"
        rules.append(f"{match} accept")
    if any(rule.startswith("ip6 ") for rule in rules):
        rules.append(_NEIGHBOURS)
    return rules


def _gone(family: str, name: str) -> str:
    """Remove a table whether it is there or not (deleting one that is not there is an error, adding is not)."""
    return f"add table {family} {name}\ndelete table {family} {name}\n"


def _families(namespace: NetworkNamespace, name: str) -> list[str]:
    """The families in which a table of this name stands."""
    tables = [entry["table"] for entry in _ask(namespace, "list", "tables") if "table" in entry]
    present = {table["family"] for table in tables if table["name"] == name}
    return [family for family in ("inet", "netdev") if family in present]


def _ask(namespace: NetworkNamespace, *arguments: str) -> list[dict[str, Any]]:
    """Run a listing command and return its objects."""
    answer = _run(namespace, ["nft", "-j", *arguments], b"")
    try:
        entries = msgspec.json.decode(answer)["nftables"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ActionFailedError("nft answered with something that is not its JSON") from error
    return [entry for entry in entries if isinstance(entry, dict)]


def _apply(namespace: NetworkNamespace, ruleset: str) -> None:
    """Run one transaction: all of it happens, or nothing."""
    _run(namespace, ["nft", "-f", "-"], ruleset.encode("ascii"))


def _run(namespace: NetworkNamespace, arguments: Sequence[str], data: bytes) -> bytes:
    path = f"{os.environ.get('PATH', '')}:{_SEARCH_PATH}"  # ordinary users have no sbin in theirs
    program = shutil.which(arguments[0], path=path)
    if program is None:
        raise ActionFailedError("the command nft is not installed (Debian: apt install nftables)")
    command, descriptors = namespace.command([program, *arguments[1:]])
    try:
        answer = subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
            pass_fds=descriptors,
            env={"PATH": path, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise ActionFailedError(f"nft gave no answer within {TIMEOUT:g} s") from error
    except OSError as error:
        raise ActionFailedError(f"{command[0]} cannot be run: {error.strerror}") from error
    if answer.returncode:
        lines = answer.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
        raise ActionFailedError(f"nft refused: {lines[0] if lines else f'exit code {answer.returncode}'}")
    return answer.stdout
