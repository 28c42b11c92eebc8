"""The guest's initramfs: busybox, a few kernel modules, and the command server."""

import lzma
import stat
from collections.abc import Sequence
from pathlib import Path

PACKAGE = "server/tests/lab/guest"
HERE = Path(__file__).parent


def initrd(busybox: Path, modules: Sequence[Path]) -> bytes:
    """The archive, uncompressed.

    Args:
        busybox: A static busybox.
        modules: Kernel modules in the order of loading, plain or xz-compressed.
    """
    names = ("frames.py", "server.py", *(f"planted/{path.name}" for path in sorted((HERE / "planted").glob("*.py"))))
    folders = ("bin", "modules", "server", "server/tests", "server/tests/lab", PACKAGE, f"{PACKAGE}/planted")
    return b"".join(
        (
            *(_entry(name, stat.S_IFDIR | 0o755) for name in folders),
            _entry("busybox", stat.S_IFREG | 0o755, busybox.read_bytes()),
            _entry("bin/busybox", stat.S_IFLNK | 0o777, b"/busybox"),
            _entry("init", stat.S_IFREG | 0o755, (HERE / "init.sh").read_bytes()),
            *(_file(f"{PACKAGE}/{name}", (HERE / name).read_bytes()) for name in names),
            *(_file(f"modules/{number:02}", _module(path)) for number, path in enumerate(modules)),
            _entry("TRAILER!!!", 0),
        )
    )


def _module(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _file(name: str, data: bytes) -> bytes:
    return _entry(name, stat.S_IFREG | 0o644, data)


def _entry(name: str, mode: int, data: bytes = b"") -> bytes:
    """One member in cpio's "newc" format (kernel: Documentation/driver-api/early-userspace/buffer-format.rst)."""
    encoded = name.encode() + b"\0"
    # inode, mode, uid, gid, nlink, mtime, filesize, device (2), represented device (2), namesize, checksum
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
