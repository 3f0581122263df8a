"""Run the edge, or one of its two commands.

    python -P -m broker.edge                serve until SIGTERM
    python -P -m broker.edge init           make id and keys, publish the receipt key
    python -P -m broker.edge sent           say what was sent: a JSON line per warrant
    python -P -m broker.edge credentials add|list|rotate|test|switch|rollback|remove

The value of a credential never stands in argv or in the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import logging
import os
import pwd
import resource
import signal
import sys
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from broker.edge.calls import Means
from broker.edge.catalogue import load_catalogue
from broker.edge.desk import Desk, Post
from broker.edge.egress.upstreams import Upstreams
from broker.edge.identity import (
    IdentityError,
    load_identity,
    lock,
    publish,
)
from broker.edge.journal import Journal, JournalError, read_records
from broker.edge.notices import Courier
from broker.edge.pins import WarrantKeys
from broker.edge.server import Server
from broker.edge.settings import Settings, SettingsError, from_environment
from broker.edge.store import Store, StoreError
from broker.edge.vault.assemble import key_provider, keyring_of, open_vault
from broker.edge.vault.command import Bench, add_parser, run
from broker.edge.vault.gate import Gate
from broker.edge.vault.keeper import DEMO_CONNECTOR, Draft, secret_from
from broker.edge.vault.kinds import VaultError
from broker.edge.warrants import Here
from broker.registry.tools import ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.edge.identity import Identity
    from broker.edge.vault.keeper import Vault

START_S_MAX: Final = 20.0
"""How long the edge waits for the warrant key and for PostgreSQL."""

_AGAIN_S: Final = 0.2
PURGE_EVERY_S: Final = 600.0
_PR_SET_DUMPABLE: Final = 4
_FAILURES = (
    SettingsError,
    IdentityError,
    ManifestError,
    JournalError,
    StoreError,
    VaultError,
    OSError,
)

_log = structlog.get_logger()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    asked = _parser().parse_args(argv)
    harden()
    try:
        if asked.command == "sent":
            return _say_sent(Path(os.environ["COUNTERFOIL_STATE"]) / "edge" / "journal")
        settings = from_environment()
        _configure_logs(settings, quiet=asked.command == "credentials")
        if asked.command == "init":
            _init(settings)
        elif asked.command == "credentials":
            return asyncio.run(_credentials(settings, asked))
        else:
            asyncio.run(_serve(settings))
    except _FAILURES as error:
        # What these say names files, variables and classes, never a value.
        sys.stderr.write(f"edge: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("init", help="make id and keys, publish the receipt key")
    commands.add_parser("sent", help="say what was sent, after a restore")
    add_parser(commands)
    return parser


def _say_sent(journal: Path) -> int:
    """Write what was sent as far as the journal goes back; nothing is changed.

    A warrant that was voided was not sent. The edge may run meanwhile.
    """
    sent: dict[str, dict[str, str]] = {}
    for record in read_records(journal):
        if record["k"] == "sent":
            named = {"action": record["a"], "tool": record["tool"]}
            sent[record["w"]] = {"warrant": record["w"], **named}
        elif record["k"] == "void":
            sent.pop(record["w"], None)
    for one in sent.values():
        sys.stdout.write(json.dumps(one) + "\n")
    return 0


def harden() -> None:
    """Keep memory out of core dumps, and out of reach of others of the same user.

    A process that is not dumpable cannot be traced or read through /proc by its own
    user. Source: prctl(2), PR_SET_DUMPABLE.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _configure_logs(settings: Settings, *, quiet: bool) -> None:
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    level = max(level, logging.WARNING) if quiet else level
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # What a command answers stands on standard output alone.
        logger_factory=structlog.PrintLoggerFactory(sys.stderr if quiet else None),
        cache_logger_on_first_use=True,
    )


def _init(settings: Settings) -> None:
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = lock(settings.folder)
    try:
        identity = load_identity(settings.folder, now=_now())
        # With its id the edge begins its journal: one that is missing later was lost.
        asyncio.run(_journal(settings, identity).close())
        key_provider(settings)
        where = publish(identity.key.public(), settings.public)
        _log.info("init", edge=identity.edge, receipt_key=str(where))
    finally:
        os.close(held)


