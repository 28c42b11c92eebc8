"""A real Debian guest under QEMU, with a command channel, its RAM in a shared file, and QMP.

    with Guest(image("bookworm")) as guest:
        code, out, err = guest.run(["uname", "-r"])

`guest.ram_file` is its physical memory (`memory-backend-file,share=on`), `guest.qmp_path` a free QMP socket,
`guest.kernel_image` its vmlinuz. Tests take the fixtures of `tests.lab.guest.fixtures`. By hand,
`python -m tests.lab.guest bookworm` boots one, tells its paths, runs commands typed to it and ends with its input.

`tests.lab.guest.plants` makes harmless things in a guest for others to find; `tests.lab.guest.outside` changes its
RAM from outside. With `append=["no_hash_pointers"]` a guest's /proc/net tells the true addresses of its sockets.

The first use of a release builds its image, as root, with Debian's `mmdebstrap` (two minutes); it stays in the
checkout's `.cache/guest` until the packages or planted modules change. A guest starts in 6-10 s where the processor
is emulated. It ends with whoever started it, however that one ends.
"""

from tests.lab.guest.accelerator import accelerator
from tests.lab.guest.channel import GuestError, GuestTimeoutError
from tests.lab.guest.image import RELEASES, Image, image
from tests.lab.guest.qemu import Guest

__all__ = ["RELEASES", "Guest", "GuestError", "GuestTimeoutError", "Image", "accelerator", "image"]
