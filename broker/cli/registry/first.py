"""The first administrators: made on the broker's own host, until there are two.

Whatever widens authority takes two people, so that somebody must be there before the
rule can hold. This is the one way; it needs the broker's own keys, and it closes for
good with the second administrator.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.audit.source import SourceError, database_of
from broker.cli.exits import Exit
from broker.cli.registry.people import app
from broker.cli.signed_in import Desk, JsonOption, StateOption
from broker.cli.stack.state import STATE_DEFAULT
from broker.client.keys import ClientKey, KeyFileError, new_key, write_key
from broker.registry.people import Role, bootstrap_closed

if TYPE_CHECKING:
    from broker.core.jws import PrivateKey
    from broker.effects.registry import Registry

HISTORY_READ = 1_000


@app.command()
def first(
    person: Annotated[str, typer.Argument(help="Name of an administrator.")],
    *,
    out: Annotated[Path, typer.Option(help="Where to write their key file.")],
    role: Annotated[
        list[str], typer.Option(help="A role beside admin, like security.")
    ] = [],  # noqa: B006  (typer copies it)
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Make one of the first two administrators, on the broker's own host."""
    at = Desk(state.absolute(), as_json=as_json)
    if not {*role} <= {*Role}:
        at.fail(f"roles are some of: {', '.join(Role)}", code=Exit.USAGE)
    if out.exists():
        at.fail(f"{out} is there already", hint="name another file with --out")
    roles = sorted({Role.ADMIN.value, *role})
    key = new_key()
    try:
        made = asyncio.run(_made(at, person, roles, key))
        write_key(out, ClientKey(f"person:{made}", person, key))
    except (SourceError, KeyFileError) as error:
        at.fail(str(error), hint=getattr(error, "hint", ""))
    at.show(
        {"id": made, "name": person, "roles": roles, "key_file": str(out)},
        lines=[f"person    {person}", f"id        {made}", f"key file  {out}"],
    )


async def _made(at: Desk, person: str, roles: list[str], key: PrivateKey) -> str:
    """Store the row, signed with the broker's own key, and return its id.

    Raises:
        SourceError: The keys or the database cannot be reached from here.
    """
    # Only here: the command line loads none of this for its other commands.
    from broker.cli.bootstrap import Seeder, Staged  # noqa: PLC0415
    from broker.core.words.errors import BrokerError  # noqa: PLC0415
    from broker.effects.database import Database  # noqa: PLC0415
    from broker.effects.keys import load_keys  # noqa: PLC0415
    from broker.effects.registry import Registry  # noqa: PLC0415
    from broker.registry.authority import Realm  # noqa: PLC0415

    try:
        keys = load_keys(at.state / "broker")
    except RuntimeError as error:
        hint = "run this as the broker's user, on its own host"
        raise SourceError(str(error), hint=hint) from None
    realm = Realm(
        os.environ.get("COUNTERFOIL_TENANT", "demo"),
        os.environ.get("COUNTERFOIL_ENVIRONMENT", "dev"),
        {keys.authority.kid: keys.authority.public()},
    )
    url, password = database_of(at.state)
    database = Database(url, password=password, pool_max=2)
    registry = Registry(database, realm=realm, key=keys.authority, entries=Staged(keys))
    try:
        if await _closed(registry):
            at.fail(
                "there have been two administrators: this way is closed for good",
                hint="ask one of them: counterfoil people add",
                code=Exit.DENIED,
            )
        return await Seeder(at.state, registry, realm, ()).first(person, roles, key)
    except BrokerError as error:
        raise SourceError(error.detail, hint=error.hint) from None
    finally:
        await database.close()


async def _closed(registry: Registry) -> bool:
    histories = []
    for row in await registry.list("person"):
        rows = await registry.history("person", row.row_id, limit=HISTORY_READ)
        histories.append([str(role) for one in rows for role in one.body["roles"]])
    return bootstrap_closed(histories)
