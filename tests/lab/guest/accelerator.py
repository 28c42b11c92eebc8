"""Whether KVM is to be had. Its device file says little: on some machines it opens, and the guest hangs or dies."""

import os
from pathlib import Path

from tests.lab.guest.channel import GuestError
from tests.lab.guest.image import CACHE, Image
from tests.lab.guest.qemu import Guest

EMULATION = "tcg"
KVM = "kvm"
PROBE_SECONDS = 20.0
"""Several times what a boot takes where KVM works."""


def accelerator(image: Image) -> str:
    """What to start guests with: KVM where this image, or one before, booted with it since the machine started."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return EMULATION
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    remembered = CACHE / f"kvm-{boot}"
    if not remembered.exists():
        remembered.write_text(KVM if _boots(image) else EMULATION)
    return remembered.read_text()


def _boots(image: Image) -> bool:
    try:
        with Guest(image, accelerated_by=KVM, boot_seconds=PROBE_SECONDS) as guest:
            return guest.run(["true"]).code == 0
    except GuestError:
        return False
