"""The broker's own keys from the command line: list, rotate, drop at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    JsonOption,
    ReasonOption,
    StateOption,
    as_person,
    desk,
)
from broker.cli.stack.state import STATE_DEFAULT
from broker.core.words.errors import NotFoundError
from broker.effects.keyfiles import KeyFileError
from broker.effects.replacing import files

if TYPE_CHECKING:
    from broker.client.person import PersonClient

app = typer.Typer(help="The broker's own keys: what access tokens are signed with.")


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="keys", no_args_is_help=True)


@app.command("list")
@as_person
def list_(
    at: Desk,
) -> None:
    """List signing keys with their states, and the broker's other keys."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return (await person.signing_keys()).checked()

    found = at.run(work)
    at.show(found, lines=_lines(found))


@app.command()
@as_person
def rotate(
    at: Desk,
    *,
    reason: ReasonOption = "",
) -> None:
    """Go over to the pending signing key as soon as everybody knows it."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return (await person.signing_keys("rotate", reason=reason)).checked()

    found = at.run(work)
    at.show(found, lines=_lines(found))


@app.command()
@as_person
def compromised(
    at: Desk,
    kid: Annotated[str, typer.Argument(help="The key, as `keys list` names it.")],
    *,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; needed, and without personal data.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Drop a signing key at once, and end every access token."""
    if not reason:
        at.fail("say why: --reason", code=Exit.USAGE)
    if not (yes or at.as_json):
        typer.confirm(f"Drop {kid}, and end every access token?", abort=True)

    async def work(person: PersonClient) -> Mapping[str, Any]:
        said = await person.signing_keys(f"{kid}/compromised", reason=reason)
        return said.checked()

    found = at.run(work)
    at.show(found, lines=_lines(found))


@app.command()
def replace(
    name: Annotated[str, typer.Argument(help="entry or warrant.")],
    *,
    only_known: Annotated[
        bool,
        typer.Option(
            "--only-known",
            help="Publish it and do not use it yet: copy it to every host, then call "
            "this again.",
        ),
    ] = False,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once",
            help="Wait for nothing, because somebody else has the present one.",
        ),
    ] = False,
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Replace a key that is a file while everything runs, on the host that holds it."""
    at = desk(state, "", None, "", as_json=as_json)
    try:
        said = files.make_known(at.state, name)
        if not only_known:
            time.sleep(0 if at_once else files.KNOWN_S)
            files.let_sign(at.state, name)
            waits = name == "warrant" and not at_once
            time.sleep(files.RETIRED_S if waits else 0)
            files.finish(at.state, name)
    except NotFoundError as error:
        at.fail(error.detail, hint=error.hint, code=Exit.USAGE)
    except (KeyFileError, OSError) as error:
        at.fail(str(error), hint="run it on the host that holds the state")
    state_of = "is known, and signs after the next call" if only_known else "signs"
    at.show(
        {"name": name, "was": said.before, "kid": said.after, "signs": not only_known},
        lines=[f"{name:<12} {said.after}  {state_of}", f"before       {said.before}"],
    )


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = [_line(key) for key in found["keys"]]
    for own in found.get("own", []):
        old = ", older than policy allows" if own["too_old"] else ""
        lines.append(f"{own['name']:<12} {own['kid']}  {own['age_days']} days{old}")
    return lines


def _line(key: Mapping[str, Any]) -> str:
    match key["state"]:
        case "pending" if key["signs_from"]:
            when = f"signs from {key['signs_from']}"
        case "pending":
            when = f"published {key['published_at']}"
        case "active" if key["signs_until"]:
            when = f"signs until {key['signs_until']}"
        case "active":
            when = f"signs since {key['signs_from']}"
        case "compromised":
            when = f"dropped {key['compromised_at']}"
        case _:
            when = f"verifies until {key['verifies_until']}"
    return f"{key['state']:<12} {key['kid']}  {when}"
