"""The picture in docs/guests.md, by the program itself: `python -m tests.lab.guest.picture docs/guest-scan.svg`.

A real guest with the harmless emulator in it, a process that its own libc keeps from a look from inside, and a byte of
kernel code changed from outside.
"""

import sys
from pathlib import Path

import msgspec

from beat_bridge.commands.below import Below, Inside, look_below
from beat_bridge.commands.findings_view import print_seen
from beat_bridge.commands.scan import noteworthy
from beat_bridge.errors import DoorwatchError
from beat_bridge.terminal import recording, save_picture
from tests.lab.guest import Guest, accelerator, image, plants, product
from tests.lab.guest.outside import Outside

NAME, UUID = "web-1", "7b1f7a52-5c0e-4f6e-9a53-0d8e2c61f0aa"


def main(picture: str) -> None:
    """Boot, plant, look, and write the picture."""
    release = next(release for release in product.PYTHONS if product.fits(release))
    booted = image(release)
    named = ["-name", NAME, "-uuid", UUID]
    with Guest(booted, arguments=named, accelerated_by=accelerator(booted)) as guest:
        guest.check("hostname", NAME)
        product.install(guest)
        with (
            plants.emulator(guest),
            plants.program(guest, "raw_socket") as hidden,
            Outside(guest) as outside,
            outside.changed_text(),
        ):
            inside = Inside(take=lambda: product.look(guest, hidden=(hidden.pid,)))
            (seen,) = look_below(Below(qmp=(guest.qmp_path,), kernels=(guest.kernel_image,)), inside)
    if isinstance(seen, DoorwatchError):
        raise seen
    console = recording()
    print_seen(console, msgspec.structs.replace(seen, findings=noteworthy(seen.findings)))
    save_picture(console, Path(picture), "doorwatch scan --guest web-1 --kernel /srv/kernels --inside-command ...")


if __name__ == "__main__":
    main(*sys.argv[1:])
