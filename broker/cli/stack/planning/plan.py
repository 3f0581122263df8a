"""Decide which parts a stack has, from what the caller asked for and already runs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from broker.cli.stack import environment as env
from broker.cli.stack.machine.host import Host
from broker.cli.stack.machine.ports import LOOPBACK, Choice, Reservations
from broker.cli.stack.parts import (
    Ends,
    FileExists,
    PageAnswers,
    Part,
    SocketAnswers,
)
from broker.cli.stack.planning.backing import servers
from broker.cli.stack.planning.given import Given
from broker.cli.stack.planning.rules import confined
from broker.cli.stack.planning.told import Told
from broker.cli.stack.servers import accounts
from broker.cli.stack.state import State

BROKER_PORT = 8400
CRM_PORT = 8460
REPLICAS_MAX = 16
MIGRATE_S_MAX = 60.0
HISTORY_S_MAX = 180.0
OWN, LOG = "COUNTERFOIL_", "COUNTERFOIL_LOG_"
"""How variables begin, and those by which a history's entries get into the log."""

NO_SANDBOX = (
    "NO SANDBOX: COUNTERFOIL_SANDBOX=off; connector code runs unconfined, and no tool "
    "of Tier 3 runs"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the caller asked for.

    Attributes:
        brokers: Replicas of the broker, 1 to ``REPLICAS_MAX``.
        workers: Replicas of the worker, likewise.
        given: What already runs elsewhere.
        caller: The caller's environment.
        history: Load a simulated one.
    """

    brokers: int = 1
    workers: int = 1
    given: Given = field(default_factory=Given)
    caller: Mapping[str, str] = field(default_factory=dict)
    history: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parts of one stack, and where it will be.

    Attributes:
        parts: What to start.
        brokers: Base URL of each broker; the first is the issuer.
        crm_url: Base URL of the CRM.
        sockets: Path of the socket of signer, edge and runner.
        elsewhere: Name and address of what is used but not started.
        notes: What the user should know, a line each.
    """

    parts: tuple[Part, ...]
    brokers: tuple[str, ...]
    crm_url: str
    sockets: Mapping[str, str]
    elsewhere: Mapping[str, str]
    notes: tuple[str, ...]


def plan(state: State, *, host: Host, wish: Wish, reserved: Reservations) -> Plan:
    """Plan the whole stack.

    Args:
        state: Where it keeps what it keeps.
        host: What the kernel allows.
        wish: What the caller asked for.
        reserved: Takes the ports that are chosen; to be held while the stack runs.

    Raises:
        NoFreePortError: Too many ports are taken.
        ValueError: A number of replicas is out of bounds.
    """
    for count in (wish.brokers, wish.workers):
        if not 1 <= count <= REPLICAS_MAX:
            msg = f"1 to {REPLICAS_MAX} replicas, not {count}"
            raise ValueError(msg)
    given = wish.given
    backing = servers(
        state, host=host, given=given, caller=wish.caller, reserved=reserved
    )
    choices = _choose(reserved, BROKER_PORT, wish.brokers)
    crm_choices = () if given.crm_url else _choose(reserved, CRM_PORT, 1)
    addresses = [f"{LOOPBACK}:{choice.port}" for choice in choices]
    crm_url = given.crm_url or f"http://{LOOPBACK}:{crm_choices[0].port}"
    told = Told(
        state=state,
        caller=wish.caller,
        given=given,
        servers=backing,
        brokers=tuple(f"http://{address}" for address in addresses),
        crm_url=crm_url,
    )
    parts = [*backing.parts, *_once(told)]
    parts += [_history(told)] if wish.history else []
    parts += [] if given.crm_url else [_democrm(told)]
    parts += [] if given.signer_socket else [_signer(told)]
    parts += [] if given.edge_socket else [_edge(told)]
    parts += [] if given.runner_socket else [_runner(told)]
    parts += [_broker(told, number) for number in range(wish.brokers)]
    parts += [_worker(told, number) for number in range(wish.workers)]
    notes = (*backing.notes, *([NO_SANDBOX] if given.sandbox == "off" else ()))
    taken = [choice.note for choice in (*choices, *crm_choices) if choice.note]
    return Plan(
        parts=_among_themselves(parts),
        brokers=told.brokers,
        crm_url=crm_url,
        sockets={name: told.socket(name) for name in ("signer", "edge", "runner")},
        elsewhere=_elsewhere(given),
        notes=(*notes, *taken),
    )


def _choose(reserved: Reservations, wanted: int, count: int) -> tuple[Choice, ...]:
    chosen: list[Choice] = []
    for _ in range(count):
        chosen.append(reserved.choose(wanted))
        wanted = chosen[-1].port + 1
    return tuple(chosen)


def _elsewhere(given: Given) -> dict[str, str]:
    named = {
        "postgres": given.database_url,
        "valkey": given.redis_url,
        "temporal": given.temporal_address,
        "democrm": given.crm_url,
        "signer": given.signer_socket,
        "edge": given.edge_socket,
        "runner": given.runner_socket,
    }
    return {name: value for name, value in named.items() if value}


def _among_themselves(parts: list[Part]) -> tuple[Part, ...]:
    """Forget the need for parts that run elsewhere."""
    names = {part.name for part in parts}
    return tuple(
        replace(
            part,
            after=tuple(name for name in part.after if name in names),
            uses=tuple(name for name in part.uses if name in names),
        )
        for part in parts
    )


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", name, *arguments)


def _page(url: str, path: str) -> PageAnswers:
    host, _, port = url.rpartition("//")[2].rpartition(":")
    return PageAnswers(host, int(port), path)


def _once(told: Told) -> tuple[Part, Part]:
    """Return what runs once per start: make the roles, then bring the tables up."""
    make_roles = Part(
        name="roles",
        argv=_module("broker.cli.stack.servers.roles"),
        environment=told.base("roles") | told.making_roles(),
        probe=Ends(),
        after=("postgres",),
    )
    migrate = Part(
        name="migrate",
        argv=_module("broker.cli", "migrate"),
        environment=told.base("migrate")
        | told.database(accounts.OWNER)
        | told.sockets("signer", "edge", "runner")
        | told.crm("migrate"),
        probe=Ends(),
        after=("roles",),
        ready_s_max=MIGRATE_S_MAX,
    )
    return make_roles, migrate


def _history(told: Told) -> Part:
    """Return what loads a simulated history; the brokers start after it."""
    broker = told.database(accounts.BROKER)
    return Part(
        name="history",
        argv=_module("broker.cli", "history"),
        environment=told.base("history")
        | told.database(accounts.OWNER)
        | {LOG + name.removeprefix(OWN): value for name, value in broker.items()},
        probe=Ends(),
        after=("migrate",),
        ready_s_max=HISTORY_S_MAX,
    )


def _democrm(told: Told) -> Part:
    listen = told.crm_url.removeprefix("http://")
    return Part(
        name="democrm",
        argv=_module("infra.democrm"),
        environment=told.base("democrm")
        | told.crm("democrm")
        | {"COUNTERFOIL_LISTEN": listen},
        address=told.crm_url,
        probe=_page(told.crm_url, "/healthz"),
        rule=confined(told.state, name="democrm", folder="democrm"),
    )


def _signer(told: Told) -> Part:
    return Part(
        name="signer",
        argv=_module("broker.signer"),
        environment=told.base("signer") | told.sockets("signer"),
        address=told.socket("signer"),
        probe=SocketAnswers(Path(told.socket("signer"))),
        rule=confined(told.state, name="signer", folder="signer"),
    )


def _edge(told: Told) -> Part:
    return Part(
        name="edge",
        argv=_module("broker.edge"),
        environment=told.base("edge")
        | told.sockets("edge")
        | told.database(accounts.EDGE)
        | told.crm("edge"),
        address=told.socket("edge"),
        probe=SocketAnswers(Path(told.socket("edge"))),
        after=("migrate",),
        uses=("democrm",),
        rule=confined(told.state, name="edge", folder="edge"),
    )


def _runner(told: Told) -> Part:
    return Part(
        name="runner",
        argv=_module("tools.dispatcher"),
        environment=told.base("runner") | told.sockets("runner", "edge"),
        address=told.socket("runner"),
        probe=SocketAnswers(Path(told.socket("runner"))),
        after=("migrate",),
        uses=("edge",),
        rule=confined(told.state, name="runner", folder="runner"),
    )


def _broker(told: Told, number: int) -> Part:
    name, url = f"broker-{number}", told.brokers[number]
    return Part(
        name=name,
        argv=_module("broker.cli", "serve"),
        environment=told.base(name)
        | told.sockets("runner", "edge", "signer")
        | told.database(accounts.BROKER)
        | told.redis()
        | told.temporal("broker")
        | {
            "COUNTERFOIL_LISTEN": url.removeprefix("http://"),
            "COUNTERFOIL_REPLICA": str(number),
        },
        address=url,
        probe=_page(url, "/readyz"),
        after=("migrate", "history"),
        uses=("valkey", "temporal", "signer", "edge", "runner"),
        rule=confined(told.state, name=name, folder="broker"),
    )


def _worker(told: Told, number: int) -> Part:
    name = f"worker-{number}"
    return Part(
        name=name,
        argv=_module("workflows.worker"),
        environment=told.base(name)
        | told.temporal("worker")
        | {"COUNTERFOIL_REPLICA": str(number)},
        probe=FileExists(env.ready_file(told.state, name)),
        after=("migrate", "temporal"),
        uses=tuple(f"broker-{n}" for n in range(len(told.brokers))),
        rule=confined(told.state, name=name, folder="worker"),
    )
