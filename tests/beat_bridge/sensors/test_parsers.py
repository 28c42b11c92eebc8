"""The text of /proc, as the kernel writes it and as a hostile process can make it."""

import contextlib
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beat_bridge.sensors.host import network, pid_files, proc, processes

names = st.binary(min_size=0, max_size=15).filter(lambda name: b"\0" not in name)


@given(names, st.integers(0, 2**22), st.integers(0, 2**63), st.integers(0, 2**32 - 1))
def test_no_name_can_forge_a_stat_line(name: bytes, parent: int, start: int, flags: int) -> None:
    """Parent, flags and start time are read rightly whatever parentheses, spaces or line breaks a name holds."""
    line = b"7 (%s) S %d 3 4 5 6 %d" % (name, parent, flags)
    line += b" 0 0 0 0 0 0 0 0 20 0 2 0 %d 1 2 3\n" % start
    found = proc.parse_stat(line)
    assert (found.pid, found.parent_pid, found.start_ticks, found.flags) == (7, parent, start, flags)
    assert (found.state, found.threads, found.name) == ("S", 2, proc.text(name))
    assert found.kernel_thread == bool(flags & 0x00200000)


@given(st.binary(max_size=200))
def test_a_broken_stat_line_is_an_error(raw: bytes) -> None:
    """Bytes that are no stat line raise ValueError and nothing else."""
    with contextlib.suppress(ValueError):
        proc.parse_stat(raw)


@given(st.binary(max_size=100))
def test_text_can_always_be_encoded(raw: bytes) -> None:
    """Text made from any bytes is UTF-8 again, and valid UTF-8 is left as it is."""
    told = proc.text(raw)
    told.encode("utf-8")
    try:
        assert raw.decode("utf-8") == told
    except UnicodeDecodeError:
        assert "\\x" in told


@given(st.binary(max_size=400))
def test_tables_of_any_bytes_raise_nothing(raw: bytes) -> None:
    """Lock, packet, raw, mount, environment and status tables of any content are read as far as they make sense."""
    pid_files.parse_locks(raw)
    network.parse_proc_packet(raw, 1)
    network.parse_proc_raw(raw, 1, socket.AF_INET)
    network.parse_bound_namespaces(list(proc.lines(raw)))
    processes.parse_environment(raw)
    processes.parse_effective_user(raw)
    processes.parse_arguments(raw)


def test_locks_are_read_by_device_and_inode() -> None:
    """Holders of advisory locks are told; waiters, leases and descriptions without a process are not."""
    raw = b"""1: POSIX  ADVISORY  WRITE 412 fd:01:77 0 EOF
1: -> POSIX  ADVISORY  WRITE 999 fd:01:77 0 EOF
2: FLOCK  ADVISORY  WRITE 413 fd:01:77 0 EOF
3: OFDLCK ADVISORY  READ -1 fd:01:77 0 EOF
4: LEASE  ACTIVE    READ 5 fd:01:77 0 EOF
5: FLOCK  ADVISORY  WRITE 9 00:1a:5 0 EOF
"""
    assert pid_files.parse_locks(raw) == {
        (os.makedev(0xFD, 1), 77): frozenset({412, 413}),
        (os.makedev(0, 0x1A), 5): frozenset({9}),
    }


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", ()),
        (b"/sbin/udevd\0-d\0", ("/sbin/udevd", "-d")),
        (b"nginx: worker process", ("nginx: worker process",)),
        (b"a\0\0b\0", ("a", "", "b")),
        (b"\xff\0", ("\\xff",)),
    ],
)
def test_arguments_are_split_at_zero_bytes(raw: bytes, expected: tuple[str, ...]) -> None:
    """Arguments, empty ones and rewritten titles among them, come out as the process shows them."""
    assert processes.parse_arguments(raw) == expected


def test_arguments_are_bounded() -> None:
    """However many arguments there are, at most MAX_ARGUMENTS are kept."""
    assert len(processes.parse_arguments(b"x\0" * (2 * processes.MAX_ARGUMENTS))) == processes.MAX_ARGUMENTS


def test_an_environment_tells_signs_and_no_secrets() -> None:
    """Only the fixed signs are kept, whole and sorted; values that merely begin like one are not."""
    raw = b"SECRET=hunter2\0MYSQL_HISTFILE=/dev/null\0HISTFILE=/dev/null2\0HOME=/tmp\0"
    found = processes.parse_environment(raw)
    assert found.count == 4
    assert found.signs == ("HOME=/tmp", "MYSQL_HISTFILE=/dev/null")


def test_bound_namespaces_are_found_in_a_mount_table() -> None:
    """A namespace mounted on a name (`ip netns`) is found, and no other mount is taken for one."""
    raw = b"""35 25 0:4 net:[4026532455] /run/netns/blue\\040sky rw shared:13 - nsfs nsfs rw
36 25 0:4 mnt:[4026532456] /run/x rw - nsfs nsfs rw
37 25 8:1 / / rw - ext4 /dev/sda1 rw
"""
    assert network.parse_bound_namespaces(proc.lines(raw)) == [(4026532455, "/run/netns/blue sky")]
