"""One process for each processor, pinned to it, that never sleeps; they end with their parent's process group."""

import os

from tests.lab.guest.planted.telling import tell_and_sleep

if __name__ == "__main__":
    pids = []
    for processor in sorted(os.sched_getaffinity(0)):
        pid = os.fork()
        if not pid:
            os.sched_setaffinity(0, {processor})
            os.nice(19)
            while True:
                pass
        pids.append(pid)
    tell_and_sleep(pids=pids)
