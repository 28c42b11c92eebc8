"""A guest: QEMU's process, its files, and what a tester can ask of it."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.guest import directories
from tests.lab.guest.channel import Channel, Completed, GuestError, GuestTimeoutError, Started
from tests.lab.guest.frames import PAYLOAD_LIMIT
from tests.lab.guest.image import Image
from tests.lab.guest.monitor import execute

BOOT_SECONDS = 180.0
"""An emulated boot takes 6-10 s of a processor that others may be using too."""
MIB = 1024 * 1024


class Guest:
    """A running guest; a context manager, which is left only when QEMU and everything it wrote are gone."""

    def __init__(
        self,
        image: Image,
        *,
        memory: int = 512 * MIB,
        processors: int = 1,
        five_level_paging: bool = False,
        append: Sequence[str] = (),
        arguments: Sequence[str] = (),
        accelerated_by: str = "tcg",
        boot_seconds: float = BOOT_SECONDS,
    ) -> None:
        """Describe a guest; entering it boots it.

        Args:
            image: What it boots; its disk is not written to.
            memory: Bytes of RAM. From 2.75 GiB on, all above 2 GiB lies at 4 GiB (QEMU's q35).
            processors: How many it has.
            five_level_paging: Whether the processor offers it (and the kernel then uses it).
            append: More words for the kernel's command line.
            arguments: More arguments for QEMU.
            accelerated_by: "tcg", which works everywhere, or what `accelerator()` answers.
            boot_seconds: How long it may take until it answers.
        """
        self.image = image
        self.memory = memory
        self.processors = processors
        self._five_level_paging = five_level_paging
        self._append = append
        self._arguments = arguments
        self._accelerated_by = accelerated_by
        self._boot_seconds = boot_seconds
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.directory = stack.enter_context(directories.held())
            self._process = self._launch()
            stack.callback(_end, self._process)
            connection = self._connect(time.monotonic() + self._boot_seconds)
            self._channel = Channel(connection)
            stack.callback(self._channel.close)
            try:
                self._channel.wait_ready(self._boot_seconds)
            except GuestError as error:
                raise GuestError(f"{self.image.release} does not boot: {error}; {self._last_words()}") from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    @property
    def ram_file(self) -> Path:
        """The guest's RAM, shared with it: QEMU's memory backend, from offset 0 without the hole below 4 GiB."""
        return self.directory / "ram"

    @property
    def qmp_path(self) -> Path:
        """A QMP socket for whoever tests; it serves one client at a time."""
        return self.directory / "qmp.sock"

    @property
    def monitor_path(self) -> Path:
        """A second QMP socket, which the lab itself uses."""
        return self.directory / "monitor.sock"

    @property
    def kernel_image(self) -> Path:
        """Its vmlinuz."""
        return self.image.kernel

    @property
    def kernel_release(self) -> str:
        """As `uname -r` says."""
        return self.image.kernel_release

    @property
    def console(self) -> str:
        """What the guest's kernel has printed."""
        return (self.directory / "console").read_text(errors="replace")

    def run(self, argv: Sequence[str], timeout: float = 30, stdin: bytes = b"") -> Completed:
        """Run a command in the guest to its end; of each output, the first 8 MiB.

        Raises:
            GuestTimeoutError: It did not end in `timeout` seconds, and was killed with its process group.
            GuestError: It cannot be run.
        """
        answer = self._channel.ask("run", stdin, timeout, argv=list(argv))
        size = answer.header["out"]
        completed = Completed(answer.header["code"], answer.payload[:size], answer.payload[size:])
        if answer.header["timed_out"]:
            raise GuestTimeoutError(f"{argv[0]} did not end in {timeout} s; it said {completed.out + completed.err!r}")
        return completed

    def check(self, *argv: str, timeout: float = 30) -> str:
        """Run a command that must succeed, and give its standard output.

        Raises:
            GuestError: It failed.
        """
        code, out, err = self.run(argv, timeout)
        if code:
            raise GuestError(f"{' '.join(argv)} ended with {code}: {err.decode(errors='replace').strip()}")
        return out.decode(errors="replace")

    def reboot(self) -> None:
        """Reset the machine, as its button does, and return when it answers again.

        Raises:
            GuestError: It does not come back.
        """
        execute(self.monitor_path, "set-action", reboot="reset")  # QEMU was told that a reboot is its end
        execute(self.monitor_path, "system_reset")
        self._channel.wait_ready(self._boot_seconds)
        execute(self.monitor_path, "set-action", reboot="shutdown")

    def start(
        self,
        argv: Sequence[str],
        stdin: bytes = b"",
        *,
        executable: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Started:
        """Start a process that stays; it must print the line `ready`.

        Raises:
            GuestError: It cannot be started, or does not become ready in `timeout` seconds.
        """
        answer = self._channel.ask(
            "start", stdin, timeout, argv=list(argv), executable=executable, environment=dict(environment or {})
        )
        return Started(answer.header["pid"], answer.payload)

    def stop(self, pid: int) -> None:
        """Kill a started process; it is reaped when this returns."""
        self._channel.ask("stop", pid=pid)

    def put(self, path: str, data: bytes, mode: int | None = 0o644) -> None:
        """Write a file in the guest; without a mode, one that is there keeps its own."""
        for offset in range(0, max(1, len(data)), PAYLOAD_LIMIT):
            self._channel.ask("put", data[offset : offset + PAYLOAD_LIMIT], path=path, offset=offset, mode=mode)

    def get(self, path: str) -> bytes:
        """Read a file of the guest."""
        return b"".join(self._parts(path))

    def _parts(self, path: str) -> Iterator[bytes]:
        offset = 0
        while part := self._channel.ask("get", path=path, offset=offset).payload:
            yield part
            offset += len(part)

    def _launch(self) -> subprocess.Popen[bytes]:
        (self.directory / "initrd").write_bytes(self.image.initrd())
        with (self.directory / "output").open("wb") as output:
            # whatever ends the tester's process ends QEMU too
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *self._hardware(), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _hardware(self) -> list[str]:
        paging = "" if self._five_level_paging else ",la57=off"
        here = self.directory
        return [
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "q35,memory-backend=ram", "-accel", self._accelerated_by),
            *("-cpu", ("host" if self._accelerated_by == "kvm" else "max") + paging, "-smp", str(self.processors)),
            *("-m", f"{self.memory // MIB}M"),
            *("-object", f"memory-backend-file,id=ram,size={self.memory},mem-path={self.ram_file},share=on"),
            *("-kernel", str(self.image.kernel), "-initrd", str(here / "initrd")),
            *("-append", " ".join(("console=ttyS0 quiet panic=-1 no_timer_check", *self._append))),
            *("-serial", f"file:{here / 'console'}"),
            *("-drive", f"file={self.image.disk},format=raw,if=none,id=disk,snapshot=on"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=channel,name=doorwatch.lab"),
            *("-chardev", f"socket,id=channel,path={here / 'channel.sock'},server=on,wait=off"),
            *("-qmp", f"unix:{self.qmp_path},server=on,wait=off"),
            *("-qmp", f"unix:{self.monitor_path},server=on,wait=off"),
        ]

    def _connect(self, deadline: float) -> socket.socket:
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.directory / "channel.sock"))
            except OSError:
                connection.close()
            else:
                return connection
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise GuestError(f"QEMU does not start: {self._last_words()}")
            time.sleep(0.02)  # nothing tells of a socket that is not there yet

    def _last_words(self) -> str:
        said = [(self.directory / name) for name in ("output", "console")]
        return " | ".join(path.read_text(errors="replace")[-6000:].strip() for path in said if path.exists())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