async def _credentials(settings: Settings, asked: argparse.Namespace) -> int:
    if not (settings.folder / "edge.json").exists():
        msg = f"{settings.folder} is no edge yet; start it once, or run `init`"
        raise SettingsError(msg)
    async with AsyncExitStack() as after:
        store = _store(settings)
        await store.open()
        after.push_async_callback(store.close)
        identity = load_identity(settings.folder, now=_now())
        by = f"user:{_user()}"
        vault = open_vault(settings, store, identity, by=by, now=_now)
        upstreams = Upstreams()
        after.push_async_callback(upstreams.close)
        bench = Bench(
            vault=vault,
            keyring=keyring_of(vault, upstreams),
            upstreams=upstreams,
            gate=Gate(
                keys=lambda: WarrantKeys(settings.public),
                edge=identity.edge,
                tenant=settings.tenant,
                environment=settings.environment,
                tools=load_catalogue(settings.catalog),
                spend=store.spend,
                now=_now,
            ),
        )
        return await run(asked, bench)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as after:
        after.callback(os.close, lock(settings.folder))
        post, vault = await _post(settings, after)
        upstreams = Upstreams()
        after.push_async_callback(upstreams.close)
        keyring = keyring_of(vault, upstreams)
        after.push_async_callback(keyring.tokens.close)
        desk = Desk(post)
        means = Means(
            journal=post.journal,
            epochs=post.store.epochs,
            access=keyring.access,
            stale=keyring.stale,
            send=upstreams.send,
            expired=desk.expired,
        )
        courier = Courier(post, desk, means)
        server = Server(desk, means, courier=courier, path=settings.socket)
        await server.start()
        after.push_async_callback(server.stop)
        after.callback(asyncio.create_task(_purge(post.store)).cancel)
        _log.info("ready", edge=post.here.edge, boot=post.here.boot)
        await stop.wait()
        _log.info("stopping", live=desk.live)


async def _post(settings: Settings, after: AsyncExitStack) -> tuple[Post, Vault]:
    """Open what the desk works with: identity, journal, database, keys, manifests."""
    identity = load_identity(settings.folder, now=_now())
    publish(identity.key.public(), settings.public)
    journal = _journal(settings, identity)
    after.push_async_callback(journal.close)
    store = _store(settings)
    await store.open()
    after.push_async_callback(store.close)
    vault = open_vault(settings, store, identity, by="edge", now=_now)
    pinned = await _pinned(settings.public)
    await _seal_demo(settings, vault)
    here = Here(
        edge=identity.edge,
        boot=identity.boot,
        tenant=settings.tenant,
        environment=settings.environment,
    )
    post = Post(
        identity=identity,
        here=here,
        keys=pinned,
        tools=load_catalogue(settings.catalog),
        journal=journal,
        store=store,
        rows=vault.rows,
        now=_now,
    )
    return post, vault


def _journal(settings: Settings, identity: Identity) -> Journal:
    return Journal(
        settings.folder / "journal",
        edge=identity.edge,
        now_ms=lambda: int(_now().timestamp() * 1000),
        new=identity.new,
    )


def _store(settings: Settings) -> Store:
    return Store(settings.database_url, password_file=settings.database_password_file)


async def _pinned(folder: Path) -> WarrantKeys:
    """Return the broker's warrant keys, which the broker may still be making."""
    for _ in range(int(START_S_MAX / _AGAIN_S)):
        with suppress(FileNotFoundError):
            return WarrantKeys(folder)
        await asyncio.sleep(_AGAIN_S)
    return WarrantKeys(folder)


async def _seal_demo(settings: Settings, vault: Vault) -> None:
    """Seal the demo CRM's credential as its owner hands it over, if it is new."""
    if not settings.crm_url or settings.crm_credential_file is None:
        return
    secret = secret_from(settings.crm_credential_file)
    draft = Draft(
        connector=DEMO_CONNECTOR, base_url=settings.crm_url, allow_private=True
    )
    for attempt in range(int(START_S_MAX / _AGAIN_S) + 1):
        try:
            await vault.ensure(draft, secret)
        except StoreError:
            if attempt * _AGAIN_S >= START_S_MAX:
                raise
            await asyncio.sleep(_AGAIN_S)
        else:
            return


async def _purge(store: Store) -> None:
    while True:
        with suppress(StoreError):
            await store.purge()
        await asyncio.sleep(PURGE_EVERY_S)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
