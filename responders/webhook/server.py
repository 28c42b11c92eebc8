"""The application on a socket: TLS, time-outs, a thread of its own, and an orderly end."""

import asyncio
import socket
import ssl
import threading
from types import TracebackType
from typing import Self

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from beat_bridge.errors import DoorwatchError
from responders.options import ResponderOptions, check

HEADER_SECONDS = 10.0
"""How long a connection may take to its first complete request."""
CONNECTIONS = 128
"""At most at once; beyond it senders get 503."""
STOP_SECONDS = 5
"""How long answers that are under way may take when the server is stopped."""


class _PunctualProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on those who connect and say nothing: uvicorn itself would wait for ever."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn narrows asyncio's type
        self.deadline = self.loop.call_later(HEADER_SECONDS, self._hang_up_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self.transport.abort()  # an idle TLS connection: its other side need not agree to the end

    def _hang_up_if_silent(self) -> None:
        if self.conn.their_state is h11.IDLE:  # no complete request head has come
            self.transport.close()


class WebhookServer:
    """Serves an application while its block lasts."""

    def __init__(self, app: Starlette, options: ResponderOptions) -> None:
        """Bind the address, so that a wrong one is an error here and not later in a thread.

        Raises:
            DoorwatchError: The options would listen without protection, the certificate is unusable, or the address
                is taken.
        """
        check(options)
        self._scheme = "https" if options.serves_tls else "http"
        config = uvicorn.Config(
            app,
            http=_PunctualProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=STOP_SECONDS,
            ssl_certfile=options.tls_certificate or None,
            ssl_keyfile=options.tls_key or None,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise DoorwatchError(
                f"{options.tls_certificate}, {options.tls_key}: not a certificate and its key: {error}"
            ) from error
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        self._socket = _bind(options.host, options.port)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="webhook", daemon=True)

    @property
    def url(self) -> str:
        """Where alerts are to be posted."""
        host, port = self.address
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{port}/v1/alerts"

    def __enter__(self) -> Self:
        """Serve; the socket listens already, so that no sender is turned away meanwhile."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take no more, finish what is being answered, and stop."""
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS + 5)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise DoorwatchError(f"responder: cannot listen on {host}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(CONNECTIONS)
    except OSError as error:
        listener.close()
        raise DoorwatchError(f"responder: cannot listen on {host} port {port}: {error.strerror}") from error
    return listener
