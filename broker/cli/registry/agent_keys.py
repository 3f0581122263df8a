"""Rotate an agent's key with an overlap, and end a key or a running copy at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.registry.agents import AgentArgument, app, lines_of
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

HOUR_S = 3_600


@app.command("rotate-key")
@as_person
def rotate_key(
    at: Desk,
    agent: AgentArgument,
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write the new key file; else beside the present."),
    ] = None,
    overlap_h: Annotated[
        int, typer.Option(min=0, max=168, help="Hours that the earlier key goes on.")
    ] = 24,
    reason: ReasonOption = "",
) -> None:
    """Ask for a new key for an agent; the earlier one goes on for a while beside it."""
    fresh = new_key()

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.agents(), agent, desk=at, what="agent")
        path = _place(at, out, str(found["name"]))
        if path.exists():
            at.fail(f"{path} is there already", hint="name another file with --out")
        body = {
            "key": public_to_jwk(fresh.public()),
            "overlap_s": overlap_h * HOUR_S,
            "reason": reason,
        }
        return await person.change_agent(found["id"], "keys", body)

    made = at.run(work)
    would_be = made["would_be"]
    path = _place(at, out, str(would_be["name"]))
    try:
        client_id = str(would_be["client_id"])
        write_key(path, ClientKey(client_id, str(would_be["name"]), fresh))
    except KeyFileError as error:
        at.fail(str(error), hint=f"reject {made['change']} and rotate again")
    tell(at, made, lines_of, f"key file  {path}, to be used once it is approved")


def _place(at: Desk, out: Path | None, agent: str) -> Path:
    return out or at.state / "clients" / "agents" / f"{agent}.next.jwk"


@app.command("drop-key")
@as_person
def drop_key(
    at: Desk,
    agent: AgentArgument,
    kid: Annotated[str, typer.Argument(help="The key, as `agents show` names it.")],
    *,
    compromised: Annotated[
        bool,
        typer.Option(
            "--compromised", help="Somebody may have it: end all that the agent began."
        ),
    ] = False,
    reason: ReasonOption = "",
) -> None:
    """End one of an agent's keys at once, and every token that it got."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.agents(), agent, desk=at, what="agent")
        what = f"keys/{kid}/drop"
        body = {"reason": reason, "compromised": compromised}
        return await person.change_agent(found["id"], what, body)

    changed = at.run(work)
    at.show(changed, lines=lines_of(changed))


@app.command()
@as_person
def instances(
    at: Desk,
    agent: AgentArgument,
) -> None:
    """List an agent's running copies, the latest seen first."""

    async def work(person: PersonClient) -> list[Mapping[str, Any]]:
        found = pick(await person.agents(), agent, desk=at, what="agent")
        return list((await person.agent(found["id"]))["instances"])

    at.table(
        at.run(work),
        {
            "instance": lambda row: row["id"],
            "first seen": lambda row: row["first_seen"],
            "last seen": lambda row: row["last_seen"],
            "tokens": lambda row: str(row["tokens"]),
            "key": lambda row: row["jkt"],
        },
    )


@app.command("end-instance")
@as_person
def end_instance(
    at: Desk,
    agent: AgentArgument,
    instance: Annotated[str, typer.Argument(help="Id, as `agents show` names it.")],
    *,
    reason: ReasonOption = "",
) -> None:
    """End one running copy of an agent at once; the others go on."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.agents(), agent, desk=at, what="agent")
        return await person.end_instance(found["id"], instance, reason=reason)

    ended = at.run(work)
    at.show(ended, lines=[f"instance  {ended['id']} ({ended['status']})"])
