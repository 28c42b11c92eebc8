"""Network namespaces, held by a descriptor so that what was checked is what is entered."""

import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from responders.outcomes import ActionFailedError, GoneError, RefusedError
from responders.targets import OpenedProcess

NS_GET_USERNS = 0xB701  # include/uapi/linux/nsfs.h
CAP_SYS_ADMIN = 21  # include/uapi/linux/capability.h
_MAXIMUM_DEV_BYTES = 1 << 20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,14}")
"""What an interface name may be to be written into a ruleset; the kernel allows quotes and worse."""


class NetworkNamespace:
    """One network namespace, open."""

    def __init__(self, descriptor: int, interfaces: Sequence[str]) -> None:
        """Take over an open descriptor of a namespace file, and its interfaces' names."""
        self.descriptor = descriptor
        self.inode = os.fstat(descriptor).st_ino
        self.interfaces = tuple(name for name in interfaces if name != "lo")
        """Every interface but loopback."""
        self.owner = -1
        """Descriptor of the user namespace to enter first; -1 where none needs to be."""

    @classmethod
    def of_process(cls, process: OpenedProcess) -> Self:
        """The namespace a process is in, by the process's own opened directory.

        Raises:
            GoneError: It has ended.
            RefusedError: It moved to another namespace since it was looked at.
            ActionFailedError: It may not be opened.
        """
        try:
            namespace = cls(process.open("ns/net"), _interfaces(process.open("net/dev")))
        except ProcessLookupError as error:
            raise GoneError(f"process {process.pid} has ended") from error
        except OSError as error:
            raise ActionFailedError(
                f"the network namespace of process {process.pid} cannot be opened: {error.strerror}"
            ) from error
        expected = process.identity.network_namespace
        if namespace.inode != expected or process.look_again().network_namespace != expected:
            namespace.close()
            raise RefusedError(f"process {process.pid} moved to another network namespace")
        return namespace

    @classmethod
    def own(cls) -> Self:
        """The one this process is in."""
        flags = os.O_RDONLY | os.O_CLOEXEC
        return cls(os.open("/proc/self/ns/net", flags), _interfaces(os.open("/proc/self/net/dev", flags)))

    @classmethod
    def find(cls, inode: int) -> Self | None:
        """The namespace with this inode, through any process that is in it; None where no visible process is."""
        if os.stat("/proc/self/ns/net").st_ino == inode:  # noqa: PTH116 - a magic link, not a path
            return cls.own()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if (entry / "ns/net").stat().st_ino != inode:
                    continue
                with OpenedProcess(int(entry.name)) as process:
                    namespace = cls.of_process(process)
            except (OSError, RefusedError, ActionFailedError):
                continue  # it ended, or is not ours to look into: the next one may do
            if namespace.inode == inode:
                return namespace
            namespace.close()
        return None

    def duplicate(self) -> "NetworkNamespace":
        """The same namespace with a descriptor of its own."""
        copy = NetworkNamespace(os.dup(self.descriptor), ())
        copy.interfaces = self.interfaces
        return copy

    def __enter__(self) -> Self:
        """The namespace itself; closed when the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its descriptors."""
        self.close()

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (self.descriptor, self.owner):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self.owner = -1

    @property
    def plain_interfaces(self) -> tuple[str, ...]:
        """Interfaces whose names may be written into a ruleset."""
        return tuple(name for name in self.interfaces if _PLAIN_NAME.fullmatch(name))

    @property
    def odd_interfaces(self) -> tuple[str, ...]:
        """The others: somebody chose a name that tools trip over."""
        return tuple(name for name in self.interfaces if not _PLAIN_NAME.fullmatch(name))

    def command(self, arguments: Sequence[str]) -> tuple[list[str], tuple[int, ...]]:
        """A command line that runs a program in this namespace, and the descriptors it must inherit.

        The owning user namespace is entered only by those who have no power over it otherwise. Root stays outside:
        a process of root inside somebody's user namespace could be taken over by that somebody (ptrace).

        Raises:
            RefusedError: This user has no power over the namespace.
        """
        if self.inode == os.stat("/proc/self/ns/net").st_ino:  # noqa: PTH116 - a magic link, not a path
            return list(arguments), ()
        enter = ["nsenter", f"--net=/proc/self/fd/{self.descriptor}"]
        if _has_sys_admin():
            return [*enter, "--", *arguments], (self.descriptor,)
        if self.owner < 0:
            self.owner = self._open_owner()
        enter += [f"--user=/proc/self/fd/{self.owner}", "--preserve-credentials"]
        return [*enter, "--", *arguments], (self.descriptor, self.owner)

    def _open_owner(self) -> int:
        try:
            owner = fcntl.ioctl(self.descriptor, NS_GET_USERNS)
        except PermissionError as error:
            raise RefusedError(
                f"network namespace {self.inode} belongs to somebody else: run the responder as root"
            ) from error
        if os.fstat(owner).st_ino == os.stat("/proc/self/ns/user").st_ino:  # noqa: PTH116 - a magic link
            os.close(owner)
            raise RefusedError(f"network namespace {self.inode} needs CAP_SYS_ADMIN: run the responder as root")
        return owner


def _has_sys_admin() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> CAP_SYS_ADMIN & 1)


def _interfaces(descriptor: int) -> list[str]:
    """Names from an opened /proc/PID/net/dev, which is closed; two lines of heading, then `name: counters`."""
    with os.fdopen(descriptor, "rb") as stream:
        lines = stream.read(_MAXIMUM_DEV_BYTES).splitlines()[2:]
    return [line.partition(b":")[0].strip().decode("utf-8", "backslashreplace") for line in lines]
