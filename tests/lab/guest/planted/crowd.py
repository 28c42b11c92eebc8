"""As many sleeping processes as the first argument says; they end with their parent's process group."""

import os
import signal
import sys

from tests.lab.guest.planted.telling import tell_and_sleep

if __name__ == "__main__":
    pids = []
    for _ in range(int(sys.argv[1])):
        pid = os.fork()
        if not pid:
            while True:
                signal.pause()
        pids.append(pid)
    tell_and_sleep(pids=pids)
