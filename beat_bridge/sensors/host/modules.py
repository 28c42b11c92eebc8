"""Which kernel modules are loaded, by the two lists that this kernel shows. Sensor `modules`.

/proc/modules is the kernel's list; /sys/module has a directory for each, beside those of what is built in. What a
rootkit takes out of one is often still in the other; what it takes out of both is seen from outside alone.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.model.kernel import KernelModule
from beat_bridge.sensors.host import proc

SENSOR = "modules"
MOST_MODULES = 1 << 14
_LIST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class ModuleLook:
    """The outcome of one look at all modules."""

    modules: tuple[KernelModule, ...]
    coverage: Coverage


def look_at_modules(root: str = "") -> ModuleLook:
    """Look at every loaded module.

    Args:
        root: Where `/proc` and `/sys` lie; for tests.
    """
    problems: list[tuple[Reason, str]] = []
    listed: dict[str, KernelModule] = {}
    directories: set[str] = set()
    try:
        raw = proc.read(f"{root}/proc/modules", _LIST_BYTES)
        listed = parse_modules(raw)
        if len(raw) >= _LIST_BYTES:
            problems.append((Reason.FAILED, "/proc/modules is longer than one look takes"))
    except OSError as error:
        problems.append(_problem("/proc/modules", error))
    try:
        directories = _loaded(f"{root}/sys/module")
    except OSError as error:
        problems.append(_problem("/sys/module", error))
    if not modules_possible(root) and not listed and not directories:
        problems = []
    names = sorted(listed.keys() | directories)[:MOST_MODULES]
    modules = tuple(_module(name, listed.get(name), f"{root}/sys/module/{name}", name in directories) for name in names)
    status = CoverageStatus.PARTIAL if problems else CoverageStatus.COMPLETE
    coverage = Coverage(
        sensor=SENSOR,
        status=CoverageStatus.NONE if problems and not modules else status,
        reason=problems[0][0] if problems else None,
        detail="; ".join(detail for _, detail in problems),
        examined=len(modules),
    )
    return ModuleLook(modules, coverage)


def parse_modules(raw: bytes) -> dict[str, KernelModule]:
    """The lines of /proc/modules (m_show, kernel/module/procfs.c), by name: `name size refs users state address`."""
    found: dict[str, KernelModule] = {}
    for fields in proc.lines(raw):
        if len(fields) < 6 or len(found) >= MOST_MODULES:
            continue
        address = int(fields[5], 16) if fields[5].startswith("0x") and _is_hexadecimal(fields[5][2:]) else 0
        # kptr_restrict shows others' addresses as zero
        found[fields[0]] = KernelModule(name=fields[0], state=fields[4].lower(), text_address=address)
    return found


def _is_hexadecimal(text: str) -> bool:
    return 0 < len(text) <= 16 and all(digit in "0123456789abcdefABCDEF" for digit in text)


def _loaded(directory: str) -> set[str]:
    """Modules under /sys/module: what is built in has no `initstate` there (kernel/module/sysfs.c, kernel/params.c).

    Raises:
        OSError: It cannot be listed.
    """
    found: set[str] = set()
    with os.scandir(directory) as entries:
        for entry in entries:
            if len(found) < MOST_MODULES and Path(entry.path, "initstate").exists():
                found.add(proc.text(os.fsencode(entry.name)))
    return found


def _module(name: str, listed: KernelModule | None, directory: str, in_sys: bool) -> KernelModule:
    try:
        instance = Path(directory).stat().st_ino if in_sys else 0
    except OSError:
        instance = 0  # removed in the meantime
    return KernelModule(
        name=name,
        state=listed.state if listed else "",
        text_address=listed.text_address if listed else 0,
        instance=instance,
        seen_by=tuple(
            interface for interface, shows in (("proc_modules", listed is not None), ("sys_module", in_sys)) if shows
        ),
    )


def modules_possible(root: str = "") -> bool:
    """Whether this kernel can load modules at all: without CONFIG_MODULES it has neither the list nor the switches."""
    return any(
        os.path.lexists(f"{root}/proc/{name}")
        for name in ("modules", "sys/kernel/modprobe", "sys/kernel/modules_disabled")
    )


def _problem(path: str, error: OSError) -> tuple[Reason, str]:
    missing = isinstance(error, FileNotFoundError)
    reason = Reason.UNSUPPORTED if missing else Reason.REFUSED if isinstance(error, PermissionError) else Reason.FAILED
    return reason, f"{path}: {error.strerror}"
