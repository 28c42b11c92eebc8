"""Boot a guest by hand: `python -m tests.lab.guest bookworm`; lines typed to it are run by its shell."""

import sys

from tests.lab.guest import RELEASES, Guest, GuestError, accelerator, image


def main(release: str) -> None:
    """Boot, tell where everything is, and run commands until the input ends."""
    booted = image(release)
    with Guest(booted, accelerated_by=accelerator(booted)) as guest:
        print(f"{guest.kernel_release} runs as process {guest.pid}")  # noqa: T201 - a tool for the terminal
        for path in (guest.ram_file, guest.qmp_path, guest.kernel_image):
            print(path, flush=True)  # noqa: T201
        for line in sys.stdin:
            try:
                code, out, err = guest.run(["sh", "-c", line])
            except GuestError as error:
                print(error)  # noqa: T201
            else:
                print(f"{(out + err).decode(errors='replace')}[{code}]", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:] or RELEASES[:1])
