"""Let the word of another issuer count for an agent, and take that away again."""

from __future__ import annotations

import json
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

if TYPE_CHECKING:
    from broker.client.person import PersonClient

LIFE_S = 3_600


@app.command()
@as_person
def federate(
    at: Desk,
    agent: AgentArgument,
    called: Annotated[str, typer.Argument(help="A name for it, like in-cluster.")],
    *,
    issuer: Annotated[str, typer.Option(help="The issuer, exactly as it signs.")],
    subject: Annotated[str, typer.Option(help="The subject, exactly; no pattern.")],
    audience: Annotated[
        str, typer.Option(help="What the assertions are for; the broker by default.")
    ] = "",
    jwks: Annotated[
        Path | None, typer.Option(help="The issuer's JWK set, to be pinned.")
    ] = None,
    jwks_url: Annotated[str, typer.Option(help="Or where it is, over https.")] = "",
    network: Annotated[
        list[str], typer.Option(help="A private network that this may lead to.")
    ] = [],  # noqa: B006  (typer copies it)
    ca: Annotated[
        Path | None, typer.Option(help="The authority that this is verified against.")
    ] = None,
    life_s: Annotated[
        int, typer.Option(min=1, help="Longest life of an assertion, in seconds.")
    ] = LIFE_S,
    reusable: Annotated[
        bool, typer.Option("--reusable", help="It may get more than one token.")
    ] = False,
    reason: ReasonOption = "",
) -> None:
    """Ask for one subject of one issuer to get an agent's tokens."""
    asked: dict[str, Any] = {
        "name": called,
        "issuer": issuer,
        "subject": subject,
        "life_s_max": life_s,
        "reusable": reusable,
    }
    try:
        asked |= {"audience": audience} if audience else {}
        asked |= {"jwks_url": jwks_url} if jwks_url else {}
        asked |= {"networks": network} if network else {}
        asked |= {"ca": ca.read_text(encoding="ascii")} if ca else {}
        if jwks:
            asked |= {"keys": json.loads(jwks.read_text(encoding="utf-8"))["keys"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        at.fail(str(error), hint="--jwks takes a JWK set, --ca a certificate in PEM")
    body = {"federation": asked, "reason": reason}

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.agents(), agent, desk=at, what="agent")
        return await person.change_agent(found["id"], "federate", body)

    tell(at, at.run(work), lines_of)


@app.command()
@as_person
def unfederate(
    at: Desk,
    agent: AgentArgument,
    called: Annotated[str, typer.Argument(help="The name that it was given.")],
    *,
    reason: ReasonOption = "",
) -> None:
    """Take that away at once; the agent's tokens end."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.agents(), agent, desk=at, what="agent")
        body = {"name": called, "reason": reason}
        return await person.change_agent(found["id"], "unfederate", body)

    tell(at, at.run(work), lines_of)
