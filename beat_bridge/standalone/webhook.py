"""Posting to the responder's webhook over HTTPS.

Imported by name: `requests` comes with the extra `responder`.
"""

from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import read_secret
from beat_bridge.standalone.engine import NotDeliveredError

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 15.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_LATER: Final = frozenset({401, 403, 404, 408, 409, 425, 429})
"""Answers below 500 that a person or time can mend: credentials, path, load."""


class Webhook:
    """Posts bodies to one address; usable as a `Courier`'s post."""

    def __init__(self, url: str, *, ca_file: Path | None = None, token_file: Path | None = None) -> None:
        """Prepare, and check what can be checked without a connection.

        Args:
            url: The responder's address; plain HTTP is taken only for this machine.
            ca_file: PEM file of the authority that signed its certificate; None for the system's own.
            token_file: Holds the bearer token. It is read before each post, so that it can be changed under way.

        Raises:
            DoorwatchError: Says which setting, and what to do.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DoorwatchError(f"{url!r}: not an address to post alerts to: write https://HOST:PORT/PATH")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise DoorwatchError(f"{url}: alerts and their token would travel in the clear: use https")
        if parts.username or parts.password:
            raise DoorwatchError(f"the address of {parts.hostname} holds credentials: put the token into a file")
        if ca_file is not None and not ca_file.is_file():
            raise DoorwatchError(f"{ca_file}: there is no such file of certificates")
        self.url = url
        self._verify: bool | str = str(ca_file) if ca_file else True
        self._token_file = token_file
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no ~/.netrc between an alert and its responder
        if token_file is not None:
            read_secret(token_file, ascii_only=True)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def obstacle(self) -> str:
        """Why an alert could not be delivered now, in one line; empty where nothing stands in the way of trying.

        Asks for the responder's health, which needs no token and has no effect.
        """
        try:
            with self._session.get(
                urljoin(self.url, "/healthz"),
                verify=self._verify,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as answer:
                status = answer.status_code
        except requests.exceptions.SSLError as error:
            return f"{self.url}: TLS: {_inner(error)}: is ca_file the right one?"
        except (requests.exceptions.RequestException, OSError) as error:
            return f"{self.url}: {_inner(error)}"
        return "" if status == 200 else f"{self.url}: its health is answered with {status}"

    def __call__(self, body: bytes) -> None:
        """Post one body.

        Raises:
            NotDeliveredError: With the reason; permanent where the responder refuses this very body.
        """
        headers = {"Content-Type": "application/json"}
        try:
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {read_secret(self._token_file, ascii_only=True)}"
            # the answer's body is not read: nothing of it is needed, and it could be endless
            with self._session.post(
                self.url,
                data=body,
                headers=headers,
                verify=self._verify,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as answer:
                status = answer.status_code
        except requests.exceptions.SSLError as error:
            raise NotDeliveredError(f"{self.url}: TLS: {_inner(error)}: is ca_file the right one?") from error
        except requests.exceptions.Timeout as error:
            raise NotDeliveredError(f"{self.url}: no answer in time") from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise NotDeliveredError(f"{self.url}: {_inner(error)}") from error
        except DoorwatchError as error:
            raise NotDeliveredError(str(error)) from error
        if 200 <= status < 300:
            return
        hint = ": is the token the right one?" if status in (401, 403) else ""
        permanent = 400 <= status < 500 and status not in _LATER
        raise NotDeliveredError(f"{self.url}: answered {status}{hint}", permanent=permanent)


def _inner(error: BaseException) -> str:
    """The cause at the bottom of what requests and urllib3 wrap around it, in one line."""
    seen: BaseException = error
    for _ in range(10):
        reason = getattr(seen, "reason", None)
        inner = reason if isinstance(reason, BaseException) else seen.__cause__ or seen.__context__
        if inner is None:
            break
        seen = inner
    text = str(seen) or type(seen).__name__
    return " ".join(text.split())[:200]
