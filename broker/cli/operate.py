"""Start, watch and stop the embedded stack: up, down, status, logs, reset, doctor."""

import json
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

import typer
from typer._completion_shared import Shells, get_completion_script

from broker.cli.exits import Exit
from broker.cli.stack import start
from broker.cli.stack.events import Down, Failed
from broker.cli.stack.machine import sandbox as sandboxes
from broker.cli.stack.machine.doctor import Finding, Health, examine
from broker.cli.stack.machine.following import Tail, follow_logs
from broker.cli.stack.planning.plan import BROKER_PORT, CRM_PORT, REPLICAS_MAX
from broker.cli.stack.process import tail
from broker.cli.stack.running import measured, running
from broker.cli.stack.state import (
    STATE_DEFAULT,
    Stamp,
    StateError,
    delete,
    read_stamp,
    running_pid,
)
from broker.cli.stack.table import display, show_findings, show_rows, write_line

PROGRAM = "counterfoil"
COMPLETE_VARIABLE = "_COUNTERFOIL_COMPLETE"
"""Set by the shell when it asks what could come next."""

DOWN_S_MAX = 60.0
POLL_S = 0.05
LINES_OF_EACH = 5
"""How many lines of each part's past begin a following of all."""

NOTHING_RAN = "nothing has run there; start it with `counterfoil up`"

StateOption = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="COUNTERFOIL_STATE",
        help="Folder that the stack keeps everything in.",
        show_default=".counterfoil in the checkout",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write JSON lines on standard output.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
