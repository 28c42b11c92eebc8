"""What BPFDoor and its relatives do, by which rules it is told, seen from where; and what no rule tells, and why.

The behaviours are those of public reports (Elastic, Rapid7, KISA, Trend Micro, Sandfly). Which rules answer one is said
here; from where they see is read off the rules.
"""

from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

import msgspec


class Behaviour(msgspec.Struct, frozen=True):
    """One thing that it does."""

    name: str
    rules: tuple[str, ...] = ()
    """Any of them tells it."""
    beyond: str = ""
    """What of it, or all of it, no rule tells, and why."""
    unseen_from: tuple[str, ...] = ()
    """Viewpoints that its rules read for something else."""


BEHAVIOURS: Final = (
    Behaviour("copies itself to /dev/shm, or runs from a memfd", ("shared_memory_execution",)),
    Behaviour(
        "removes its own file and listens",
        ("packet_socket_deleted_program", "shared_memory_execution"),
        "a removed program outside shared memory without a packet or raw socket: package upgrades look the same",
        unseen_from=("Elastic Defend",),
    ),
    Behaviour("bears a false name", ("masquerade",)),
    Behaviour("leaves an empty PID or lock file in /run", ("abnormal_pid_file",)),
    Behaviour(
        "does these within minutes, and then listens",
        ("backdoor_start",),
        "where Elastic Defend or Doorwatch is missing: a sequence needs both",
    ),
    Behaviour(
        "sets file times back",
        ("timestomp_in_process",),
        "times of files elsewhere than in /run, without Auditd Manager",
    ),
    Behaviour("forks, calls setsid, empties its environment, closes its streams", (), "most daemons do the same"),
    Behaviour("filters packets for a secret", ("socket_filter_secret", "backdoor_process")),
    Behaviour("filters packets otherwise, or with eBPF", ("bpf_on_raw_socket", "backdoor_process")),
    Behaviour("hides who holds the socket", ("orphan_socket", "hidden_socket", "hidden_process")),
    Behaviour(
        "opens a shell that leaves no history",
        ("shell_without_history",),
        "a shell with other variables: administrators set the same ones",
    ),
    Behaviour(
        "redirects a port to the shell for one address",
        ("short_lived_redirect",),
        "IPv6, iptables-restore, DNAT, and rules made over netlink without a program",
    ),
    Behaviour(
        "carries RC4 or LibTomCrypt", (), "bytes of a file or of memory are for YARA, not for a rule over fields"
    ),
    Behaviour(
        "controller on a pivot host (abrtd, its options)",
        ("masquerade",),
        "a controller under another name: it holds no socket while it waits",
        unseen_from=("Elastic Defend",),
    ),
    Behaviour(
        "variant H: beacons, without a filter",
        ("masquerade", "shared_memory_execution", "abnormal_pid_file"),
        "the beacon itself is ordinary DNS or TLS; only what it shares with the others is told",
    ),
    Behaviour("hides a process or a module", ("hidden_process", "hidden_module")),
    Behaviour("hooks the kernel", ("kernel_hook_drift", "kernel_text_change")),
    Behaviour("hides eBPF programs, maps or links", ("bpf_object_mismatch",)),
    Behaviour(
        "lies to programs by a preloaded library (Symbiote)",
        (),
        "the bridge asks the kernel, not libpcap, and so sees the socket; the library itself is for osquery's packs",
    ),
    Behaviour(
        "ends or blinds what watches",
        ("agent_silent", "sensor_blinded"),
        "a bridge that was stopped: Doorwatch Bridge Fell Silent, in Kibana only",
    ),
)
_LEFT: Final = 400
_COLUMN: Final = 104
_ROW: Final = 24
_TOP: Final = 64


def seen_from(behaviour: Behaviour, viewpoints: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The viewpoints from which a behaviour is seen.

    Args:
        behaviour: One of them.
        viewpoints: Those of each rule, by its name.
    """
    return {view for rule in behaviour.rules for view in viewpoints[rule]} - set(behaviour.unseen_from)


def render_behaviours(viewpoints: Mapping[str, tuple[str, ...]], columns: tuple[str, ...]) -> list[str]:
    """The table of docs/coverage.md, a line each."""
    return [
        f"| behaviour | rules | {' | '.join(columns)} | no rule tells |",
        f"|---|---|{'---|' * len(columns)}---|",
        *(
            f"| {one.name} | {', '.join(f'`{rule}`' for rule in one.rules) or '**none**'} | "
            f"{' | '.join('yes' if view in seen_from(one, viewpoints) else '' for view in columns)} | {one.beyond} |"
            for one in BEHAVIOURS
        ),
    ]


def picture(viewpoints: Mapping[str, tuple[str, ...]], columns: tuple[str, ...]) -> str:
    """The same at one look: a dot where a viewpoint sees a behaviour, an empty ring in rows that no rule answers."""
    width, height = _LEFT + _COLUMN * len(columns) + 16, _TOP + _ROW * len(BEHAVIOURS) + 16
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="13" role="img">'
        ),
        "<title>Behaviours of BPFDoor and its relatives, and from where Doorwatch's rules see them</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for at, view in enumerate(columns):
        x = _LEFT + _COLUMN * at + _COLUMN // 2
        for line, word in enumerate(_two_lines(view)):
            parts.append(
                f'<text x="{x}" y="{24 + 16 * line}" text-anchor="middle" fill="#343741">{escape(word)}</text>'
            )
    for row, one in enumerate(BEHAVIOURS):
        y = _TOP + _ROW * row
        if row % 2 == 0:
            parts.append(f'<rect x="8" y="{y - 4}" width="{width - 16}" height="{_ROW}" fill="#f5f7fa"/>')
        colour = "#343741" if one.rules else "#bd271e"
        parts.append(f'<text x="16" y="{y + 13}" fill="{colour}">{escape(one.name)}</text>')
        seen = seen_from(one, viewpoints)
        for at, view in enumerate(columns):
            x = _LEFT + _COLUMN * at + _COLUMN // 2
            if view in seen:
                parts.append(f'<circle cx="{x}" cy="{y + 8}" r="6" fill="#006bb4"/>')
            elif not one.rules:
                parts.append(f'<circle cx="{x}" cy="{y + 8}" r="5" fill="none" stroke="#bd271e"/>')
    return "\n".join([*parts, "</svg>", ""])


def _two_lines(words: str) -> tuple[str, str]:
    first, _, second = words.partition(" ")
    return first, second
