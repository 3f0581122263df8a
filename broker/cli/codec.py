"""The keys of what goes to Temporal: make a new one, list them, open a payload."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

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
from broker.client.person import PersonClient
from broker.effects.keyfiles import KeyFileError
from broker.effects.temporal.keyfile import (
    CODEC_FILE,
    load_codec_keys,
    rotate_codec_keys,
)

app = typer.Typer(
    name="codec", help="The keys of what goes to Temporal.", no_args_is_help=True
)


def register(parent: typer.Typer) -> None:
    """Add these commands as ``codec``."""
    parent.add_typer(app)


@app.command()
@as_person
def rotate(
    at: Desk,
    *,
    only_known: Annotated[
        bool,
        typer.Option(
            "--only-known",
            help="Make it known and not used yet: copy both files to every host, then "
            "call it again.",
        ),
    ] = False,
    reason: ReasonOption = "",
) -> None:
    """Seal with a new key from now on; open approvals go on under their old ones.

    Run it on a host that holds the state, with the broker up: who rotated it is in the
    log before the key seals.
    """

    def announce(kid: str) -> None:
        at.run(lambda me: me.codec_rotated(kid, reason=reason))

    now = datetime.now(UTC)
    try:
        keys = rotate_codec_keys(
            at.state, now=now, announce=announce, only_known=only_known
        )
    except (KeyFileError, OSError) as error:
        at.fail(str(error), hint="run it on the host that holds the state")
    said = {"newest": keys.keys[0].kid, "keys": [one.kid for one in keys.keys]}
    at.show(said, lines=[f"seals: {said['newest']}", f"opens: {len(keys.keys)} keys"])


@app.command("list")
def list_(*, state: StateOption = STATE_DEFAULT, as_json: JsonOption = False) -> None:
    """List the keys by name, the one that seals first."""
    at = desk(state, "", None, "", as_json=as_json)
    try:
        keys = load_codec_keys(at.state / "broker" / CODEC_FILE).keys
    except (KeyFileError, OSError) as error:
        at.fail(str(error), hint="run it on the host that holds the state")
    rows = [
        {"key": one.kid, "does": "seals and opens" if place == 0 else "opens"}
        for place, one in enumerate(keys)
    ]
    at.table(rows, {"key": lambda row: row["key"], "does": lambda row: row["does"]})


@app.command()
@as_person
def decode(
    at: Desk,
) -> None:
    """Open the payloads on standard input, as Temporal's tools write them."""
    try:
        payloads = json.loads(sys.stdin.read())["payloads"]
    except (ValueError, KeyError, TypeError):
        at.fail(
            "standard input holds no payloads",
            hint='it takes {"payloads": [{"metadata": {...}, "data": "..."}]}',
            code=Exit.USAGE,
        )

    async def work(me: PersonClient) -> Mapping[str, Any]:
        sent = await me.call(
            "POST", "/v1/admin/codec/decode", json={"payloads": payloads}
        )
        return sent.checked()

    typer.echo(json.dumps(at.run(work)))
