"""How a planted program tells what it made."""

import json
import os
import signal
from typing import NoReturn


def tell_and_sleep(**facts: object) -> NoReturn:
    """Print the facts and `ready`, let go of the three standard streams, and sleep until killed."""
    os.write(1, json.dumps(facts).encode() + b"\nready\n")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in 0, 1, 2:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    while True:
        signal.pause()
