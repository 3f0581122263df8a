"""Channels from the command line: look at them, silence one, replace a key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.registry.changes import tell
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
    pick,
)
from broker.client.keys import ClientKey, KeyFileError, new_key, write_key
from broker.core.jws import public_to_jwk

if TYPE_CHECKING:
    from broker.client.person import PersonClient

app = typer.Typer(help="Channels: who opens conversations, and says what was said.")
ChannelArgument = Annotated[str, typer.Argument(help="Name or id of the channel.")]


def register(parent: typer.Typer) -> None:
    """Add these commands as ``channels``."""
    parent.add_typer(app, name="channels", no_args_is_help=True)


@app.command("list")
@as_person
def list_(
    at: Desk,
) -> None:
    """List all channels."""

    async def work(person: PersonClient) -> list[Mapping[str, Any]]:
        return await person.channels()

    at.table(
        at.run(work),
        {
            "name": lambda row: row["name"],
            "status": lambda row: row["status"],
            "use cases": lambda row: ", ".join(row["use_cases"]),
            "keys": lambda row: ", ".join(key["kid"] for key in row["keys"]),
            "id": lambda row: row["id"],
        },
    )


@app.command()
@as_person
def suspend(
    at: Desk,
    channel: ChannelArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Take nothing more from a channel, at once; another key lets it speak again."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.channels(), channel, desk=at, what="channel")
        return await person.change_channel(found["id"], "suspend", {"reason": reason})

    tell(at, at.run(work), lines_of)


@app.command("replace-key")
@as_person
def replace_key(
    at: Desk,
    channel: ChannelArgument,
    *,
    out: Annotated[Path, typer.Option(help="Where to write the new key file.")],
    reason: ReasonOption = "",
) -> None:
    """Ask for a key in the place of a channel's present one."""
    if out.exists():
        at.fail(f"{out} is there already", hint="name another file with --out")
    fresh = new_key()

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.channels(), channel, desk=at, what="channel")
        body = {"key": public_to_jwk(fresh.public()), "reason": reason}
        return await person.change_channel(found["id"], "key", body)

    made = at.run(work)
    try:
        write_key(out, ClientKey(f"channel:{made['id']}", str(made["name"]), fresh))
    except KeyFileError as error:
        at.fail(str(error), hint=f"reject {made['change']} and ask again")
    tell(at, made, lines_of, f"key file  {out}, to be used once it is approved")


def lines_of(channel: Mapping[str, Any]) -> list[str]:
    """Return what people read about a channel."""
    return [
        f"channel   {channel['name']} ({channel['status']})",
        f"id        {channel['id']}",
        f"use cases {', '.join(channel['use_cases']) or 'none'}",
        *(f"key       {key['kid']}" for key in channel["keys"]),
    ]
