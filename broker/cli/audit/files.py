"""The log as a file: export it, and verify such a file without anything else."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from broker.cli.audit.say import (
    STATE_DEFAULT,
    JsonOption,
    StateOption,
    fail,
    keys_of,
    write_json,
)
from broker.cli.audit.source import (
    Keys,
    SourceError,
    newest_checkpoint,
    spaced_checkpoints,
    with_history,
)
from broker.cli.exits import Exit
from broker.core.transparency.export import (
    HEADER_BYTES_MAX,
    ExportError,
    Pins,
    Verified,
    entry_line,
    header_line,
    trailer_line,
    verify_export,
)

if TYPE_CHECKING:
    from broker.core.transparency.checkpoint import Checkpoint
    from broker.effects.ledger import History

FILE_MODE = 0o600


def export(
    file: Annotated[Path, typer.Argument(help="File to write; replaced whole.")],
    *,
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Write the whole log to a file that verifies by itself."""
    keys = keys_of(state, as_json=as_json)

    async def work(history: History) -> Checkpoint:
        newest = await newest_checkpoint(history, keys)
        notes = await spaced_checkpoints(history, keys, newest)
        new = file.with_name(file.name + ".new")
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb"
        ) as out:
            await _write_export(out, history, keys, (newest[0], notes))
        new.replace(file)
        return newest[0]

    try:
        head = with_history(state, work)
    except (SourceError, OSError) as error:
        fail(error, as_json=as_json)
    if as_json:
        write_json({"file": str(file), "entries": head.size, "root": head.root.hex()})
    else:
        typer.echo(f"{head.size} entries in {file}")
        typer.echo(f"verify it with: counterfoil audit verify {file}", err=True)


async def _write_export(
    out: BinaryIO,
    history: History,
    keys: Keys,
    heads: tuple[Checkpoint, list[str]],
) -> None:
    head, notes = heads
    used = {note.partition("\n")[0] for note in notes}
    out.write(
        header_line(
            log_keys=[log for log in keys.log if log.name in used],
            entry_keys=keys.entries.values(),
            checkpoints=notes,
        )
    )
    seq = 0
    while seq < head.size:
        entries = await history.entries(seq, count=head.size - seq)
        if not entries:
            msg = f"entry {seq} is not in the database, and was signed for"
            raise SourceError(msg)
        for entry in entries:
            line = entry_line(seq=entry.seq, entry_id=entry.entry_id, leaf=entry.leaf)
            out.write(line)
            seq = entry.seq + 1
    out.write(trailer_line(head))


def verify(
    file: Annotated[Path, typer.Argument(help="File that `audit export` wrote.")],
    *,
    log_key: Annotated[
        list[str] | None,
        typer.Option(help="Verifier key of the log, known from elsewhere."),
    ] = None,
    entry_key: Annotated[
        list[str] | None,
        typer.Option(help="Id of an entry key, known from elsewhere."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify an exported log: every signature, every hash, every number.

    Needs no running service and no network. Ends with 1 if anything does not hold, and
    names the entry.
    """
    pins = Pins(frozenset(log_key or ()), frozenset(entry_key or ()))
    try:
        with file.open("rb") as lines:
            verified = verify_export(_lines(lines), pins=pins)
    except OSError as error:
        fail(error, as_json=as_json)
    except ExportError as error:
        if as_json:
            write_json(
                {
                    "ok": False,
                    "problem": error.problem,
                    "seq": error.seq,
                    "entry_id": error.entry_id,
                    "detail": error.detail,
                }
            )
        else:
            typer.secho(f"NOT VERIFIED: {error}", fg="red", err=True)
        raise typer.Exit(Exit.FAILED) from None
    _show_verified(verified, pins, as_json=as_json)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Give the lines, none of them longer than the longest that could be right."""
    while line := file.readline(HEADER_BYTES_MAX + 1):
        yield line


def _show_verified(verified: Verified, pins: Pins, *, as_json: bool) -> None:
    head = verified.checkpoint
    if as_json:
        write_json(
            {
                "ok": True,
                "entries": head.size,
                "actions": verified.actions,
                "origin": head.origin,
                "root": head.root.hex(),
                "log_keys": list(verified.log_vkeys),
                "entry_keys": list(verified.entry_kids),
                "pinned": bool(pins.log_vkeys and pins.entry_kids),
            }
        )
        return
    typer.secho(
        f"verified: {head.size} entries about {verified.actions} actions", fg="green"
    )
    typer.echo(f"log       {head.origin}")
    typer.echo(f"root      {b64encode(head.root).decode()}")
    for vkey in verified.log_vkeys:
        typer.echo(f"log key   {vkey}")
    for kid in verified.entry_kids:
        typer.echo(f"entry key {kid}")
    if not (pins.log_vkeys and pins.entry_kids):
        typer.echo(
            "These keys came with the file. Compare them with what you know, or pass "
            "them as --log-key and --entry-key.",
            err=True,
        )
