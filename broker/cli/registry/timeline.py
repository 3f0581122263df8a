"""Show from when to when an agent had authority, and what happened under it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.registry.agents import AgentArgument, app
from broker.cli.signed_in import (
    Desk,
    as_person,
    pick,
)

if TYPE_CHECKING:
    from broker.client.person import PersonClient


@app.command()
@as_person
def timeline(
    at: Desk,
    agent: AgentArgument,
    *,
    entries_from: Annotated[
        int, typer.Option(min=0, help="Position in the log to begin with.")
    ] = 0,
    actions_until: Annotated[
        str, typer.Option(help="Moment of the latest action, as `more` names it.")
    ] = "",
) -> None:
    """Show when an agent's authority began and ended, and what was done under it."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = pick(await person.agents(), agent, desk=at, what="agent")
        return await person.timeline(
            found["id"], entries_from=entries_from, actions_until=actions_until
        )

    found = at.run(work)
    at.show(found, lines=[*written(found, part=bool(entries_from))])


def written(found: Mapping[str, Any], *, part: bool) -> Iterator[str]:
    """Write a timeline; ``part`` says that its earlier entries were left out."""
    yield from _left_out(found["more"])
    part = part or found["more"]["entries_from"] is not None
    unproved = "entry not shown" if part else "not in the log yet"
    yield f"agent     {found['name']} ({found['status']})"
    yield f"authority {found['from']} until {found['until'] or 'now'}"
    yield "what held, from when to when:"
    for one in found["periods"]:
        proof = unproved if one["seq"] is None else f"entry {one['seq']}"
        yield (
            f"  {one['from']} to {one['until'] or 'now'}  {one['status']}, "
            f"tier {one['tier_max']}, {len(one['tools'])} tools, "
            f"keys {', '.join(one['kids']) or 'none'}; {one['tokens']} tokens, "
            f"{one['actions']} actions; {one['what'] or 'bootstrap'} by "
            f"{', '.join(one['by'])} ({proof})"
        )
    yield "what happened:"
    happened = [_event(one) for one in found["events"]]
    happened += [_action(one) for one in found["actions"]]
    for _, line in sorted(happened):
        yield line


def _left_out(more: Mapping[str, Any]) -> Iterator[str]:
    """Say what is missing: nobody may take a part for the whole."""
    rest = {
        "later entries": ("--entries-from", more["entries_from"]),
        "earlier actions": ("--actions-until", more["actions_until"]),
    }
    for what, (option, value) in rest.items():
        if value is not None:
            yield f"NOT ALL   {what} are left out, here and in counts: {option} {value}"
    if more["revisions"]:
        yield "NOT ALL   earlier revisions are left out: authority began before"


def _event(one: Mapping[str, Any]) -> tuple[str, str]:
    place = "" if one["seq"] is None else f" (entry {one['seq']})"
    key = f" with {one['kid']}" if one["kid"] else ""
    key += " (claimed)" if one.get("claimed") else ""
    by = f" by {one['by']}" if one["by"] else ""
    codes = f" {', '.join(one['codes'])}" if one.get("codes") else ""
    return one["at"], f"  {one['at']}  {one['what']}{codes}{key}{by}{place}"


def _action(one: Mapping[str, Any]) -> tuple[str, str]:
    place = "" if one["seq"] is None else f" (entry {one['seq']})"
    key = f" with {one['kid']}" if one["kid"] else ""
    said = f"{one['tool']} {one['state']}, action {one['action']}"
    return one["at"], f"  {one['at']}  {said}{key}{place}"
