"""Lend PostgreSQL, Valkey and Temporal to tests, one set for all test processes.

The servers belong to a holder, a process of its own that stops when nobody holds a
lease any more: a lease is an open connection, so a killed test process gives its own
back. ``EmbeddedServers.lease(folder)`` joins the holder of that folder or starts one.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from broker.cli.stack import environment as env
from broker.cli.stack.launch import guardian
from broker.cli.stack.machine.host import Host, platform_refusal, refusal, this_host
from broker.cli.stack.machine.ports import Reservations
from broker.cli.stack.parts import PartEvent, PartState
from broker.cli.stack.planning.backing import servers
from broker.cli.stack.planning.given import Given
from broker.cli.stack.process import tail
from broker.cli.stack.servers import accounts, roles, temporal
from broker.cli.stack.servers.memory import in_memory
from broker.cli.stack.state import CHECKOUT, State, locked, needed, open_state
from broker.cli.stack.supervisor import PartFailedError, Supervisor

FIRST_LEASE_S_MAX = 20.0
JOIN_TRIES_MAX = 3
LINGER_S = 0.5
"""How long the holder waits for another lease: test processes come one by one."""


class ServersNotStartedError(Exception):
    """The embedded servers could not be started; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the servers are reached.

    Attributes:
        database_host: Folder of PostgreSQL's socket.
        passwords: From role (``cf_admin`` may do everything, ``counterfoil`` owns the
            database, ``cf_broker`` and ``cf_edge``) to password.
        valkey_url: With its password, database 0 of ``valkey.DATABASES``.
        temporal_address: As Temporal's proxy sees it.
        temporal_namespace: The namespace to use.
        temporal_proxy: Socket path of the proxy.
        temporal_user: Who may use it.
        temporal_password: That user's.
        pids: From part to process, as first started.
    """

    database_host: str
    passwords: dict[str, str]
    valkey_url: str
    temporal_address: str
    temporal_namespace: str
    temporal_proxy: str
    temporal_user: str
    temporal_password: str
    pids: dict[str, int]

    def dsn(self, *, role: str, database: str = accounts.DATABASE) -> str:
        """Return a database URL with its password, for tests only."""
        host = Path(self.database_host)
        url = env.socket_database_url(host, role=role, database=database)
        return url.replace(f"{role}@", f"{role}:{self.passwords[role]}@", 1)


class EmbeddedServers:
    """A lease on a set of running servers; close it, or use it as a context."""

    def __init__(self, lease: socket.socket, access: Access) -> None:
        """Use ``lease`` or ``start``."""
        self._lease = lease
        self.access = access

    @classmethod
    def lease(cls, folder: Path, *, fast: bool = True) -> Self:
        """Join the servers of a folder, or start them.

        Args:
            folder: For their state; its parent must exist. Several processes may name
                the same one.
            fast: Do without what protects from power cuts, and keep nothing.

        Raises:
            ServersNotStartedError: They cannot run here, or did not come up.
        """
        log = folder.with_name(folder.name + ".log")
        answer: dict[str, Any] = {}
        for _ in range(JOIN_TRIES_MAX):
            with _one_at_a_time(folder.with_name(folder.name + ".lease")):
                address = open_state(folder).run / "lease.sock"
                connection = _join(address)
                if connection is None:
                    _start_holder(folder, log, fast=fast)
                    connection = _join(address)
            if connection is None:
                break
            answer = _first_line(connection)
            if answer and "error" not in answer:
                return cls(connection, Access(**answer))
            connection.close()
            if answer:
                break
            # The holder was about to stop when it was asked: start another.
        raise ServersNotStartedError(answer.get("error") or tail(log))

    def close(self) -> None:
        """Give the lease back; the last one to do so stops the servers."""
        self._lease.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lease back."""
        self.close()


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _first_line(connection: socket.socket) -> dict[str, Any]:
    """Return what the holder says once its servers are up; empty if it ends first."""
    with contextlib.suppress(OSError, ValueError), connection.makefile("rb") as lines:
        answer: dict[str, Any] = json.loads(lines.readline())
        return answer
    return {}


def _join(address: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(address))
    except OSError:
        connection.close()
        return None
    return connection


def _start_holder(folder: Path, log: Path, *, fast: bool) -> None:
    """Start a holder; it listens for leases once this returns."""
    with log.open("wb") as output:
        subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "broker.cli.stack.embedded",
                str(folder.absolute()),
                "fast" if fast else "durable",
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=CHECKOUT,
            env={**env.callers(), "PYTHONPATH": str(CHECKOUT)},
            start_new_session=True,
        )


