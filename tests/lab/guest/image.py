"""Debian root file systems for guests, built once and kept in the checkout's `.cache`."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.lab.guest.initrd import initrd

RELEASES = ("bookworm", "trixie")
"""Debian 12 with a 6.1 kernel, and Debian 13 with 6.12."""
CACHE = Path(__file__).parents[3] / ".cache" / "guest"
MODULES = Path(__file__).parent / "modules"
PACKAGES = (
    "bpftool",
    "busybox-static",
    "iproute2",
    "kmod",
    "linux-headers-cloud-amd64",
    "linux-image-cloud-amd64",
    "make",
    "nftables",
    "procps",
    "python3",
    "xz-utils",
)
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console")
"""Kernel modules without which there is neither a disk nor a channel."""
DISK_SIZE = "3G"
"""Of a sparse file."""
BUILD_SECONDS = 1200.0
KEPT_SECONDS = 86400.0
"""How long an image stays that was made in another way: another checkout may share the cache."""


class Image(NamedTuple):
    """What a guest is started from; nothing in it is ever written to again."""

    release: str
    kernel: Path
    """vmlinuz."""
    kernel_release: str
    disk: Path
    """The root file system, ext4 in a raw file."""
    busybox: Path
    boot_modules: tuple[Path, ...]
    """In the order of loading."""

    def initrd(self) -> bytes:
        """The initramfs, with the command server as it is in this checkout."""
        return initrd(self.busybox, self.boot_modules)


def image(release: str) -> Image:
    """The image of one of RELEASES, built where the cache does not have it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    directory = _directory(release)
    with (CACHE / f"lock-{release}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            for broken_off in CACHE.glob(f"building-{release}-*"):
                shutil.rmtree(broken_off)
            with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"building-{release}-") as scratch:
                _build(release, Path(scratch))
            for older in CACHE.glob(f"{release}-*"):
                if older.stat().st_mtime < time.time() - KEPT_SECONDS:
                    shutil.rmtree(older)
        directory.touch()
    (kernel,) = directory.glob("vmlinuz-*")
    return Image(
        release=release,
        kernel=kernel,
        kernel_release=kernel.name.removeprefix("vmlinuz-"),
        disk=directory / "root.ext4",
        busybox=directory / "busybox",
        boot_modules=tuple(sorted((directory / "boot-modules").iterdir())),
    )


def cached(release: str) -> bool:
    """Whether there is an image already."""
    return _directory(release).exists()


def _directory(release: str) -> Path:
    """Where an image belongs that is made as this module makes it now."""
    made = repr((_bootstrap(release), BOOT_MODULES, DISK_SIZE)).replace(str(MODULES), "")  # wherever the checkout is
    digest = hashlib.sha256(made.encode())
    for source in _module_sources():
        digest.update(source.read_bytes())
    return CACHE / f"{release}-{digest.hexdigest()[:16]}"


def _module_sources() -> list[Path]:
    return sorted(MODULES.iterdir())


def _bootstrap(release: str) -> list[str]:
    """The command that makes a release's tree, but for where."""
    build_modules = (
        "make -s -C /lib/modules/*/build M=/usr/src/doorwatch modules modules_install && depmod -a $(ls /lib/modules)"
    )
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        "--format=directory",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{unread}/*" for unread in ("man", "doc", "locale")),
        '--customize-hook=mkdir "$1/usr/src/doorwatch"',
        f"--customize-hook=copy-in {' '.join(str(source) for source in _module_sources())} /usr/src/doorwatch",
        f"--customize-hook=chroot \"$1\" sh -c '{build_modules}'",
        release,
    ]


def _build(release: str, scratch: Path) -> None:
    tree = scratch / "tree"
    made = scratch / "made"
    made.mkdir()
    # in namespaces of its own, so that neither a process nor a mount of a build that is broken off remains
    _run("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--kill-child", *_bootstrap(release), str(tree))
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, made)
    shutil.copy(tree / "usr/bin/busybox", made)
    (made / "boot-modules").mkdir()
    for number, module in enumerate(_load_order(tree, kernel.name.removeprefix("vmlinuz-"))):
        shutil.copy(module, made / "boot-modules" / f"{number:02}-{module.name}")
    _run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(tree), str(made / "root.ext4"), DISK_SIZE)
    made.rename(_directory(release))


def _load_order(tree: Path, kernel_release: str) -> list[Path]:
    """The boot modules' files and those they depend on, without the ones that are built in."""
    shown = _run(
        "chroot", str(tree), "modprobe", "--all", "--set-version", kernel_release, "--show-depends", *BOOT_MODULES
    )
    lines = (line.split() for line in shown.splitlines())
    files = [tree / path.lstrip("/") for kind, path, *_ in lines if kind == "insmod"]
    return list(dict.fromkeys(files))


def _run(*command: str) -> str:
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
        # the guest has an initramfs of its own: Debian's need not be made (read by its kernel's install hook)
        env=os.environ | {"INITRD": "No"},
    )
    if ended.returncode:
        raise RuntimeError(f"{command[0]} ended with {ended.returncode}: {ended.stdout[-2000:]}{ended.stderr[-4000:]}")
    return ended.stdout
