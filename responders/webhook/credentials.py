"""Who may send alerts: a bearer token, or a user and a password, compared without telling how much was right."""

import base64
import binascii
import hmac
import stat
from hashlib import sha256
from pathlib import Path

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import read_secret
from responders.options import ResponderOptions

MINIMUM_SECRET = 16
"""Characters; a shorter one can be guessed over a network."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Hashes of the secrets; the secrets themselves are not kept, and nothing here prints them."""

    token: bytes = b""
    """SHA-256; empty where no token is accepted."""
    basic: bytes = b""
    """SHA-256 over `user:password`; empty where none is accepted."""

    def __repr__(self) -> str:
        """Which kinds are accepted."""
        return f"Credentials(token={bool(self.token)}, basic={bool(self.basic)})"

    def accept(self, authorization: str) -> bool:
        """Whether an Authorization header shows one of the secrets; takes as long for any wrong one."""
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() == "bearer":
            secret, expected = shown.strip().encode("utf-8", "surrogateescape"), self.token
        elif scheme.lower() == "basic":
            try:
                secret, expected = base64.b64decode(shown.strip(), validate=True), self.basic
            except (binascii.Error, ValueError):
                return False
        else:
            return False
        matches = hmac.compare_digest(sha256(secret).digest(), expected or bytes(32))
        return matches and bool(expected)


def load_credentials(options: ResponderOptions) -> Credentials:
    """Read the secrets' files.

    Raises:
        DoorwatchError: A file cannot be read, others can read it, or its secret is too short.
    """
    token = _secret(Path(options.token_file)) if options.token_file else b""
    basic = options.username.encode() + b":" + _secret(Path(options.password_file)) if options.username else b""
    return Credentials(
        token=sha256(token).digest() if token else b"",
        basic=sha256(basic).digest() if basic else b"",
    )


def _secret(path: Path) -> bytes:
    """A secret from a file that only its owner may read."""
    secret = read_secret(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read the secret: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DoorwatchError(f"{path}: others may read this secret: chmod 600 {path}")
    if len(secret) < MINIMUM_SECRET:
        raise DoorwatchError(f"{path}: holds {len(secret)} characters: a secret needs {MINIMUM_SECRET} or more")
    return secret.encode()
