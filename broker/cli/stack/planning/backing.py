"""Plan the three servers that the stack stands on, unless the caller has them."""

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.cli.stack import environment as env
from broker.cli.stack.machine.host import Host
from broker.cli.stack.machine.ports import LOOPBACK, Reservations
from broker.cli.stack.parts import (
    FileExists,
    Namespaces,
    Part,
    PostgresAsks,
    ValkeyAnswers,
)
from broker.cli.stack.planning.given import Given
from broker.cli.stack.servers import accounts, postgres, temporal, valkey
from broker.cli.stack.state import State, put_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The three servers that are started here, and how they are reached."""

    parts: tuple[Part, ...]
    database_folder: Path
    redis_socket: Path
    temporal_address: str
    temporal_proxy: Path
    notes: tuple[str, ...] = ()


def servers(
    state: State,
    *,
    host: Host,
    given: Given,
    caller: Mapping[str, str],
    reserved: Reservations,
    fast: bool = False,
) -> Servers:
    """Plan PostgreSQL, Valkey and Temporal, those of them that are not given.

    Args:
        state: Where they keep what they keep.
        host: What the kernel allows.
        given: What runs elsewhere.
        caller: The caller's environment.
        reserved: Takes the ports that are chosen.
        fast: For tests: trade safety from power cuts for speed.
    """
    parts: list[Part] = []
    notes: list[str] = []
    database_folder = state.run / "pg"
    redis_socket = state.run / "valkey.sock"
    proxy = state.run / "temporal.sock"
    address = f"{LOOPBACK}:{temporal.PORT}"
    if not given.database_url:
        parts.append(_postgres(state, host, caller, fast=fast))
    if not given.redis_url:
        parts.append(_valkey(state, caller, redis_socket, fast=fast))
    if not given.temporal_address:
        part, address, note = _temporal(
            state, host, caller, proxy=proxy, reserved=reserved
        )
        parts.append(part)
        notes.extend([note] if note else [])
    return Servers(
        parts=tuple(parts),
        database_folder=database_folder,
        redis_socket=redis_socket,
        temporal_address=address,
        temporal_proxy=proxy,
        notes=tuple(notes),
    )


def _postgres(
    state: State, host: Host, caller: Mapping[str, str], *, fast: bool
) -> Part:
    sockets = state.run / "pg"
    sockets.mkdir(mode=0o700, exist_ok=True)
    socket = sockets / postgres.SOCKET_NAME
    return Part(
        name="postgres",
        argv=postgres.arguments(
            data=state.path / "postgres" / "data",
            sockets=sockets,
            password_file=state.password_file("postgres", "admin"),
            fast=fast,
        ),
        environment=env.base(caller, state, part="postgres"),
        address=str(socket),
        probe=PostgresAsks(socket, accounts.ADMIN),
        # PostgreSQL will not run as root; as somebody else it needs no disguise.
        namespaces=Namespaces.USER if host.root else Namespaces.NONE,
        # Its fast shutdown; SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        stop_s_max=15.0,
    )


def _valkey(
    state: State, caller: Mapping[str, str], socket: Path, *, fast: bool
) -> Part:
    password_file = state.password_file("broker", "redis")
    configuration = state.path / "valkey" / "valkey.conf"
    put_secret(
        configuration,
        valkey.configuration(
            folder=state.path / "valkey",
            socket=socket,
            password=password_file.read_text("utf-8").strip(),
            durable=not fast,
        ),
    )
    return Part(
        name="valkey",
        argv=(str(valkey.program()), str(configuration)),
        environment=env.base(caller, state, part="valkey"),
        address=str(socket),
        probe=ValkeyAnswers(socket, password_file),
    )


def _temporal(
    state: State,
    host: Host,
    caller: Mapping[str, str],
    *,
    proxy: Path,
    reserved: Reservations,
) -> tuple[Part, str, str]:
    """Return the part, the address behind its proxy, and a note or nothing."""
    port, http, note = temporal.PORT, temporal.HTTP_PORT, ""
    if host.network_namespace_refusal:
        port = reserved.choose(port).port
        http = reserved.choose(http).port
        note = (
            f"temporal has no network of its own ({host.network_namespace_refusal}): "
            f"other users of this machine can reach it on port {port}"
        )
    users = {
        user: str(state.password_file(user, "temporal"))
        for user in ("broker", "worker")
    }
    credentials = state.path / "temporal" / "users.json"
    put_secret(credentials, json.dumps(users))
    ready = env.ready_file(state, "temporal")
    # Its garbage collector otherwise lets the heap grow to twice what is in use.
    environment = env.base(caller, state, part="temporal") | {
        "GOGC": "50",
        "HOME": str(state.path / "temporal"),
    }
    part = Part(
        name="temporal",
        argv=temporal.arguments(
            database=state.path / "temporal" / "temporal.db",
            socket=proxy,
            ready=ready,
            credentials=credentials,
            port=port,
            http=http,
        ),
        environment=environment,
        address=str(proxy),
        probe=FileExists(ready),
        namespaces=(
            Namespaces.NONE
            if host.network_namespace_refusal
            else Namespaces.USER_AND_NETWORK
        ),
    )
    return part, f"{LOOPBACK}:{port}", note
