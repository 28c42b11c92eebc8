"""The harmless emulator: it looks like BPFDoor from outside, and does nothing but sleep.

A copy of the Python interpreter lies in shared memory, is started under the name `/sbin/udevd -d` and reads `script()`
from its standard input. It opens one packet socket with a BPFDoor-shaped filter, removes its own file, and waits to
be ended. It never reads from the socket, opens no shell, sends no packet, and ends by itself after five minutes.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from struct import pack
from typing import NoReturn

from beat_bridge.model.filters import Instruction, Program

FALSE_ARGV = ("/sbin/udevd", "-d")
"""One of BPFDoor's false names. To the interpreter, -d is a debugging flag without effect."""
FALSE_NAME = "udevd"
DIRECTORY = Path("/dev/shm")  # noqa: S108 - running from shared memory is what is imitated
FILE_NAME = "kdmtmpflush"
LIFETIME_SECONDS = 300
ENVIRONMENT = {"HOME": "/tmp", "HISTFILE": "/dev/null", "MYSQL_HISTFILE": "/dev/null"}  # noqa: S108
"""The three signs that BPFDoor's shell leaves; nothing reads them here."""

FILTER: Program = tuple(
    Instruction(*record)
    for record in (
        # The shape of the 2018-2022 family: a secret in the first payload bytes of UDP, ICMP or TCP over IPv4.
        (0x28, 0, 0, 12),  # 0   ldh [12]              EtherType
        (0x15, 0, 25, 0x0800),  # 1   jeq #ip, next, reject
        (0x30, 0, 0, 23),  # 2   ldb [23]              IP protocol
        (0x15, 0, 5, 17),  # 3   jeq #udp, next, 9
        (0x28, 0, 0, 20),  # 4   ldh [20]              fragment offset
        (0x45, 21, 0, 0x1FFF),  # 5   jset #0x1fff, reject, next
        (0xB1, 0, 0, 14),  # 6   ldxb 4*([14]&0xf)
        (0x48, 0, 0, 22),  # 7   ldh [x+22]            first bytes of the UDP payload
        (0x15, 17, 18, 0x7255),  # 8   jeq #secret, accept, reject
        (0x15, 0, 5, 1),  # 9   jeq #icmp, next, 15
        (0x28, 0, 0, 20),  # 10  ldh [20]
        (0x45, 15, 0, 0x1FFF),  # 11  jset #0x1fff, reject, next
        (0xB1, 0, 0, 14),  # 12  ldxb 4*([14]&0xf)
        (0x48, 0, 0, 22),  # 13  ldh [x+22]            first bytes of the ICMP data
        (0x15, 11, 12, 0x7255),  # 14  jeq #secret, accept, reject
        (0x15, 0, 11, 6),  # 15  jeq #tcp, next, reject
        (0x28, 0, 0, 20),  # 16  ldh [20]
        (0x45, 9, 0, 0x1FFF),  # 17  jset #0x1fff, reject, next
        (0xB1, 0, 0, 14),  # 18  ldxb 4*([14]&0xf)
        (0x50, 0, 0, 26),  # 19  ldb [x+26]            TCP data offset
        (0x54, 0, 0, 0xF0),  # 20  and #0xf0
        (0x74, 0, 0, 2),  # 21  rsh #2
        (0x0C, 0, 0, 0),  # 22  add x
        (0x07, 0, 0, 0),  # 23  tax
        (0x48, 0, 0, 14),  # 24  ldh [x+14]            first bytes of the TCP payload
        (0x15, 0, 1, 0x5293),  # 25  jeq #secret, accept, reject
        (0x06, 0, 0, 0xFFFF),  # 26  accept
        (0x06, 0, 0, 0),  # 27  reject
    )
)

_SCRIPT = """
import array, os, signal, socket, struct
signal.alarm({lifetime})
records = array.array("B", bytes.fromhex("{records}"))
address, length = records.buffer_info()
opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
opened.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", length // 8, address))  # SO_ATTACH_FILTER
path = os.readlink("/proc/self/exe")
if os.path.exists(path):
    os.unlink(path)
with open("/proc/self/comm", "w") as comm:
    comm.write("{name}")
os.write(1, b"ready\\n")
nowhere = os.open(os.devnull, os.O_RDWR)
for descriptor in 0, 1, 2:
    os.dup2(nowhere, descriptor)
while True:
    signal.pause()
"""


def script() -> bytes:
    """The emulator's whole program."""
    records = b"".join(pack("=HBBI", i.code, i.jt, i.jf, i.k) for i in FILTER)
    return _SCRIPT.format(lifetime=LIFETIME_SECONDS, records=records.hex(), name=FALSE_NAME).encode()


def become() -> NoReturn:
    """Turn the calling process into the emulator; its standard input must hold `script()`.

    Raises:
        OSError: Neither a file in shared memory nor one without a name can be executed here.
    """
    interpreter = Path(sys.executable).resolve()
    environment = ENVIRONMENT | {
        # the copy cannot find its library by its own place
        "PYTHONHOME": sys.base_prefix,
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR") or ""),
    }
    path = DIRECTORY / FILE_NAME
    try:
        with path.open("xb") as copy, interpreter.open("rb") as original:
            shutil.copyfileobj(original, copy)
            os.fchmod(copy.fileno(), 0o700)
    except FileExistsError:
        path = DIRECTORY / f"{FILE_NAME}.{os.getpid()}"
        shutil.copyfile(interpreter, path)
        path.chmod(0o700)
    try:
        os.execve(path, FALSE_ARGV, environment)
    except OSError:
        path.unlink()
    # shared memory is mounted noexec here: a file without a name is the other place such a program runs from
    descriptor = os.memfd_create(FILE_NAME)
    with interpreter.open("rb") as original, os.fdopen(os.dup(descriptor), "wb") as copy:
        shutil.copyfileobj(original, copy)
    os.execve(descriptor, FALSE_ARGV, environment)
