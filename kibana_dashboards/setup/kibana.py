"""A space of a Kibana that can be asked, and its errors in one line each.

Imported by name: `requests` comes with the extra `kibana`.
"""

import base64
import ipaddress
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from beat_bridge.errors import DoorwatchError, MissingExtraError
from beat_bridge.files import read_secret
from beat_bridge.terminal import printable
from kibana_dashboards.setup.certificates import read_certificates
from kibana_dashboards.setup.options import KibanaOptions

try:
    import requests
    from requests.adapters import HTTPAdapter
except ModuleNotFoundError as error:
    raise MissingExtraError("requests", "kibana", "`doorwatch setup kibana`") from error

OLDEST: Final = (8, 19)
"""The first version that knows the form of our dashboards: Kibana takes no saved object that is newer than itself."""
LONGEST_ANSWER: Final = 32 << 20
"""Bytes."""
API_VERSION: Final = "2023-10-31"
"""Of Kibana's public interfaces: the one that all of them have."""
_CONNECT_SECONDS: Final = 5.0
_CHUNK: Final = 64 << 10


class Answer(msgspec.Struct, frozen=True):
    """What Kibana said."""

    status: int
    body: Any
    """Decoded JSON; of lines of JSON, a list of them."""


class Kibana:
    """One space of one Kibana; nothing is sent on making one."""

    def __init__(self, options: KibanaOptions) -> None:
        """Prepare, and check what can be checked without a connection.

        Raises:
            DoorwatchError: The options do not go together, or name a file that cannot be read.
        """
        _check(options)
        self.options = options
        self.name = options.url.rstrip("/")
        self._session = requests.Session()
        # no ~/.netrc in place of the credential that was asked for, and no CA out of the environment
        self._session.trust_env = False
        self._session.proxies = requests.utils.get_environ_proxies(options.url)
        self._session.headers.update({"kbn-xsrf": "doorwatch", "elastic-api-version": API_VERSION})
        self._session.verify = _trusted(options, self._session)
        if options.api_key_file:
            key = read_secret(Path(options.api_key_file), ascii_only=True)
            self._session.headers["Authorization"] = f"ApiKey {key}"
        else:
            both = f"{options.username}:{read_secret(Path(options.password_file))}"
            self._session.headers["Authorization"] = f"Basic {base64.b64encode(both.encode()).decode('ascii')}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close()

    def ask(  # noqa: PLR0913 - a request has these parts
        self,
        method: str,
        path: str,
        *,
        needs: str,
        accept: Collection[int] = (200,),
        query: Mapping[str, str] | None = None,
        body: Any = None,
        upload: bytes | None = None,
        anywhere: bool = False,
    ) -> Answer:
        """Send one request, wait for its answer, and refuse any status that was not expected.

        Args:
            method: GET, POST, PUT or PATCH.
            path: Beginning with `/api/`.
            needs: The Kibana privilege it takes, for the error line.
            accept: Statuses that are answers.
            query: Parameters.
            body: Sent as JSON.
            upload: Lines of JSON, sent as the file of a form, as Kibana's imports take them.
            anywhere: Not a matter of the space.

        Raises:
            DoorwatchError: Anything else, in one line.
        """
        space = "" if anywhere or self.options.space == "default" else f"/s/{self.options.space}"
        status, content = self._exchange(method, f"{self.name}{space}{path}", query, body, upload)
        if 300 <= status < 400:
            raise DoorwatchError(
                f"{self.name}: answers with a redirect ({status}): write the address with its base path, and check "
                "that no login page of a proxy stands before it"
            )
        decoded = _decode(content)
        if status in accept and decoded is not _NOT_JSON:
            return Answer(status, decoded)
        said = _said(decoded)
        raise DoorwatchError(f"{self.name}: {_explain(status, said, needs, f'{method} {path}')}")

    def _exchange(
        self, method: str, url: str, query: Mapping[str, str] | None, body: Any, upload: bytes | None
    ) -> tuple[int, bytes]:
        limit = self.options.request_timeout
        ends = time.monotonic() + limit
        try:
            with self._session.request(
                method,
                url,
                params=query,
                json=body,
                files={"file": ("doorwatch.ndjson", upload, "application/ndjson")} if upload is not None else None,
                timeout=(min(_CONNECT_SECONDS, limit), limit),
                allow_redirects=False,
                stream=True,
            ) as answer:
                content = bytearray()
                for chunk in answer.iter_content(_CHUNK):
                    content += chunk
                    if len(content) > LONGEST_ANSWER:
                        raise DoorwatchError(
                            f"{self.name}: an answer of more than {LONGEST_ANSWER >> 20} MiB: not Kibana's"
                        )
                    if time.monotonic() > ends:
                        raise DoorwatchError(f"{self.name}: no complete answer within {limit:g} s")
                return answer.status_code, bytes(content)
        except requests.exceptions.SSLError as error:
            raise DoorwatchError(
                f"{self.name}: TLS failed: {_inner(error)}: check the CA file or the fingerprint"
            ) from error
        except requests.exceptions.Timeout as error:
            raise DoorwatchError(f"{self.name}: no answer within {limit:g} s") from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise DoorwatchError(f"{self.name}: cannot be reached: {_inner(error)}") from error


