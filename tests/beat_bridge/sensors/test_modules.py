"""Loaded modules, as /proc/modules and /sys/module show them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.model.base import Reason
from beat_bridge.model.coverage import CoverageStatus
from beat_bridge.sensors.host.modules import MOST_MODULES, look_at_modules, parse_modules

TWO = b"""\
nf_tables 303104 12 nft_ct,nft_chain_nat, Live 0xffffffffc0a01000
evil 16384 0 - Loading 0x0000000000000000 (OE)
"""


def _kernel(root: Path, listed: bytes | None, directories: dict[str, bool]) -> str:
    """A /proc and a /sys; of each directory under /sys/module, whether a module lies behind it."""
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/modprobe").touch()
    if listed is not None:
        (root / "proc/modules").write_bytes(listed)
    (root / "sys/module").mkdir(parents=True)
    for name, loaded in directories.items():
        (root / "sys/module" / name).mkdir()
        if loaded:
            (root / "sys/module" / name / "initstate").write_text("live\n")
    return str(root)


def test_both_lists_are_merged(tmp_path: Path) -> None:
    """Each module tells which list shows it, its state and address; what is built in is none."""
    look = look_at_modules(_kernel(tmp_path, TWO, {"nf_tables": True, "hid": True, "printk": False}))
    assert [(each.name, each.state, each.text_address, each.seen_by) for each in look.modules] == [
        ("evil", "loading", 0, ("proc_modules",)),
        ("hid", "", 0, ("sys_module",)),
        ("nf_tables", "live", 0xFFFFFFFFC0A01000, ("proc_modules", "sys_module")),
    ]
    assert look.modules[2].instance == (tmp_path / "sys/module/nf_tables").stat().st_ino
    assert look.coverage.status is CoverageStatus.COMPLETE


def test_a_list_that_is_missing_is_said(tmp_path: Path) -> None:
    """Where /proc/modules cannot be read although this kernel loads modules, the look is not complete."""
    look = look_at_modules(_kernel(tmp_path, None, {"nf_tables": True}))
    assert (look.coverage.status, look.coverage.reason) == (CoverageStatus.PARTIAL, Reason.UNSUPPORTED)
    assert "/proc/modules" in look.coverage.detail
    assert not look.coverage.listed


def test_a_kernel_without_modules_has_none(tmp_path: Path) -> None:
    """No list, no directory and no switch to turn loading off: there is nothing to be seen, and that is complete."""
    root = _kernel(tmp_path, None, {"printk": False})
    (tmp_path / "proc/sys/kernel/modprobe").unlink()
    look = look_at_modules(root)
    assert (look.modules, look.coverage.status) == ((), CoverageStatus.COMPLETE)


def test_without_proc_and_sys_nothing_is_clean(tmp_path: Path) -> None:
    """Neither list can be read while there is a switch for modules: nothing was looked at."""
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/modprobe").touch()
    assert look_at_modules(str(tmp_path)).coverage.status is CoverageStatus.NONE


@given(st.one_of(st.binary(max_size=400), st.text(alphabet="ab 0xLive\n-,", max_size=400).map(str.encode)))
def test_any_list_is_parsed(raw: bytes) -> None:
    """Whatever a kernel writes there: no failure, and no name that is not the first word of a line."""
    firsts = {line.split()[0].decode("utf-8", "backslashreplace") for line in raw.split(b"\n") if line.split()}
    assert all(any(name in first for first in firsts) for name in parse_modules(raw))


def test_a_list_without_end_is_bounded() -> None:
    """A million modules are not a million values."""
    assert len(parse_modules(b"".join(b"m%d 1 0 - Live 0x0\n" % number for number in range(MOST_MODULES + 99)))) == (
        MOST_MODULES
    )


@pytest.mark.live
def test_this_kernel_tells_what_lsmod_would() -> None:
    """On this kernel the names are those of /proc/modules, where there is one."""
    listed = Path("/proc/modules")
    told = {line.split()[0] for line in listed.read_text().splitlines()} if listed.exists() else set()
    look = look_at_modules()
    assert {each.name for each in look.modules if "proc_modules" in each.seen_by} == told
    assert look.coverage.status is CoverageStatus.COMPLETE