ReplicasOption = Annotated[
    int, typer.Option(min=1, max=REPLICAS_MAX, help="How many to run.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (up, down, status, logs, reset, doctor, completion):
        app.command()(command)


def up(
    *,
    state: StateOption = STATE_DEFAULT,
    brokers: ReplicasOption = 1,
    workers: ReplicasOption = 1,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once everything is ready.")
    ] = False,
    bare: Annotated[
        bool, typer.Option("--bare", help="Leave out the demo agent's first calls.")
    ] = False,
    history: Annotated[
        bool,
        typer.Option("--history", help="Load sixty simulated days into a demo, once."),
    ] = False,
    production: Annotated[
        bool, typer.Option("--production", help="Stamp a new state production.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the stack and keep it running until Ctrl-C.

    Parts that the environment names by URL are used and not started.
    """
    if history and production:
        _fail(
            "production takes no simulated history",
            hint="leave out --history, or use a demo state",
            code=Exit.USAGE,
            as_json=as_json,
        )
    order = start.Order(
        state=state.absolute(),
        stamp=Stamp.PRODUCTION if production else Stamp.DEMO,
        brokers=brokers,
        workers=workers,
        first_calls=not bare and not production,
        history=history,
    )
    begin = start.background if detach else start.foreground
    raise typer.Exit(begin(order, display(as_json=as_json)))


def down(state: StateOption = STATE_DEFAULT, as_json: JsonOption = False) -> None:
    """Stop the stack; its state stays."""
    begun = time.monotonic()
    if _stop(state, as_json=as_json):
        display(as_json=as_json).tell(Down(time.monotonic() - begun))
    elif as_json:
        write_line(json.dumps({"event": "down", "took_s": 0.0, "was_running": False}))
    else:
        typer.echo("nothing is running here", err=True)


def _stop(state: Path, *, as_json: bool) -> bool:
    """Stop what runs on a state; return whether anything did."""
    pid = running_pid(state)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + DOWN_S_MAX
    while running_pid(state) == pid:
        if time.monotonic() > until:
            _fail(
                f"process {pid} has not stopped within {DOWN_S_MAX:g} s",
                hint=f"`kill -9 {pid}` ends it and every part",
                as_json=as_json,
            )
        time.sleep(POLL_S)
    return True


def status(state: StateOption = STATE_DEFAULT, as_json: JsonOption = False) -> None:
    """Show each part, its address, state and memory."""
    found = running(state)
    if found is None:
        _fail(
            f"nothing is running on {state}",
            hint="start it with `counterfoil up`",
            code=Exit.UNREACHABLE,
            as_json=as_json,
        )
    rows = measured(found)
    sandbox = sandboxes.of_runner(Path(found.sockets["runner"]))
    if as_json:
        content = asdict(found) | {
            "sandbox": sandbox.posture if sandbox else None,
            "cgroup": sandbox.cgroup if sandbox else None,
            "rows": [asdict(row) for row in rows],
            "pss_kib": sum(row.pss_kib or 0 for row in rows),
        }
        write_line(json.dumps(content))
    else:
        show_rows(rows, with_processes=True)
        if sandbox is not None:
            show_findings([sandboxes.told(sandbox)])
    well = {"ready", "done", "elsewhere"}
    if not all(row.state in well for row in rows):
        raise typer.Exit(Exit.FAILED)


def logs(
    part: Annotated[str, typer.Argument(help="Part, or `supervisor`.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as more is written.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, help="How many of the last.")
    ] = 100,
    state: StateOption = STATE_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Show the end of a part's log; without a part, name the logs, or follow all."""
    folder = state / "logs"
    names = sorted(path.stem for path in folder.glob("*.log"))
    if part not in {"", *names} or not names:
        _fail(
            f"there is no log of {part!r}" if names else f"{state} has no logs",
            hint=f"there are: {', '.join(names)}" if names else NOTHING_RAN,
            code=Exit.NOT_FOUND,
            as_json=as_json,
        )
    if not (part or follow):
        for name in names:
            write_line(json.dumps({"part": name}) if as_json else name)
        return
    width = max(map(len, names))

    def write(name: str, line: str) -> None:
        if as_json:
            write_line(json.dumps({"part": name, "line": line}))
        else:
            write_line(line if part else f"{name:<{width}} | {line}")

    tails = {}
    for name in [part] if part else names:
        path = folder / f"{name}.log"
        end = path.stat().st_size
        shown = lines if part else min(lines, LINES_OF_EACH)
        for line in tail(path, lines_max=shown, before=end).splitlines():
            write(name, line)
        tails[name] = Tail(path, position=end)
    if follow:
        follow_logs(folder, tails, write, all_=not part)


def reset(
    state: StateOption = STATE_DEFAULT,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Stop the stack and delete its state, keys and log included."""
    try:
        stamp = read_stamp(state)
        if stamp is Stamp.DEMO and not yes:
            if as_json or not sys.stdin.isatty():
                _fail(
                    "deleting a state asks first, and there is nobody to ask",
                    hint="say --yes",
                    code=Exit.USAGE,
                    as_json=as_json,
                )
            typer.confirm(f"Delete everything in {state}?", abort=True, err=True)
        if stamp is Stamp.DEMO:
            _stop(state, as_json=as_json)
        delete(state.absolute())
    except StateError as error:
        code = Exit.FAILED if state.exists() else Exit.NOT_FOUND
        _fail(str(error), hint=error.hint, code=code, as_json=as_json)
    if as_json:
        write_line(json.dumps({"event": "reset", "state": str(state)}))
    else:
        typer.echo(f"deleted {state}", err=True)


def doctor(
    *,
    state: StateOption = STATE_DEFAULT,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Try to escape from the sandbox instead.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check what the stack needs from this machine."""
    findings: tuple[Finding, ...]
    found = running(state)
    if sandbox:
        findings = tuple(sandboxes.examine(os.environ))
    else:
        ports = (BROKER_PORT, CRM_PORT)
        urls = (found.issuer, found.crm_url) if found else ()
        own = frozenset(urlsplit(url).port or 0 for url in urls)
        findings = tuple(examine(state.absolute(), wanted_ports=ports, own_ports=own))
    said = sandboxes.of_runner(Path(found.sockets["runner"])) if found else None
    if said is not None:
        finding = sandboxes.told(said)
        findings += (replace(finding, check="sandbox of the running stack"),)
    if as_json:
        for finding in findings:
            fields = asdict(finding) | {"health": finding.health.value}
            write_line(json.dumps(fields))
    else:
        show_findings(findings)
    if any(finding.health is Health.FAILED for finding in findings):
        raise typer.Exit(Exit.FAILED)


def completion(
    shell: Annotated[Shells, typer.Argument(help="Which shell it is for.")],
) -> None:
    """Print what lets your shell complete this command.

    In bash: `source <(./counterfoil completion bash)`.
    """
    script = get_completion_script(
        prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell.value
    )
    typer.echo(script)


def _fail(
    error: str, *, hint: str = "", code: Exit = Exit.FAILED, as_json: bool
) -> NoReturn:
    """Say what went wrong and end the command."""
    display(as_json=as_json).tell(Failed(error=error, hint=hint))
    raise typer.Exit(code)