class _Holder:
    """Runs the servers while anybody holds a lease on them."""

    def __init__(self, state: State, host: Host, *, fast: bool) -> None:
        self._state = state
        self._reserved = Reservations()
        self._servers = servers(
            state,
            host=host,
            given=Given(),
            caller=env.callers(),
            reserved=self._reserved,
            fast=fast,
        )
        self._supervisor = Supervisor(
            self._servers.parts,
            logs=state.path / "logs",
            cwd=CHECKOUT,
            report=self._note,
            kill_orphans=True,
        )
        self._pids: dict[str, int] = {}
        self._leases = 0
        self._access: asyncio.Future[dict[str, object]] | None = None
        self._idle = asyncio.Event()

    def _note(self, event: PartEvent) -> None:
        if event.state is PartState.READY:
            self._pids[event.part] = event.pid
        elif event.detail:
            print(f"{event.part}: {event.state.value}: {event.detail}", flush=True)

    async def run(self, listener: socket.socket) -> None:
        """Start, hand out leases, and stop once the last one was given back."""
        self._access = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(FIRST_LEASE_S_MAX, self._idle_if_unused)
        server = await asyncio.start_unix_server(self._lend, sock=listener)
        try:
            await self._supervisor.start()
            await roles.ensure(
                roles.Admin(
                    url=env.socket_database_url(
                        self._servers.database_folder,
                        role=accounts.ADMIN,
                        database="postgres",
                    ),
                    password=self._password("postgres", "admin"),
                ),
                passwords=self._role_passwords(),
            )
            self._access.set_result(asdict(self._reached()))
            await self._idle.wait()
        except PartFailedError as error:
            self._access.set_result({"error": f"{error}\n{tail(error.log)}"})
            await self._idle.wait()
        finally:
            server.close()
            await self._supervisor.stop()
            self._reserved.close()

    async def _lend(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._leases += 1
        try:
            if self._access is not None:
                answer = await asyncio.shield(self._access)
                writer.write(json.dumps(answer).encode() + b"\n")
            # Nothing is ever said here: the end of the stream is the end of the lease.
            with contextlib.suppress(OSError):
                await reader.read()
        finally:
            self._leases -= 1
            writer.close()
            asyncio.get_running_loop().call_later(LINGER_S, self._idle_if_unused)

    def _idle_if_unused(self) -> None:
        if not self._leases:
            self._idle.set()

    def _password(self, owner: str, of: str) -> str:
        return self._state.password_file(owner, of).read_text("utf-8").strip()

    def _role_passwords(self) -> dict[str, str]:
        return {
            accounts.OWNER: self._password("migrate", "database"),
            accounts.BROKER: self._password("broker", "database"),
            accounts.EDGE: self._password("edge", "database"),
        }

    def _reached(self) -> Access:
        password = quote(self._password("broker", "redis"))
        socket_path = quote(str(self._servers.redis_socket))
        return Access(
            database_host=str(self._servers.database_folder),
            passwords=self._role_passwords()
            | {accounts.ADMIN: self._password("postgres", "admin")},
            valkey_url=f"unix://default:{password}@{socket_path}?db=0",
            temporal_address=self._servers.temporal_address,
            temporal_namespace=temporal.NAMESPACE,
            temporal_proxy=str(self._servers.temporal_proxy),
            temporal_user="broker",
            temporal_password=self._password("broker", "temporal"),
            pids=dict(self._pids),
        )


def main() -> None:
    """Hold the servers of a folder: ``python -m ...embedded FOLDER fast|durable``."""
    folder = Path(sys.argv[1])
    host = this_host(*needed(folder))
    problem = platform_refusal() or refusal(host, own_database=True)
    if problem:
        sys.exit(problem)
    state = open_state(folder)
    address = state.run / "lease.sock"
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(address))
    address.chmod(0o600)
    listener.listen(64)
    # The caller waits for this process to end: from here on it can ask for a lease.
    if os.fork():
        os._exit(0)
    guardian.fork_supervisor(closing=(listener.fileno(),))
    with locked(state.path, patient=True):
        fast = sys.argv[2] == "fast"
        keeping = in_memory(state.path / "postgres") if fast else nullcontext()
        with keeping:
            holder = _Holder(state, host, fast=fast)
            asyncio.run(holder.run(listener))
        if fast:
            # Nothing of a test run is worth keeping but what the servers said.
            for name in ("postgres", "temporal", "valkey"):
                shutil.rmtree(state.path / name)
            shutil.rmtree(state.run)


if __name__ == "__main__":
    main()
