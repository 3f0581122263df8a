"""Run the reference CRM: ``python -P -m infra.democrm``."""

import asyncio
import logging
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from infra.democrm import app, settings
from infra.democrm.books import source
from infra.democrm.books.store import Store, StoreError
from infra.democrm.faults import Mischief, Switches
from infra.democrm.handlers import Desk
from infra.democrm.limits import CONNECTIONS_MAX, HEADER_BYTES_MAX

_KEEP_ALIVE_S: Final = 75
_SHUTDOWN_WAIT_S: Final = 2


class DroppableProtocol(H11Protocol):
    """HTTP/1.1 whose requests can close their own connection.

    The request's ASGI state has ``drop``, a function without arguments.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Give every request of this connection the means to drop it."""
        state = {**app_state, "drop": self._drop}
        super().__init__(config, server_state, state, _loop)

    def _drop(self) -> None:
        # Closes the socket without sending what may still be in the buffer.
        self.transport.abort()


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    os.umask(0o077)
    try:
        told = settings.read(os.environ)
        told.state_file.parent.mkdir(parents=True, exist_ok=True)
        store = Store.open(told.state_file, catalogue=source.load)
    except (settings.SettingsError, StoreError, OSError) as error:
        sys.stderr.write(f"democrm: {error}\n")
        return 1
    try:
        with _listening(told.host, told.port) as listener:
            _serve(told, store, listener)
    except OSError as error:
        sys.stderr.write(f"democrm: {told.host}:{told.port}: {error.strerror}\n")
        return 1
    finally:
        store.close()
    return 0


def _serve(told: settings.Settings, store: Store, listener: socket.socket) -> None:
    desk = Desk(
        store=store,
        mischief=Mischief(Switches(idempotency_ttl_s=told.idempotency_ttl_s)),
        clock=lambda: datetime.now(tz=UTC),
    )
    config = uvicorn.Config(
        app.build(desk, told.credentials),
        http=DroppableProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # Counted when a request comes in, its own connection included.
        limit_concurrency=CONNECTIONS_MAX + 1,
        # What h11 gives up on unparsed; the exact limit is checked by the app.
        h11_max_incomplete_event_size=4 * HEADER_BYTES_MAX,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_WAIT_S,
    )
    server = uvicorn.Server(config)

    def end(_number: int, _frame: object) -> None:
        # uvicorn stops on these by itself and raises them again when it is done; by
        # then there is nothing left to end.
        if not server.started:
            raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    # The socket listens already: a caller that connects now waits, and is served.
    sys.stdout.write(f"democrm listens on http://{told.host}:{_port(listener)}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    # IPPROTO_TCP by name: asyncio sets TCP_NODELAY only where it sees it, and without
    # it an answer in two writes waits 40 ms for the caller's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(CONNECTIONS_MAX)
    except OSError:
        listener.close()
        raise
    return listener


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
