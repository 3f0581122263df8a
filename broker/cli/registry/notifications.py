"""Who gets notices: list, add, remove, and try one out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
)

if TYPE_CHECKING:
    from broker.client.person import PersonClient

app = typer.Typer(help="Notifications: who is told of approvals, and how.")
Which = Annotated[str, typer.Argument(help="Id of a subscription, from the list.")]
_PATH = "/v1/admin/notifications"


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="notifications", no_args_is_help=True)


@app.command("list")
@as_person
def list_(
    at: Desk,
) -> None:
    """List who gets what; addresses are not shown."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return (await person.call("GET", _PATH)).checked()

    found = at.run(work)
    lines = [_line(one) for one in found["subscriptions"]]
    at.show(found, lines=lines or ["nobody is told: `counterfoil notifications add`"])


@app.command()
@as_person
def add(
    at: Desk,
    *,
    form: Annotated[str, typer.Option("--form", help="event, mail or chat.")],
    connector: Annotated[
        str, typer.Option("--connector", help="The edge's; begins with notify_.")
    ],
    role: Annotated[str, typer.Option("--role", help="For this role alone.")] = "",
    person: Annotated[
        str, typer.Option("--person", help="Mail: to whom; a name or an id.")
    ] = "",
    address: Annotated[str, typer.Option("--address", help="Mail: where to.")] = "",
    kinds: Annotated[
        str, typer.Option("--kinds", help="Some kinds alone, with commas.")
    ] = "",
    per_hour: Annotated[int, typer.Option("--per-hour", help="The cap.")] = 60,
) -> None:
    """Have a role told in a chat or by a web hook, or a person by mail."""

    async def work(who: PersonClient) -> Mapping[str, Any]:
        body = {
            "form": form,
            "connector": connector,
            "role": role,
            "person": await _person_id(who, person) if person else "",
            "address": address,
            "kinds": [kind.strip() for kind in kinds.split(",") if kind.strip()],
            "per_hour": per_hour,
        }
        return (await who.call("POST", _PATH, json=body)).checked()

    found = at.run(work)
    at.show(found, lines=[_line(found)])


@app.command()
@as_person
def remove(
    at: Desk,
    subscription: Which,
    *,
    reason: ReasonOption = "",
) -> None:
    """Stop telling somebody; what is on its way to them is void at once."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        path = f"{_PATH}/{subscription}/remove"
        return (await person.call("POST", path, json={"reason": reason})).checked()

    found = at.run(work)
    at.show(found, lines=[f"removed {found['subscription']}"])


@app.command("test")
@as_person
def try_out(
    at: Desk,
    subscription: Which,
) -> None:
    """Send a test now, once, and say what became of it."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return (await person.call("POST", f"{_PATH}/{subscription}/test")).checked()

    found = at.run(work)
    why = f" ({found['code'] or found['status']})" if found["state"] != "taken" else ""
    at.show(found, lines=[f"{found['state']}{why}"])
    if found["state"] != "taken":
        raise typer.Exit(Exit.FAILED)


async def _person_id(who: PersonClient, said: str) -> str:
    """Return the id of a person who is named by it or by their name."""
    for person in await who.people():
        if said in {person["id"], person["name"]}:
            return str(person["id"])
    return said


def _line(one: Mapping[str, Any]) -> str:
    to = one["person"] or one["role"] or "everything"
    kinds = ",".join(one["kinds"]) or "all kinds"
    return (
        f"{one['subscription']}  {one['form']}  {one['connector']}  {to}  {kinds}  "
        f"{one['per_hour']} per hour"
    )
