"""Secrets and certificates out of files."""

import ssl
from pathlib import Path

from beat_bridge.errors import DoorwatchError

_LONGEST = 16 << 10
_LONGEST_CERTIFICATES = 1 << 20


def read_secret(path: str) -> str:
    """One line of printable text; the error never holds what is in the file.

    Raises:
        DoorwatchError: It cannot be read, or is not one line.
    """
    content = _read(path, _LONGEST, "the secret")
    try:
        text = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise DoorwatchError(f"{path}: a secret's file holds one line of text")
    return text


def read_certificates(path: str) -> bytes:
    """Certificates in PEM form.

    Raises:
        DoorwatchError: It cannot be read, or holds none.
    """
    content = _read(path, _LONGEST_CERTIFICATES, "the certificates")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=content.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise DoorwatchError(f"{path}: holds no certificate in PEM form") from error
    if not context.cert_store_stats()["x509"]:
        raise DoorwatchError(f"{path}: holds no certificate in PEM form")
    return content


def _read(path: str, longest: int, what: str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(longest + 1)
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read {what}: {error.strerror}") from error
    if len(content) > longest:
        raise DoorwatchError(f"{path}: larger than {longest} bytes; {what} would not be")
    return content
