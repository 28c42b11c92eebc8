"""Certificates out of files."""

import ssl
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import read_bounded

_LONGEST = 1 << 20


def read_certificates(path: str) -> bytes:
    """Certificates in PEM form.

    Raises:
        DoorwatchError: It cannot be read, or holds none.
    """
    content = read_bounded(Path(path), _LONGEST, "the certificates")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=content.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise DoorwatchError(f"{path}: holds no certificate in PEM form") from error
    if not context.cert_store_stats()["x509"]:
        raise DoorwatchError(f"{path}: holds no certificate in PEM form")
    return content
