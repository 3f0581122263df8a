"""Go on deciding after a restore: compare what edges sent with what is known of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.audit.say import CHECKOUT
from broker.cli.signed_in import (
    Desk,
    as_person,
)
from broker.client.person import PersonClient


@as_person
def agree(
    at: Desk,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is recorded, for good.")],
    sent: Annotated[
        list[Path] | None,
        typer.Option(
            "--sent",
            help="File with what `python -m broker.edge sent` says on an edge's host; "
            "one for each edge. Without it, the edge of this state is asked.",
        ),
    ] = None,
) -> None:
    """Compare edge journals with the restored actions, and let everything go on.

    What an edge sent and the database has as not sent becomes unknown, and is
    reconciled; what the database does not know is named, for people to account for.
    """
    try:
        texts = [path.read_text("utf-8") for path in sent or ()] or [_asked(at.state)]
        rows = [
            {name: one[name] for name in ("warrant", "action", "tool")}
            for text in texts
            for one in map(json.loads, text.splitlines())
        ]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        at.fail(
            f"what edges sent cannot be read: {error}",
            hint="run `python -m broker.edge sent` on each edge's host, and name the "
            "files with --sent",
        )

    async def work(me: PersonClient) -> Mapping[str, Any]:
        body = {"reason": reason, "sent": rows}
        path = "/v1/admin/restore/agree"
        return (await me.call("POST", path, json=body)).checked()

    done = at.run(work)
    lines = [
        f"goes on under {done['origin']}: {done['known']} agree",
        *(f"held, and reconciled: {one}" for one in done["held"]),
        *(f"not known here, account for it: {one}" for one in done["lost"]),
    ]
    at.show(done, lines=lines)


def _asked(state: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.edge", "sent"],
        env={
            **os.environ,
            "COUNTERFOIL_STATE": str(state),
            "PYTHONPATH": str(CHECKOUT),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or "the edge's journal cannot be read")
    return done.stdout
