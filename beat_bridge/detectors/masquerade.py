"""Does a process call itself something that it is not?

Three claims are held against the executable file, which a process cannot choose: the first argument, the name
(`comm`), and looking like a kernel thread. Confidence: 0.97 for a "kernel thread" that has an executable; 0.95 where a
system program is claimed and the file lies where no package puts one; 0.7 where a well-known daemon is claimed by
another program of the system; 0.6 where a system path is claimed by a program in a person's directory.

What stays quiet: interpreters (the script is the name), programs of many names (busybox), titles that daemons give
themselves (`nginx: worker process`), login shells (`-bash`), alternatives (`/usr/bin/vi`), a merged /usr.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from beat_bridge.detectors.interpreters import is_emulator, is_interpreter
from beat_bridge.detectors.locations import base_name, is_peoples, is_system, is_volatile
from beat_bridge.detectors.scene import Scene, called, capitalised, subject_of
from beat_bridge.detectors.shared_memory import is_container_runtime
from beat_bridge.model.base import Verdict
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.processes import Executable, Process

TASK_OR_SERVICE = "T1036.004"
"""ATT&CK: Masquerading: Masquerade Task or Service."""
NAME_OR_LOCATION = "T1036.005"
"""ATT&CK: Masquerading: Match Legitimate Resource Name or Location."""
OVERWRITTEN_ARGUMENTS = "T1036.011"
"""ATT&CK: Masquerading: Overwrite Process Arguments."""

DAEMONS: dict[str, frozenset[str]] = {
    # a claimed name -> names of the files that may claim it
    name: frozenset(files.split())
    for name, files in {
        "abrtd": "abrtd",
        "acpid": "acpid",
        "agetty": "agetty",
        "atd": "atd",
        "auditd": "auditd",
        "avahi-daemon": "avahi-daemon",
        "cmathreshd": "cmathreshd",
        "console-kit-daemon": "console-kit-daemon",
        "containerd": "containerd docker-containerd",
        "cron": "cron crond",
        "crond": "crond cron fcron",
        "dbus-daemon": "dbus-daemon dbus-broker dbus-broker-launch",
        "hald": "hald",
        "hald-addon-acpi": "hald-addon-acpi",
        "hald-runner": "hald-runner",
        "hpasmlited": "hpasmlited",
        "irqbalance": "irqbalance",
        "mingetty": "mingetty",
        "pickup": "pickup",
        "polkitd": "polkitd",
        "qmgr": "qmgr",
        "rsyslogd": "rsyslogd",
        "sgaSolAgent": "sgaSolAgent",
        "smartd": "smartd",
        "sshd": "sshd sshd-session sshd-auth",
        "systemd-journald": "systemd-journald",
        "systemd-logind": "systemd-logind",
        "systemd-resolved": "systemd-resolved",
        "systemd-udevd": "systemd-udevd udevadm",
        "udevd": "udevd systemd-udevd udevadm eudevd",
    }.items()
}
"""Daemons whose name is claimed by what does not want to be looked at, by public reports, and their like."""
_BY_COMM = {name[:15]: name for name in DAEMONS}
"""The same as `comm` shows them: TASK_COMM_LEN is 16 with the final NUL."""

_KERNEL_TITLE = re.compile(r"\[[A-Za-z_][^\s\[\]]*\]")
"""What ps(1) makes of a kernel thread's name; a real one has no arguments and no executable."""
_KERNEL_COMM = re.compile(
    r"(kworker/|ksoftirqd/|migration/|cpuhp/|idle_inject/|rcu_|rcuo|jbd2/|irq/|scsi_eh_|scsi_tmf_|xfs-|kthreadd$"
    r"|kswapd\d|khugepaged$|kauditd$|kdevtmpfs$|kcompactd\d|khungtaskd$|oom_reaper$|watchdogd?/|kblockd$)"
)
_MANY_NAMES = frozenset(
    [
        "busybox",
        "coreutils",
        "exim4",
        "k3s",
        "rke2",
        "sbase-box",
        "systemd",
        "systemd-executor",
        "toybox",
        "udevadm",
        "uutils",
    ]
)
"""Programs with many names; systemd between fork and exec carries the name of what it is about to run."""


class _Claim(NamedTuple):
    """What a process says it is."""

    word: str
    """A name or a path."""
    told_by: str
    """`first argument` or `name`."""


