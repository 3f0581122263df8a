"""Open the log of a state for the audit commands: its database, and its public keys."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from broker.core.jwk import JwsError, PublicKey, public_from_jwk
from broker.core.transparency.checkpoint import (
    Checkpoint,
    CheckpointError,
    open_checkpoint,
)
from broker.core.transparency.export import CHECKPOINTS_MAX
from broker.core.transparency.signed_note import NoteError, NoteVerifier, parse_vkey

if TYPE_CHECKING:
    from broker.effects.ledger import History

T = TypeVar("T")

URL_VARIABLE = "COUNTERFOIL_DATABASE_URL"
PASSWORD_VARIABLE = "COUNTERFOIL_DATABASE_PASSWORD_FILE"  # noqa: S105  (a name)
LOG = "main"
NOTES_READ = 16


class SourceError(Exception):
    """The log cannot be read from here, for a reason that a person can mend."""

    def __init__(self, detail: str, *, hint: str = "") -> None:
        """Keep what is wrong apart from what to do about it."""
        super().__init__(detail)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Keys:
    """The public keys that a state has published.

    Attributes:
        log: Keys that have signed checkpoints, the present one first.
        entries: Entry keys by key id.
    """

    log: tuple[NoteVerifier, ...]
    entries: Mapping[str, PublicKey]

    def open(self, note: str) -> Checkpoint | None:
        """Return a checkpoint that one of the log's keys signed, else None."""
        origin = note.partition("\n")[0]
        for log in self.log:
            if log.name == origin:
                try:
                    return open_checkpoint(note, log)
                except CheckpointError:
                    return None
        return None


def read_keys(state: Path) -> Keys:
    """Read the public keys of a state.

    Raises:
        SourceError: They are not there, or damaged.
    """
    public = state / "public"
    try:
        lines = (public / "signer" / "log.vkeys").read_text("ascii").split()
        log = tuple(parse_vkey(line) for line in lines)
        entries: dict[str, PublicKey] = {}
        for path in sorted(public.rglob("entry*.jwk")):
            key = public_from_jwk(json.loads(path.read_text("ascii")))
            entries[key.kid] = key
    except OSError:
        msg = f"{public} holds no key of a log"
        hint = "name the state with --state, or start it once with `counterfoil up`"
        raise SourceError(msg, hint=hint) from None
    except (NoteError, JwsError, ValueError) as error:
        msg = f"a key in {public} is damaged: {error}"
        raise SourceError(msg) from None
    return Keys(log, entries)


@asynccontextmanager
async def history_of(state: Path) -> AsyncIterator[History]:
    """Open the log's tables as the broker's role may read them.

    The database is the one that COUNTERFOIL_DATABASE_URL and _PASSWORD_FILE name, or
    else the embedded one of the state.
    """
    # Verifying a file needs neither: it must start without them.
    from broker.effects.database import Database  # noqa: PLC0415
    from broker.effects.ledger import History  # noqa: PLC0415

    url, password = database_of(state)
    database = Database(url, password=password, pool_max=2)
    try:
        yield History(database, log=LOG)
    finally:
        await database.close()


def database_of(state: Path) -> tuple[str, str]:
    """Return the URL and the password of a state's database, for the broker's role.

    Raises:
        SourceError: The password cannot be read.
    """
    url = os.environ.get(URL_VARIABLE, "")
    if not url:
        # Asked for late: the stack's folder knows about much else.
        from broker.cli.stack.environment import socket_database_url  # noqa: PLC0415

        sockets = (state / "run").resolve() / "pg"
        url = socket_database_url(sockets, role="cf_broker", database="counterfoil")
        return url, _secret(state / "broker" / "database.password")
    file = os.environ.get(PASSWORD_VARIABLE)
    if file:
        return url, _secret(Path(file))
    return url, unquote(urlsplit(url).password or "")


def _secret(path: Path) -> str:
    try:
        return path.read_text("utf-8").removesuffix("\n")
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        hint = f"set {URL_VARIABLE} and {PASSWORD_VARIABLE}, or name the --state"
        raise SourceError(msg, hint=hint) from None


def with_history(state: Path, work: Callable[[History], Awaitable[T]]) -> T:
    """Run something that reads the log.

    Raises:
        SourceError: The database does not answer.
    """
    from broker.core.words.errors import BrokerError  # noqa: PLC0415

    async def run() -> T:
        async with history_of(state) as history:
            return await work(history)

    try:
        return asyncio.run(run())
    except BrokerError as error:
        hint = error.hint or "is it running? see `counterfoil status`"
        raise SourceError(error.detail, hint=hint) from None


async def newest_checkpoint(history: History, keys: Keys) -> tuple[Checkpoint, str]:
    """Return the newest stored checkpoint that the log's own keys signed.

    Raises:
        SourceError: There is none.
    """
    size, _ = await history.head()
    notes = await history.notes(first=0, last=size, count=NOTES_READ)
    for note in notes:
        checkpoint = keys.open(note)
        if checkpoint is not None:
            return checkpoint, note
    msg = "the log has no checkpoint yet that its own key signed"
    raise SourceError(msg, hint="is the signer running? see `counterfoil status`")


async def spaced_checkpoints(
    history: History, keys: Keys, newest: tuple[Checkpoint, str]
) -> list[str]:
    """Return verified checkpoints spread over the log, the newest last."""
    notes = await history.spaced_notes(last=newest[0].size, count=CHECKPOINTS_MAX - 1)
    chosen = {
        checkpoint.size: note
        for note in notes
        if (checkpoint := keys.open(note)) is not None
        and checkpoint.size < newest[0].size
    }
    return [chosen[size] for size in sorted(chosen)] + [newest[1]]
