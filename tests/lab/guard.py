"""Sees to it that a server does not outlive the tests, however they end: a program of its own, standard library only.

    guard.py run USER COMMAND...   run a command as a user (-1: as we are); its pid is the one line of standard output
    guard.py remove DIRECTORY      remove a directory

Both wait for the end of their standard input, which the kernel gives when nobody is left to write to it, be it that
the tests were killed with SIGKILL. Then the command's processes are killed, paused ones too, or the directory goes.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

_PR_SET_CHILD_SUBREAPER = 36


def run(user: int, command: list[str]) -> None:
    """Run a command in a process group of its own; return when all of its processes are gone."""
    # a process whose parent ended before it becomes our child, so that waiting misses none
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        user=None if user < 0 else user,
        group=None if user < 0 else user,
        extra_groups=None if user < 0 else [],
    )
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    events = select.poll()
    events.register(os.pidfd_open(server.pid), select.POLLIN)
    events.register(sys.stdin, select.POLLIN | select.POLLHUP)
    events.poll()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def remove(directory: str) -> None:
    """Remove a directory once nobody holds the other end of standard input."""
    sys.stdin.read()
    shutil.rmtree(directory)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", user, *command]:
            run(int(user), command)
        case ["remove", directory]:
            remove(directory)
        case _:
            sys.exit(__doc__)