def find(scene: Scene) -> Iterator[Finding]:
    """A finding for each process that is not what it says."""
    for process in scene.inventory.processes:
        executable = process.executable
        # without an executable there is nothing to hold a name against: coverage says where it could not be read
        if process.kernel_thread or not isinstance(executable, Executable) or is_container_runtime(scene, process):
            continue
        found = _as_kernel_thread(scene, process, executable) or _as_program(scene, process, executable)
        if found is not None:
            yield found


def _as_kernel_thread(scene: Scene, process: Process, executable: Executable) -> Finding | None:
    args = process.args if isinstance(process.args, tuple) else ("",)
    title = " ".join(args).strip()
    if _KERNEL_TITLE.fullmatch(title):
        claim = f"it calls itself {title}, as ps shows kernel threads"
    elif not title and isinstance(process.args, tuple) and _KERNEL_COMM.match(process.name.strip("[]")):
        claim = f"it is named {process.name} like a kernel thread, and its arguments are empty"
    else:
        return None
    return scene.finding(
        FindingKind.MASQUERADE,
        subject_of(process),
        verdict=Verdict.MALICIOUS,
        confidence=0.97,
        explanation=f"{capitalised(called(process))} poses as a kernel thread, but kernel threads have no executable.",
        reasons=(claim, f"it runs {executable.path}, and the kernel does not mark it as a thread of its own"),
        techniques=(TASK_OR_SERVICE, OVERWRITTEN_ARGUMENTS),
        process=process,
    )


def _as_program(scene: Scene, process: Process, executable: Executable) -> Finding | None:
    astray = executable.memfd or is_volatile(executable.path)
    claims = list(_claims(process, executable))
    if not astray and may_have_any_name(executable.path):
        # a script may take a title as any program may; one that captures packets has no business with a daemon's
        poses = is_interpreter(executable.path) and not is_emulator(executable.path) and scene.captures(process)
        claims = [each for each in claims if poses and each.told_by == "first argument" and _is_daemon(each.word)]
    for claim in claims:
        verdict, confidence, why = _weigh(claim.word, executable, astray=astray)
        if verdict is Verdict.BENIGN:
            continue
        techniques = [NAME_OR_LOCATION if "/" in claim.word else TASK_OR_SERVICE]
        if claim.told_by == "first argument":
            techniques.append(OVERWRITTEN_ARGUMENTS)
        return scene.finding(
            FindingKind.MASQUERADE,
            subject_of(process),
            verdict=verdict,
            confidence=confidence,
            explanation=f"{capitalised(called(process))} calls itself {claim.word}, which is another program.",
            reasons=(f"its {claim.told_by} says {claim.word}", f"it runs {executable.path}", why),
            techniques=techniques,
            process=process,
        )
    return None


def _weigh(claim: str, executable: Executable, *, astray: bool) -> tuple[Verdict, float, str]:
    """What a claim is worth against the file that runs."""
    claimed, actual = base_name(claim), base_name(executable.path)
    expected = DAEMONS.get(claimed)
    if astray and (expected is not None or is_system(claim)):
        where = "is a memfd" if executable.memfd else "lies where no package puts a program"
        return Verdict.MALICIOUS, 0.95, f"the file that runs {where}"
    if expected is not None and actual not in expected:
        return Verdict.SUSPICIOUS, 0.7, f"{claimed} is the name of {' or '.join(sorted(expected))}, not of {actual}"
    if is_system(claim) and is_peoples(executable.path) and claimed != actual:
        return Verdict.SUSPICIOUS, 0.6, "it claims a system path and runs from a person's directory"
    return Verdict.BENIGN, 0.0, ""


def _is_daemon(word: str) -> bool:
    return base_name(word) in DAEMONS


def _claims(process: Process, executable: Executable) -> Iterator[_Claim]:
    if isinstance(process.args, tuple) and process.args and process.args[0] != executable.path:
        yield _Claim(title_word(process.args[0]), "first argument")
    name = process.name.strip("()")
    yield _Claim(_BY_COMM.get(name, name), "name")


def title_word(title: str) -> str:
    """The program that a title names: `nginx: worker process` names nginx, `-bash` bash, `@dbus-daemon` dbus-daemon."""
    words = title.split()
    return words[0].lstrip("-@(").rstrip(":)") if words else ""


def may_have_any_name(path: str) -> bool:
    """An interpreter, or a program that does what its first argument says."""
    name = base_name(path)
    return name in _MANY_NAMES or is_interpreter(name)
