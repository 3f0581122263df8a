"""Start Temporal's development server where only a proxy with passwords reaches it.

``python -P -m broker.cli.stack.servers.temporal`` is started in a network namespace
of its own where the kernel allows one: the server's ports then exist nowhere else. It
starts the server, says when it is ready, and serves the CONNECT proxy on a unix
socket. Without a namespace the server's port is on the host's loopback; a random
allowed host then keeps web pages from its HTTP interface.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import sysconfig
from pathlib import Path

from broker.cli.stack.launch import kernel
from broker.cli.stack.servers.connect_proxy import ConnectProxy, Credentials, bound

NAMESPACE = "counterfoil"
PORT = 7233
HTTP_PORT = 7243
READY_POLL_S = 0.05
STOP_S_MAX = 5.0


def program() -> Path:
    """Return Temporal's program, which the wheel puts beside the interpreter.

    Raises:
        FileNotFoundError: The wheel is not installed in this environment.
    """
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        found = Path(folder) / "temporal"
        if found.exists():
            return found
    msg = "Temporal is not installed here: run `make up`, which installs it"
    raise FileNotFoundError(msg)


def arguments(
    *,
    database: Path,
    socket: Path,
    ready: Path,
    credentials: Path,
    port: int,
    http: int,
) -> tuple[str, ...]:
    """Return the command line of this module."""
    return (
        sys.executable,
        "-P",
        "-m",
        "broker.cli.stack.servers.temporal",
        f"--program={program()}",
        f"--database={database}",
        f"--socket={socket}",
        f"--ready={ready}",
        f"--credentials={credentials}",
        f"--port={port}",
        f"--http-port={http}",
    )


async def run(given: argparse.Namespace, listener: socket.socket) -> int:
    """Serve until the server ends or a signal asks to stop; return an exit code."""
    host = f"{secrets.token_hex(16)}.invalid"
    parent = os.getpid()
    server = await asyncio.create_subprocess_exec(
        given.program,
        "server",
        "start-dev",
        "--headless",
        "--ip=127.0.0.1",
        f"--port={given.port}",
        f"--http-port={given.http_port}",
        f"--db-filename={given.database}",
        f"--namespace={NAMESPACE}",
        "--log-level=error",
        "--dynamic-config-value",
        f'frontend.httpAllowedHosts=["{host}"]',
        # The main thread forks, so the parent that is waited for is this process.
        preexec_fn=lambda: kernel.die_with_parent(parent=parent),
    )
    ended = asyncio.create_task(server.wait())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    stopped = asyncio.create_task(stop.wait())
    proxy = ConnectProxy(
        target=("127.0.0.1", given.port), credentials=Credentials(given.credentials)
    )
    ready = asyncio.create_task(_until_ready(given.http_port, host))
    await asyncio.wait({ended, stopped, ready}, return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        async with proxy.serving(listener):
            given.ready.touch(mode=0o600)
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    return await _end(server, ended, asked=stop.is_set())


async def _end(
    server: asyncio.subprocess.Process, ended: asyncio.Task[int], *, asked: bool
) -> int:
    if not ended.done():
        server.send_signal(signal.SIGINT)
        await asyncio.wait({ended}, timeout=STOP_S_MAX)
    if not ended.done():
        server.kill()
        await ended
    return 0 if asked else 1


async def _until_ready(port: int, host: str) -> None:
    """Return once the namespace exists, which is the last thing that is set up."""
    while not await _namespace_exists(port, host):  # noqa: ASYNC110 another process
        await asyncio.sleep(READY_POLL_S)


async def _namespace_exists(port: int, host: str) -> bool:
    request = (
        f"GET /api/v1/namespaces/{NAMESPACE} HTTP/1.1\r\n"
        f"Host: {host}\r\nConnection: close\r\n\r\n"
    )
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request.encode("ascii"))
            return b" 200 " in await reader.readline()
        finally:
            writer.close()
    return False


def main() -> None:
    """Serve, and exit non-zero when the server ended by itself."""
    parser = argparse.ArgumentParser()
    for name in ("program", "database", "socket", "ready", "credentials"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("port", "http-port"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    sys.exit(asyncio.run(run(given, bound(given.socket))))


if __name__ == "__main__":
    main()
