"""Prove afterwards what happened: export, verify, proof, show, list, recover."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn
from uuid import UUID

import typer

from broker.cli.audit_source import (
    Keys,
    SourceError,
    newest_checkpoint,
    read_keys,
    spaced_checkpoints,
    with_history,
)
from broker.cli.exits import Exit
from broker.core.transparency.entry_leaf import EntryError, open_entry
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
from broker.core.transparency.merkle import SIZE_MAX
from broker.core.transparency.signing import REASON_CHARS_MAX
from broker.core.transparency.tlog_proof import TlogProof

if TYPE_CHECKING:
    from broker.core.transparency.checkpoint import Checkpoint
    from broker.effects.ledger import Entry, History

CHECKOUT = Path(__file__).resolve().parents[2]
FILE_MODE = 0o600

app = typer.Typer(
    name="audit",
    help="Prove afterwards what happened.",
    no_args_is_help=True,
)

StateOption = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="COUNTERFOIL_STATE",
        help="Folder that the stack keeps everything in.",
        show_default=".counterfoil in the checkout",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON lines.")]
STATE_DEFAULT = CHECKOUT / ".counterfoil"


def register(parent: typer.Typer) -> None:
    """Add these commands as ``audit``."""
    parent.add_typer(app)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="File to write; replaced whole.")],
    *,
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Write the whole log to a file that verifies by itself."""
    keys = _keys(state, as_json=as_json)

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
        _fail(error, as_json=as_json)
    if as_json:
        _write_json({"file": str(file), "entries": head.size, "root": head.root.hex()})
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


@app.command()
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
        _fail(error, as_json=as_json)
    except ExportError as error:
        if as_json:
            _write_json(
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
        _write_json(
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


@app.command()
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
    keys = _keys(state, as_json=as_json)

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
        _fail(error, as_json=as_json)
    if as_json:
        _write_json(
            {"seq": seq, "proof": made.text, "leaf": b64encode(entry.leaf).decode()}
        )
    elif out is None:
        typer.echo(made.text, nl=False)
    else:
        typer.echo(str(out))


@app.command()
def show(
    which: Annotated[
        str, typer.Argument(metavar="SEQ|ENTRY_ID", help="Position or id of the entry.")
    ],
    *,
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Show one entry, and whether its signature verifies."""
    keys = _keys(state, as_json=as_json)

    async def work(history: History) -> Entry | None:
        if which.isascii() and which.isdecimal():
            return await history.entry(min(int(which[:17]), SIZE_MAX))
        return await history.find(_id(which))

    try:
        entry = with_history(state, work)
    except SourceError as error:
        _fail(error, as_json=as_json)
    if entry is None:
        _fail(
            SourceError(f"there is no entry {which}"),
            code=Exit.NOT_FOUND,
            as_json=as_json,
        )
    opened, problem = _opened(entry, keys)
    if as_json:
        _write_json(_row(entry) | {"entry": opened, "problem": problem})
    else:
        typer.echo(f"entry {entry.seq}, integrated {entry.integrated_at.isoformat()}")
        typer.echo(json.dumps(opened, indent=2, ensure_ascii=False))
        if not problem:
            typer.secho("signature verified", fg="green", err=True)
    if problem:
        typer.secho(f"NOT VERIFIED: {problem}", fg="red", err=True)
        raise typer.Exit(Exit.FAILED)


@app.command("list")
def list_(
    *,
    action: Annotated[str, typer.Option(help="Id of the action.")],
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """List the entries about one action, from its request to its outcome."""
    keys = _keys(state, as_json=as_json)

    async def work(history: History) -> list[Entry]:
        return await history.of_action(_id(action))

    try:
        entries = with_history(state, work)
    except SourceError as error:
        _fail(error, as_json=as_json)
    failed = False
    for entry in entries:
        opened, problem = _opened(entry, keys)
        failed = failed or bool(problem)
        said = opened or {}
        fields = {"at": said.get("at"), "kind": said.get("kind"), "problem": problem}
        if as_json:
            _write_json(_row(entry) | fields)
        else:
            state_word = f"NOT VERIFIED: {problem}" if problem else entry.entry_id
            typer.echo(
                f"{entry.seq:>8}  {fields['at'] or '':27}  "
                f"{fields['kind'] or '':24}  {state_word}"
            )
    if not entries:
        _fail(
            SourceError(f"the log has no entry about action {action}"),
            code=Exit.NOT_FOUND,
            as_json=as_json,
        )
    if failed:
        raise typer.Exit(Exit.FAILED)


@app.command()
def recover(
    *,
    reason: Annotated[
        str, typer.Option(help="Why; it is recorded in the log, for good.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Go on under a new name after the database was restored from a backup.

    The signer refuses to sign a log that is shorter or other than the one it signed
    last. This gives the log a new origin and key, and records what was given up.
    """
    if not 0 < len(reason) <= REASON_CHARS_MAX or not reason.isprintable():
        error = SourceError(f"a reason is a line of at most {REASON_CHARS_MAX} letters")
        _fail(error, code=Exit.USAGE, as_json=as_json)
    _keys(state, as_json=as_json)
    if not yes:
        if as_json or not sys.stdin.isatty():
            error = SourceError("a new origin is opened on somebody's word only")
            error.hint = "say --yes"
            _fail(error, code=Exit.USAGE, as_json=as_json)
        typer.confirm(
            "Entries after the backup are lost from this log for good, and everybody "
            "who follows it must be told the new key. Open a new origin?",
            abort=True,
            err=True,
        )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.signer", "recover", "--reason", reason],
        env={
            **os.environ,
            "COUNTERFOIL_STATE": str(state.absolute()),
            "PYTHONPATH": str(CHECKOUT),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        _fail(SourceError(done.stderr.strip() or "the signer refused"), as_json=as_json)
    if as_json:
        _write_json({"event": "recover", "reason": reason})
    else:
        typer.echo("ordered: the signer opens a new origin with its next signature")


def _keys(state: Path, *, as_json: bool) -> Keys:
    try:
        return read_keys(state)
    except SourceError as error:
        _fail(error, code=Exit.NOT_FOUND, as_json=as_json)


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


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "entry_id": entry.entry_id,
        "integrated_at": entry.integrated_at.isoformat(),
    }


def _write_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))


def _fail(error: Exception, *, code: Exit = Exit.FAILED, as_json: bool) -> NoReturn:
    hint = getattr(error, "hint", "")
    if as_json:
        _write_json({"event": "failed", "error": str(error), "hint": hint})
    else:
        typer.secho(f"error: {error}", fg="red", err=True)
        if hint:
            typer.echo(hint, err=True)
    raise typer.Exit(code)
