"""The `demo` command: tell the story on a stack of its own, or on one that runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.demo.by_hand import conversation, token
from broker.cli.demo.proof import evidence
from broker.cli.demo.story import STEPS, NotSoError, Step, Told
from broker.cli.demo.world import World, open_world
from broker.cli.exits import Exit
from broker.cli.stack.running import Running, running
from broker.client.answers import RefusedError, UnreachableError

PAUSE_S = 2.0
START_S_MAX = 180.0
_ROOT = Path(__file__).resolve().parents[3]
_MARK_WIDTH = 44


def register(app: typer.Typer) -> None:
    """Add this command, and what it takes to try the API by hand."""
    for command in (demo, conversation, token):
        app.command()(command)


def demo(
    *,
    state: Annotated[
        Path | None,
        typer.Option(
            help="State folder of a stack that runs already; its demo agent is revoked "
            "at the end. Without it, a fresh stack is started, and removed afterwards."
        ),
    ] = None,
    against: Annotated[
        str, typer.Option(help="Base URL of the broker to talk to; needs --state.")
    ] = "",
    brokers: Annotated[int, typer.Option(min=1, max=8)] = 1,
    workers: Annotated[int, typer.Option(min=1, max=8)] = 1,
    slow: Annotated[bool, typer.Option(help="Pause between steps.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line per step.")] = False,
) -> None:
    """Show the main job end to end; exit 0 only if every check held."""
    if against and state is None:
        typer.echo("--against needs --state: the keys of the demo are there", err=True)
        raise typer.Exit(Exit.USAGE)
    teller = Teller(slow=slow, as_json=as_json)
    if state is not None:
        held = _tell(teller, state.resolve(), against)
    else:
        with fresh_stack(teller, brokers=brokers, workers=workers) as own:
            held = _tell(teller, own, "")
    raise typer.Exit(Exit.OK if held else Exit.FAILED)


@dataclass(frozen=True, slots=True)
class Teller:
    """Writes the story: a line for people, or a JSON line for programs."""

    slow: bool
    as_json: bool

    def say(self, text: str) -> None:
        """Tell people something that is no step."""
        if not self.as_json:
            typer.echo(text)

    def step(self, step: Step, said: str, *, held: bool, took_s: float) -> None:
        """Tell how one step went."""
        title = (step.__doc__ or step.__name__).strip().rstrip(".")
        if self.as_json:
            row = {
                "step": step.__name__,
                "title": title,
                "held": held,
                "said": said,
                "took_ms": round(took_s * 1_000),
            }
            typer.echo(json.dumps(row))
        else:
            mark = "✓" if held else "✗"
            typer.echo(f"{mark} {title:<{_MARK_WIDTH}} {said}")


def _tell(teller: Teller, state: Path, against: str) -> bool:
    found = running(state)
    if found is None:
        typer.echo(f"no stack runs in {state}; start one with `make up`", err=True)
        raise typer.Exit(Exit.UNREACHABLE)
    return asyncio.run(_story(teller, found, base_url=against or found.issuer))


async def _story(teller: Teller, found: Running, *, base_url: str) -> bool:
    started = time.monotonic()
    told = Told()
    async with open_world(
        Path(found.state), base_url=base_url, crm_url=found.crm_url
    ) as world:
        for step in (*STEPS, evidence):
            if not await _one(teller, step, world, told):
                return False
            if teller.slow:
                await asyncio.sleep(PAUSE_S)
    took_s = time.monotonic() - started
    if teller.as_json:
        summary: dict[str, Any] = {"step": "summary", "held": True, **told.facts}
        typer.echo(json.dumps(summary | {"took_ms": round(took_s * 1_000)}))
    teller.say(f"Every check held, in {took_s:.1f} s.")
    return True


async def _one(teller: Teller, step: Step, world: World, told: Told) -> bool:
    began = time.monotonic()
    try:
        said, held = await step(world, told), True
    except NotSoError as error:
        said, held = f"NOT SO: {error}", False
    except RefusedError as error:
        said, held = f"REFUSED: {error} {json.dumps(dict(error.answer.body))}", False
    except (UnreachableError, OSError, TimeoutError) as error:
        said, held = f"NO ANSWER: {error}", False
    teller.step(step, said, held=held, took_s=time.monotonic() - began)
    return held


@contextmanager
def fresh_stack(teller: Teller, *, brokers: int, workers: int) -> Iterator[Path]:
    """Start a stack in a folder of its own; stop and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="counterfoil-demo-") as folder:
        state = Path(folder) / "state"
        teller.say("Starting a fresh stack ...")
        words = ["--brokers", str(brokers), "--workers", str(workers)]
        try:
            _counterfoil(state, "up", "--detach", "--bare", *words)
            yield state
        finally:
            _counterfoil(state, "down", check=False)


def _counterfoil(state: Path, *words: str, check: bool = True) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.cli", *words, "--state", str(state)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S_MAX,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        check=False,
    )
    if check and done.returncode:
        typer.echo(done.stdout[-2_000:] + done.stderr[-2_000:], err=True)
        typer.echo("the stack could not be started", err=True)
        raise typer.Exit(Exit.FAILED)
