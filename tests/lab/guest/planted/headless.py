"""A process whose first thread has ended while another sleeps on: ps calls the whole of it defunct."""

import ctypes
import threading

from tests.lab.guest.planted.telling import tell

_SYS_EXIT = 60

if __name__ == "__main__":
    threading.Thread(target=threading.Event().wait).start()
    tell()
    ctypes.CDLL(None).syscall(_SYS_EXIT, 0)
