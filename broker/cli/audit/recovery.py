"""Go on under a new origin, after a database was restored from a backup."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from broker.cli.audit.say import (
    CHECKOUT,
    STATE_DEFAULT,
    JsonOption,
    StateOption,
    fail,
    keys_of,
    write_json,
)
from broker.cli.audit.source import SourceError
from broker.cli.exits import Exit
from broker.core.transparency.signing import REASON_CHARS_MAX


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
        fail(error, code=Exit.USAGE, as_json=as_json)
    keys_of(state, as_json=as_json)
    if not yes:
        if as_json or not sys.stdin.isatty():
            error = SourceError("a new origin is opened on somebody's word only")
            error.hint = "say --yes"
            fail(error, code=Exit.USAGE, as_json=as_json)
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
        fail(SourceError(done.stderr.strip() or "the signer refused"), as_json=as_json)
    if as_json:
        write_json({"event": "recover", "reason": reason})
    else:
        typer.echo("ordered: the signer opens a new origin with its next signature")
