"""Single entries: show them, list those of an action, prove that one is in the log."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from broker.cli.audit.say import (
    STATE_DEFAULT,
    JsonOption,
    StateOption,
    fail,
    keys_of,
    write_json,
)
from broker.cli.audit.source import Keys, SourceError, newest_checkpoint, with_history
from broker.cli.exits import Exit
from broker.core.transparency.entry_leaf import EntryError, open_entry
from broker.core.transparency.merkle import SIZE_MAX
from broker.core.transparency.tlog_proof import TlogProof

if TYPE_CHECKING:
    from broker.effects.ledger import Entry, History


def proof(
    seq: Annotated[
        int, typer.Argument(min=0, max=SIZE_MAX, help="Position of the entry.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for the proof.")
    ] = None,
    leaf: Annotated[
        Path | None, typer.Option(help="File for the entry's exact bytes.")
    ] = None,
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Write the proof that one entry is in the log (C2SP tlog-proof)."""
    keys = keys_of(state, as_json=as_json)

    async def work(history: History) -> tuple[TlogProof, Entry]:
        head, note = await newest_checkpoint(history, keys)
        entry = await history.entry(seq)
        if entry is None or seq >= head.size:
            msg = f"no checkpoint covers an entry {seq}"
            raise SourceError(msg, hint=f"the newest covers {head.size} entries")
        return TlogProof(seq, await history.inclusion(seq, head.size), note), entry

    try:
        made, entry = with_history(state, work)
        if leaf is not None:
            leaf.write_bytes(entry.leaf)
        if out is not None:
            out.write_text(made.text, encoding="utf-8")
    except (SourceError, OSError) as error:
        fail(error, as_json=as_json)
    if as_json:
        write_json(
            {"seq": seq, "proof": made.text, "leaf": b64encode(entry.leaf).decode()}
        )
    elif out is None:
        typer.echo(made.text, nl=False)
    else:
        typer.echo(str(out))


def show(
    which: Annotated[
        str, typer.Argument(metavar="SEQ|ENTRY_ID", help="Position or id of the entry.")
    ],
    *,
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Show one entry, and whether its signature verifies."""
    keys = keys_of(state, as_json=as_json)

    async def work(history: History) -> Entry | None:
        if which.isascii() and which.isdecimal():
            return await history.entry(min(int(which[:17]), SIZE_MAX))
        return await history.find(_id(which))

    try:
        entry = with_history(state, work)
    except SourceError as error:
        fail(error, as_json=as_json)
    if entry is None:
        fail(
            SourceError(f"there is no entry {which}"),
            code=Exit.NOT_FOUND,
            as_json=as_json,
        )
    opened, problem = _opened(entry, keys)
    if as_json:
        write_json(_row(entry) | {"entry": opened, "problem": problem})
    else:
        typer.echo(f"entry {entry.seq}, integrated {entry.integrated_at.isoformat()}")
        typer.echo(json.dumps(opened, indent=2, ensure_ascii=False))
        if _simulated(opened):
            typer.secho("simulated history: this never happened", fg="yellow", err=True)
        if not problem:
            typer.secho("signature verified", fg="green", err=True)
    if problem:
        typer.secho(f"NOT VERIFIED: {problem}", fg="red", err=True)
        raise typer.Exit(Exit.FAILED)


def list_(
    *,
    action: Annotated[str, typer.Option(help="Id of the action.")],
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """List the entries about one action, from its request to its outcome."""
    keys = keys_of(state, as_json=as_json)

    async def work(history: History) -> list[Entry]:
        return await history.of_action(_id(action))

    try:
        entries = with_history(state, work)
    except SourceError as error:
        fail(error, as_json=as_json)
    failed = False
    for entry in entries:
        opened, problem = _opened(entry, keys)
        failed = failed or bool(problem)
        said = opened or {}
        fields = {"at": said.get("at"), "kind": said.get("kind"), "problem": problem}
        if as_json:
            write_json(_row(entry) | fields | {"simulated": _simulated(said)})
        else:
            state_word = f"NOT VERIFIED: {problem}" if problem else entry.entry_id
            stamp = "  simulated" if _simulated(said) else ""
            typer.echo(
                f"{entry.seq:>8}  {fields['at'] or '':27}  "
                f"{fields['kind'] or '':24}  {state_word}{stamp}"
            )
    if not entries:
        fail(
            SourceError(f"the log has no entry about action {action}"),
            code=Exit.NOT_FOUND,
            as_json=as_json,
        )
    if failed:
        raise typer.Exit(Exit.FAILED)


def _id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        msg = f"{text!r} is neither a position nor an id"
        raise SourceError(msg) from None


def _opened(entry: Entry, keys: Keys) -> tuple[dict[str, Any] | None, str]:
    """Return what an entry says, and what is wrong with it."""
    try:
        opened = open_entry(entry.leaf, keys.entries)
    except EntryError as error:
        return None, str(error)
    if opened["entry_id"] != entry.entry_id:
        return opened, "the table has it under another id"
    return opened, ""


def _simulated(opened: dict[str, Any] | None) -> bool:
    return bool((opened or {}).get("detail", {}).get("simulated"))


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "entry_id": entry.entry_id,
        "integrated_at": entry.integrated_at.isoformat(),
    }
