"""A connection to a cluster through the official client, and its errors in one line each."""

import ipaddress
import re
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout, SerializationError, TlsError, TransportError
from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError
from elasticsearch.serializer import (
    CompatibilityModeJsonSerializer,
    CompatibilityModeNdjsonSerializer,
    JsonSerializer,
)

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import read_secret
from beat_bridge.shipping.options import ElasticsearchOptions

_BULK_ANSWER = re.compile(rb'\s*\{\s*"errors"\s*:')


class VerbatimLines(CompatibilityModeNdjsonSerializer):
    """Sends bytes as they are: they are lines of JSON already."""

    def dumps(self, data: Any) -> bytes:
        """The body of a request."""
        return data if isinstance(data, bytes) else super().dumps(data)


class BulkAnswer(msgspec.Struct, frozen=True):
    """What `_bulk` answers. Its items are read only where there is an error among them: they cost more than sending."""

    errors: bool
    items: msgspec.Raw = msgspec.Raw(b"[]")


class QuickAnswers(CompatibilityModeJsonSerializer):
    """Reads answers, those of `_bulk` as a `BulkAnswer`."""

    def json_loads(self, data: bytes) -> Any:
        """The body of an answer."""
        try:
            return msgspec.json.decode(data, type=BulkAnswer if _BULK_ANSWER.match(data) else Any)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error  # what the client expects here


class Cluster:
    """A cluster that can be asked; nothing is sent on making one."""

    def __init__(self, options: ElasticsearchOptions) -> None:
        """Prepare a connection.

        Raises:
            DoorwatchError: The options do not go together, or name a file that cannot be read.
        """
        self.options = options
        self.name = ", ".join(options.hosts)
        _check(options)
        try:
            self._client = Elasticsearch(
                list(options.hosts),
                **_tls(options),
                http_compress=options.compress,
                request_timeout=options.request_timeout,
                # another node is tried at once; everything else is retried by whoever asks, who knows what it means
                max_retries=len(options.hosts) - 1,
                retry_on_status=(),
                retry_on_timeout=False,
                serializers={
                    VerbatimLines.mimetype: VerbatimLines(),
                    QuickAnswers.mimetype: QuickAnswers(),
                    JsonSerializer.mimetype: QuickAnswers(),  # what a proxy makes of Elasticsearch's own type
                },
            )
        except (ValueError, OSError) as error:
            raise DoorwatchError(f"{self.name}: cannot be used as an Elasticsearch address: {error}") from error
        self._mutex = threading.Lock()
        self._current = ("", self._client)
        """The secret last read, and the client that uses it."""
        self._read_once = ""
        self.client()

    def client(self) -> Elasticsearch:
        """The client, with the credential as it is in its file now.

        Raises:
            DoorwatchError: The file cannot be read.
        """
        path = self.options.api_key_file or self.options.password_file
        if path:
            secret = self._secret(path)
            with self._mutex:
                if secret != self._current[0]:
                    self._current = (secret, self._authenticated(secret))
        return self._current[1]

    def _authenticated(self, secret: str) -> Elasticsearch:
        if self.options.api_key_file:
            return self._client.options(api_key=secret)
        return self._client.options(basic_auth=(self.options.username, secret))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def explain(self, error: Exception) -> str:
        """What an error of the client means: what is wrong, where, and what to do, in one line."""
        match error:
            case DoorwatchError():
                return str(error)
            case UnsupportedProductError():
                words = "this is not Elasticsearch: check the address"
            case ApiError():
                words = _explain_status(error.meta.status, reason(error)[:500])
            case ConnectionTimeout():
                words = f"no answer within {self.options.request_timeout:g} s"
            case TlsError():
                words = f"TLS failed: {_one_line(error)}: check the CA file or the fingerprint"
            case TransportConnectionError():
                words = f"cannot be reached: {_one_line(error)}"
            case SerializationError():
                words = "the answer is not JSON: is this Elasticsearch?"
            case _:
                words = _one_line(error)
        return f"{self.name}: {words}"

    def _secret(self, path: str) -> str:
        """A secret as it is now. What is not a regular file (a pipe from a password store) can be read only once."""
        if self._read_once:
            return self._read_once
        secret = read_secret(Path(path))
        if not Path(path).is_file():
            self._read_once = secret
        return secret


def reason(error: ApiError) -> str:
    """Elasticsearch's own words for an error, in one line of bounded length."""
    body = error.body
    detail = body.get("error") if isinstance(body, dict) else body
    if isinstance(detail, dict):
        detail = detail.get("reason") or detail.get("type")
    return " ".join(str(detail or "no reason given").split())[:2000]


def error_type(error: ApiError) -> str:
    """Elasticsearch's name for an error; empty where it gives none."""
    body = error.body
    detail = body.get("error") if isinstance(body, dict) else None
    return str(detail.get("type", "")) if isinstance(detail, dict) else ""


def _explain_status(status: int, detail: str) -> str:
    match status:
        case 401:
            return f"the credential is refused (401): wrong, expired or revoked: {detail}"
        case 403:
            return f"the credential's role does not allow this (403): {detail}"
        case _:
            return f"answered {status}: {detail}"


def _check(options: ElasticsearchOptions) -> None:
    """Refuse what cannot work or would give a secret away.

    Raises:
        DoorwatchError: In one line.
    """
    if options.api_key_file and (options.username or options.password_file):
        raise DoorwatchError("elasticsearch: give either an API key file or a user with a password file, not both")
    if bool(options.username) != bool(options.password_file):
        raise DoorwatchError("elasticsearch: a user needs a password file, and a password file a user")
    if options.ca_file and options.fingerprint:
        raise DoorwatchError("elasticsearch: give either a CA file or a fingerprint, not both")
    for host in options.hosts:
        try:
            parts = urlsplit(host)
            complete = parts.scheme in {"http", "https"} and parts.hostname and parts.port
        except ValueError:
            complete = False
        if not complete:
            raise DoorwatchError(f"{host!r}: not a URL with scheme and port, such as https://elastic.example:9200")
        if parts.username or parts.password:
            raise DoorwatchError(f"{parts.hostname}: credentials do not belong into the URL: put them in files")
        secret = options.api_key_file or options.username
        if secret and parts.scheme == "http" and not _is_local(str(parts.hostname)):
            raise DoorwatchError(f"{host}: refusing to send a credential without TLS: use https")


def _is_local(hostname: str) -> bool:
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"


def _tls(options: ElasticsearchOptions) -> dict[str, Any]:
    if not any(host.startswith("https:") for host in options.hosts):
        return {}
    if options.fingerprint:
        digits = options.fingerprint.replace(":", "")
        if not re.fullmatch("[0-9A-Fa-f]{64}", digits):
            raise DoorwatchError(f"{options.fingerprint!r}: not a SHA-256 fingerprint: 64 hexadecimal digits")
        # the fingerprint names one certificate exactly: chain and host name add nothing to that
        return {
            "ssl_assert_fingerprint": digits,
            "verify_certs": False,
            "ssl_show_warn": False,
        }
    if not options.verify:
        return {"verify_certs": False, "ssl_show_warn": False}
    if not options.ca_file:
        return {"verify_certs": True}
    if not Path(options.ca_file).is_file():
        raise DoorwatchError(f"{options.ca_file}: no such CA file")
    try:
        ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:
        raise DoorwatchError(f"{options.ca_file}: not a usable CA file: it has no certificate in PEM form") from error
    return {"verify_certs": True, "ca_certs": options.ca_file}


def _one_line(error: Exception) -> str:
    message = error.message if isinstance(error, TransportError) else str(error)
    return " ".join(str(message).split())[:300]
