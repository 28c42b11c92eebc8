"""What `doorwatch doctor` asks of this machine: what each sensor and tool can do here, why not, what to do about it."""

import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from beat_bridge.model.base import Value
from beat_bridge.model.coverage import Coverage, CoverageStatus
from beat_bridge.sensors.host import capabilities
from beat_bridge.terminal import print_json_lines, print_table

EXTRAS = {
    # extra: (a module it brings, what it is for)
    "elasticsearch": ("elasticsearch", "shipping to Elasticsearch, `doorwatch setup elasticsearch`"),
    "hypervisor": ("drgn", "looking at guests and memory images"),
    "kibana": ("jinja2", "`doorwatch setup kibana`, `doorwatch package`"),
    "libvirt": ("libvirt", "looking at guests of libvirt (not at those behind QMP sockets)"),
    "osquery": ("osquery", "`doorwatch osquery extension`"),
    "responder": ("starlette", "`doorwatch respond`"),
}


DISTRIBUTIONS = {"libvirt": "libvirt-python"}
"""Packages whose module has another name."""


class State(StrEnum):
    """How a check came out."""

    WORKS = "works"
    PARTLY = "partly"
    NO = "no"


class Check(Value, frozen=True, kw_only=True):
    """One thing that was tried."""

    name: str
    state: State
    detail: str = ""
    """What was seen; why not, and what to do about it, where it does not work."""


Checks = Sequence[Callable[[], Sequence[Check]]]
"""What the doctor runs, in order. The front door adds the targets that a configuration names."""


def report(output: str, checks: Checks) -> None:
    """Run checks and print how they came out.

    Args:
        output: `table` or `json`.
        checks: Each returns one or more results and raises nothing.
    """
    results = [result for check in checks for result in check()]
    if output == "json":
        print_json_lines(results)
        return
    print_table(
        "What works here", ("", "state", "detail"), [(each.name, each.state.value, each.detail) for each in results]
    )


def sensors() -> tuple[Check, ...]:
    """Every sensor of this host, by one look."""
    return tuple(_of_sensor(coverage) for coverage in capabilities())


def _of_sensor(coverage: Coverage) -> Check:
    states = {
        CoverageStatus.COMPLETE: State.WORKS,
        CoverageStatus.PARTIAL: State.PARTLY,
        CoverageStatus.NONE: State.NO,
    }
    detail = coverage.detail or f"{coverage.examined} examined"
    return Check(name=f"sensor {coverage.sensor}", state=states[coverage.status], detail=detail)


def kernel() -> tuple[Check, ...]:
    """The kernel, and its settings that decide what may be looked at."""
    return (
        Check(name="kernel", state=State.WORKS, detail=os.uname().release),
        _yama(_setting("kernel/yama/ptrace_scope")),
        _user_namespaces(),
    )


def _yama(scope: str) -> Check:
    if scope in {"", "0"}:
        return Check(name="yama", state=State.WORKS, detail="does not restrict looking at processes")
    if scope == "3":
        detail = "kernel.yama.ptrace_scope is 3: nobody may take a socket from another process until the next boot"
        return Check(name="yama", state=State.NO, detail=detail)
    detail = f"kernel.yama.ptrace_scope is {scope}: only root may take sockets from processes it did not start"
    return Check(name="yama", state=State.WORKS if os.geteuid() == 0 else State.PARTLY, detail=detail)


_USER_NAMESPACE_OBSTACLES = {
    # setting under /proc/sys: the value that forbids them
    "user/max_user_namespaces": "0",
    "kernel/unprivileged_userns_clone": "0",
    "kernel/apparmor_restrict_unprivileged_userns": "1",
}


def _user_namespaces() -> Check:
    forbidding = [name for name, value in _USER_NAMESPACE_OBSTACLES.items() if _setting(name) == value]
    if forbidding:
        settings = ", ".join(f"{name.replace('/', '.')}={_USER_NAMESPACE_OBSTACLES[name]}" for name in forbidding)
        detail = f"{settings}: the demo and the live tests need root here"
        return Check(name="user namespaces", state=State.PARTLY, detail=detail)
    return Check(name="user namespaces", state=State.WORKS, detail="no setting keeps an ordinary user from making them")


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


def tools() -> Iterator[Check]:
    """Programs and optional Python packages."""
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nft:
        yield Check(name="nft", state=State.WORKS, detail=nft)
    else:
        detail = "not installed: network isolation needs it (Debian, Ubuntu: apt install nftables)"
        yield Check(name="nft", state=State.NO, detail=detail)
    for extra, (module, purpose) in EXTRAS.items():
        if importlib.util.find_spec(module):
            version = importlib.metadata.version(DISTRIBUTIONS.get(module, module))
            yield Check(name=f"extra {extra}", state=State.WORKS, detail=f"{module} {version}")
        else:
            detail = f"not installed; {purpose} needs it: pip install 'doorwatch[{extra}]'"
            yield Check(name=f"extra {extra}", state=State.NO, detail=detail)


def local_tools() -> tuple[Check, ...]:
    """`tools`, all of them."""
    return tuple(tools())


LOCAL_CHECKS: Checks = (sensors, kernel, local_tools)
