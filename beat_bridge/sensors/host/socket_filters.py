"""Take sockets out of the processes that hold them, and ask each for its filter.

`pidfd_getfd` and SO_GET_FILTER see what no table shows: filters on AF_INET raw sockets and on ordinary ones, and that
an eBPF program is attached where packet_diag shows nothing at all.
"""

import errno
import fcntl
import os
import socket
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from beat_bridge.model.base import Reason, Unavailable
from beat_bridge.model.filters import FilterKind, SocketFilter
from beat_bridge.sensors.host.descriptors import Descriptors
from beat_bridge.sensors.host.patience import PATIENCE_SECONDS, Stuck, each
from beat_bridge.sensors.host.syscalls import SocketOptions, pidfd_getfd

_SIOCGSKNS = 0x894C  # linux/sockios.h: a descriptor of the network namespace a socket belongs to
_PIDFD_THREAD = os.O_EXCL  # Linux 6.9
_HOLDERS_TRIED = 4
_INTERNET = {socket.AF_INET, socket.AF_INET6}
_GONE = {errno.ESRCH, errno.EBADF, errno.ENOENT, errno.ENOTSOCK, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a socket said of itself."""

    family: int
    type: int
    protocol: int
    """EtherType in host byte order for AF_PACKET, else IPPROTO_*."""
    network_namespace: int | Unavailable
    interface_index: int
    cookie: int
    filter: SocketFilter


@dataclass(slots=True)
class Interview:
    """What came of asking many sockets."""

    answers: dict[int, Asked] = field(default_factory=dict)
    """By inode: the packet and raw sockets, and every other that carries a filter."""
    asked: set[int] = field(default_factory=set)
    """Inodes of all that were asked, also the ordinary ones without a filter."""
    local: set[int] = field(default_factory=set)
    """Inodes of the AF_UNIX ones among them."""
    failures: dict[int, Unavailable] = field(default_factory=dict)
    """Inodes of those that exist and could not be asked."""

    def add(self, later: "Interview") -> None:
        """Take over what came of asking others."""
        self.answers.update(later.answers)
        self.asked |= later.asked
        self.local |= later.local
        self.failures.update(later.failures)


def interview(inodes: Iterable[int], descriptors: Descriptors) -> Interview:
    """Ask sockets through whoever holds them; the next holder where the first one has let go or refuses.

    Args:
        inodes: Which; those that nobody holds are left out.
        descriptors: Who holds them.
    """
    outcome = Interview()
    open_questions = set(inodes)
    for turn in range(_HOLDERS_TRIED):
        by_holder: defaultdict[int, dict[int, int]] = defaultdict(dict)
        for inode in open_questions:
            holder = descriptors.holder(inode, turn)
            if holder is not None:
                by_holder[holder[0]][inode] = holder[1]
        if not by_holder:
            break
        questions = [(pid, pid in descriptors.threads, wanted) for pid, wanted in by_holder.items()]
        for (_, _, wanted), result in zip(questions, each(_ask_holder, questions), strict=True):
            _take(result, wanted, outcome)
        open_questions -= outcome.asked
    return outcome


_Question = tuple[int, bool, dict[int, int]]
"""A holder, whether it is a thread with a table of its own, and which of its descriptors lead to which inodes."""
_Result = dict[int, Asked | OSError | int]
"""By inode; of an ordinary socket without a filter only its family."""


def _take(result: _Result | Stuck, wanted: dict[int, int], outcome: Interview) -> None:
    if isinstance(result, Stuck):
        detail = f"its holder keeps it locked: no answer within {PATIENCE_SECONDS:g} s"
        outcome.failures.update({inode: Unavailable(reason=Reason.FAILED, detail=detail) for inode in wanted})
        return
    for inode, answer in result.items():
        if isinstance(answer, OSError):
            if answer.errno not in _GONE:
                outcome.failures[inode] = _unavailable(answer)
            continue
        outcome.failures.pop(inode, None)
        outcome.asked.add(inode)
        if isinstance(answer, Asked):
            outcome.answers[inode] = answer
        elif answer == socket.AF_UNIX:
            outcome.local.add(inode)


def _unavailable(error: OSError) -> Unavailable:
    if error.errno in {errno.EPERM, errno.EACCES}:
        reason = Reason.REFUSED
    elif error.errno == errno.ENOSYS:
        reason = Reason.UNSUPPORTED
    else:
        reason = Reason.FAILED
    return Unavailable(reason=reason, detail=f"taking it with pidfd_getfd: {os.strerror(error.errno or 0)}")


def _ask_holder(question: _Question) -> _Result:
    """Ask the sockets of one process, or of one thread with its own descriptors."""
    pid, is_thread, wanted = question
    try:
        pidfd = os.pidfd_open(pid, _PIDFD_THREAD if is_thread else 0)
    except OSError as error:
        return dict.fromkeys(wanted, error)
    options = SocketOptions()
    result: _Result = {}
    try:
        for inode, descriptor in wanted.items():
            try:
                taken = pidfd_getfd(pidfd, descriptor)
            except OSError as error:
                result[inode] = error
                continue
            try:
                result[inode] = _ask(taken, inode, options)
            except OSError as error:
                result[inode] = error
            finally:
                os.close(taken)
    finally:
        os.close(pidfd)
    return result


def _ask(taken: int, inode: int, options: SocketOptions) -> Asked | int:
    """What matters of a socket; of an ordinary one without a filter its family."""
    length = options.filter_length(taken)
    family = options.domain(taken)
    capturing = family == socket.AF_PACKET or (family in _INTERNET and options.type(taken) == socket.SOCK_RAW)
    if not length and not capturing:
        return family
    if os.fstat(taken).st_ino != inode:
        raise OSError(errno.EBADF, "another file has taken its number")
    protocol, interface_index = options.protocol(taken), 0
    if family == socket.AF_PACKET:
        protocol, interface_index = options.packet_address(taken)
    return Asked(
        family=family,
        type=options.type(taken),
        protocol=protocol,
        network_namespace=_namespace_of(taken),
        interface_index=interface_index,
        cookie=options.cookie(taken),
        filter=options.filter(taken) if length else SocketFilter(kind=FilterKind.NONE),
    )


def _namespace_of(taken: int) -> int | Unavailable:
    try:
        namespace = fcntl.ioctl(taken, _SIOCGSKNS)
    except OSError as error:
        reason = Reason.REFUSED if error.errno == errno.EPERM else Reason.FAILED
        return Unavailable(reason=reason, detail=f"SIOCGSKNS: {os.strerror(error.errno or 0)}")
    try:
        return os.fstat(namespace).st_ino
    finally:
        os.close(namespace)