def check_version_and_space(kibana: Kibana) -> str:
    """Make sure that this is a Kibana we know how to set up, and that the space is there.

    Returns:
        Its version.

    Raises:
        DoorwatchError: It is not.
    """
    answer = kibana.ask("GET", "/api/status", needs="any user of Kibana", anywhere=True).body
    version = answer.get("version") if isinstance(answer, dict) else None
    number = str(version.get("number", "")) if isinstance(version, dict) else ""
    digits = number.partition("-")[0].split(".")[:2]
    if len(digits) != 2 or not all(part.isdigit() for part in digits):
        raise DoorwatchError(
            f"{kibana.name}: does not say its version: is this Kibana, and is the credential Kibana's?"
        )
    if tuple(map(int, digits)) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise DoorwatchError(
            f"{kibana.name}: Kibana {number} is too old: Doorwatch's dashboards need {oldest} or newer"
        )
    space = kibana.options.space
    found = kibana.ask(
        "GET", f"/api/spaces/space/{space}", needs=f"access to the space {space}", accept=(200, 404), anywhere=True
    )
    if found.status == 404:
        raise DoorwatchError(f"{kibana.name}: there is no space {space!r}: its id stands in its address, /s/ID/app/...")
    return number


_NOT_JSON: Final = object()


def _decode(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content) if content.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return [msgspec.json.decode(line) for line in content.splitlines() if line.strip()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOT_JSON


def _said(decoded: Any) -> str:
    """Kibana's own words, in one line of bounded length."""
    message = decoded.get("message") if isinstance(decoded, dict) else None
    if isinstance(message, list):
        message = "; ".join(map(str, message))
    return printable(" ".join(str(message or "no reason given").split()))[:500]


def _explain(status: int, said: str, needs: str, request: str) -> str:
    if status == 403 and "license" in said:
        return f"the licence does not include this (403): {said}"
    busy = f"has no time now ({status}): {said}: try again later"
    return {
        200: f"{request}: the answer is not JSON: is this Kibana?",
        401: f"the credential is refused (401): wrong, expired or revoked: {said}",
        403: f"not allowed (403): the user needs {needs}: {said}",
        404: f"{request} is not there (404): {said}",
        409: f"{request} stands against what is there (409): {said}",
        429: busy,
        502: busy,
        503: busy,
        504: busy,
    }.get(status, f"{request} was answered with {status}: {said}")


def _check(options: KibanaOptions) -> None:
    parts = urlsplit(options.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DoorwatchError(f"{options.url!r}: not an address of Kibana: write https://HOST:PORT")
    if parts.username or parts.password:
        raise DoorwatchError(f"the address of {parts.hostname} holds credentials: put them into a file")
    if parts.query or parts.fragment or re.search(r"/(s|app)/", f"{parts.path}/"):
        raise DoorwatchError(f"{options.url}: leave out what follows the base path: the space is named with --space")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise DoorwatchError(f"{options.url}: the credential would travel in the clear: use https")
    if bool(options.api_key_file) == bool(options.username):
        raise DoorwatchError("who are we? Give --api-key-file, or --user with --password-file")
    if bool(options.username) != bool(options.password_file):
        raise DoorwatchError("--user and --password-file belong together")
    if options.ca_file and options.fingerprint:
        raise DoorwatchError("--ca and --fingerprint exclude each other: the fingerprint names one certificate exactly")


def is_loopback(hostname: str) -> bool:
    """This machine itself."""
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"


def _trusted(options: KibanaOptions, session: requests.Session) -> bool | str:
    """What `requests` is to verify certificates with."""
    if options.fingerprint:
        digits = options.fingerprint.replace(":", "")
        if not re.fullmatch("[0-9A-Fa-f]{64}", digits):
            raise DoorwatchError(f"{options.fingerprint!r}: not a SHA-256 fingerprint: 64 hexadecimal digits")
        session.mount("https://", _Pinned(digits))
        return False  # the fingerprint names one certificate exactly: chain and host name add nothing to that
    if options.ca_file:
        read_certificates(options.ca_file)
        return options.ca_file
    return True


class _Pinned(HTTPAdapter):
    """Talks only to the server that shows one certificate."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__()

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        super().init_poolmanager(*args, **keywords, assert_fingerprint=self._fingerprint)

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        return super().proxy_manager_for(proxy, **keywords, assert_fingerprint=self._fingerprint)


def _inner(error: BaseException) -> str:
    """The cause at the bottom of what requests and urllib3 wrap around it, in one line."""
    seen: BaseException = error
    for _ in range(10):
        arguments = [argument for argument in seen.args if isinstance(argument, BaseException)]
        reason = getattr(seen, "reason", None)
        inner = reason if isinstance(reason, BaseException) else next(iter(arguments), None) or seen.__cause__
        if inner is None:
            break
        seen = inner
    return printable(" ".join(str(seen).split()))[:300] or type(seen).__name__
