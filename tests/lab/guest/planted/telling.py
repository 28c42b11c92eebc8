"""How a planted program tells what it made."""

import json
import os
import signal
from typing import NoReturn


def tell(**facts: object) -> None:
    """Print the facts and `ready`, and let go of the three standard streams."""
    os.write(1, json.dumps(facts).encode() + b"\nready\n")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in 0, 1, 2:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def tell_and_sleep(**facts: object) -> NoReturn:
    """Tell, and sleep until killed."""
    tell(**facts)
    while True:
        signal.pause()
