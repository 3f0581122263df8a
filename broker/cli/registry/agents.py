"""Agents from the command line: look at them, register, narrow, widen, end them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.registry.changes import tell
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
    pick,
)
from broker.client.keys import ClientKey, KeyFileError, new_key, write_key
from broker.client.person import PersonClient
from broker.core.jws import public_to_jwk

app = typer.Typer(
    name="agents", help="Agents: who may ask for what.", no_args_is_help=True
)

AgentArgument = Annotated[str, typer.Argument(help="Name or id of the agent.")]
ToolsArgument = Annotated[list[str], typer.Argument(help="Tools, like orders.refund.")]


def register(parent: typer.Typer) -> None:
    """Add these commands as ``agents``."""
    parent.add_typer(app)


@app.command("list")
@as_person
def list_(
    at: Desk,
    *,
    unused: Annotated[
        bool, typer.Option("--unused", help="Those that nobody needs, and old keys.")
    ] = False,
) -> None:
    """List all agents."""
    if unused:
        at.table(
            at.run(PersonClient.stale),
            {
                "name": lambda row: row["name"],
                "what": lambda row: row["what"],
                "days": lambda row: str(row["days"]),
                "key": lambda row: row["kid"] or "",
                "id": lambda row: row["id"],
            },
        )
        return
    at.table(
        at.run(PersonClient.agents),
        {
            "name": lambda row: row["name"],
            "status": lambda row: row["status"],
            "tier": lambda row: str(row["tier_max"]),
            "use case": lambda row: row["use_case"],
            "tools": lambda row: str(len(row["tools"])),
            "id": lambda row: row["id"],
        },
    )


@app.command()
@as_person
def show(
    at: Desk,
    agent: AgentArgument,
) -> None:
    """Show an agent: owner, tools, keys and when they were used, running instances."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.agents(), agent, desk=at, what="agent")
        return await person.agent(found["id"])

    found = at.run(work)
    at.show(found, lines=lines_of(found))


@app.command("register")
@as_person
def register_(
    at: Desk,
    agent: Annotated[str, typer.Argument(help="Name of the new agent.")],
    *,
    owner: Annotated[str, typer.Option(help="Name or id of the accountable person.")],
    use_case: Annotated[str, typer.Option(help="What it is for, like retail-care.")],
    tool: Annotated[list[str], typer.Option(help="A tool that it may ask for.")],
    tier_max: Annotated[int, typer.Option(min=1, max=3, help="Highest tier.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the new agent's key file.")
    ] = None,
    reason: ReasonOption = "",
) -> None:
    """Ask for an agent, make its key, and write the key file for whoever runs it."""
    path = out or at.state / "clients" / "agents" / f"{agent}.jwk"
    if path.exists():
        at.fail(f"{path} is there already", hint="name another file with --out")
    fresh = new_key()

    async def work(person: PersonClient) -> Mapping[str, Any]:
        accountable = pick(await person.people(), owner, desk=at, what="person")
        body = {
            "name": agent,
            "owner": accountable["id"],
            "use_case": use_case,
            "tier_max": tier_max,
            "tools": tool,
            "key": public_to_jwk(fresh.public()),
            "reason": reason,
        }
        return await person.register_agent(body)

    made = at.run(work)
    would_be = made["would_be"]
    try:
        write_key(path, ClientKey(str(would_be["client_id"]), agent, fresh))
    except KeyFileError as error:
        at.fail(str(error), hint=f"reject {made['change']} and register it anew")
    tell(at, made, lines_of, f"key file  {path}")


@app.command()
@as_person
def suspend(
    at: Desk,
    agent: AgentArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Stop an agent at once; it can be resumed."""
    _change(at, agent, "suspend", {"reason": reason})


@app.command()
@as_person
def resume(
    at: Desk,
    agent: AgentArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Ask for a suspended agent to act again; its earlier tokens stay void."""
    _change(at, agent, "resume", {"reason": reason})


@app.command()
@as_person
def revoke(
    at: Desk,
    agent: AgentArgument,
    *,
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End an agent for good, at once, with everything that it has pending."""
    if not (yes or at.as_json):
        typer.confirm(f"End {agent} for good?", abort=True)
    _change(at, agent, "revoke", {"reason": reason})


@app.command()
@as_person
def grant(
    at: Desk,
    agent: AgentArgument,
    tools: ToolsArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Ask for tools of its use case to be granted to an agent."""
    _change(at, agent, "grant", {"tools": tools, "reason": reason})


@app.command()
@as_person
def ungrant(
    at: Desk,
    agent: AgentArgument,
    tools: ToolsArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Take tools from an agent, at once."""
    _change(at, agent, "ungrant", {"tools": tools, "reason": reason})


@app.command()
@as_person
def ceiling(
    at: Desk,
    agent: AgentArgument,
    tier_max: Annotated[int, typer.Argument(min=1, max=3, help="Highest tier.")],
    *,
    reason: ReasonOption = "",
) -> None:
    """Lower an agent's highest tier at once, or ask for a higher one."""
    _change(at, agent, "ceiling", {"tier_max": tier_max, "reason": reason})


def _change(at: Desk, agent: str, what: str, body: Mapping[str, Any]) -> None:
    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.agents(), agent, desk=at, what="agent")
        return await person.change_agent(found["id"], what, body)

    tell(at, at.run(work), lines_of)


def lines_of(agent: Mapping[str, Any]) -> list[str]:
    """Return what people read about an agent."""
    lines = [
        f"agent     {agent['name']} ({agent['status']})",
        f"id        {agent['id']}",
        f"owner     {agent['owner']}",
        f"use case  {agent['use_case']} in {agent['environment']}",
        f"tier      up to {agent['tier_max']}",
        f"tools     {', '.join(agent['tools']) or 'none'}",
    ]
    lines.extend(f"delegate  {one}" for one in agent.get("delegates", []))
    lines.extend(
        f"trusts    {one['subject']} of {one['issuer']} ({one['name']})"
        for one in agent.get("federations", [])
    )
    for key in agent["keys"]:
        used = key.get("last_used")
        when = "" if "last_used" not in key else f", last used {used or 'never'}"
        lines.append(f"key       {key['kid']} ({key['algorithm']}{when})")
    lines.extend(
        f"instance  {one['id']}, last seen {one['last_seen']}, {one['tokens']} tokens"
        for one in agent.get("instances", [])
    )
    return lines
