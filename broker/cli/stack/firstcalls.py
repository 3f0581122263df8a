"""Make the demo agent's first calls in a process of its own.

What they import would otherwise stay in the supervisor's memory as long as the stack
runs. ``python -P -m broker.cli.stack.firstcalls STATE URL`` says a line per call.
"""

import asyncio
import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from broker.cli.stack.state import CHECKOUT

DEMO = "broker.cli.demo"


class FirstCallsError(Exception):
    """The first calls did not go through; says why."""


class FirstCalls(Protocol):
    """What the demo offers."""

    def __call__(
        self, *, state: Path, base_url: str, say: Callable[[str], None]
    ) -> None:
        """Make the calls; ``say`` is told each in a line."""


def offered() -> bool:
    """Tell whether there is a demo that could make first calls."""
    return find_spec(DEMO) is not None


async def make(
    state: Path,
    base_url: str,
    *,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Make the calls; end them when this is cancelled.

    Raises:
        FirstCallsError: One did not go through.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "broker.cli.stack.firstcalls",
        str(state),
        base_url,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=CHECKOUT,
        env={**environment, "PYTHONPATH": str(CHECKOUT)},
    )
    assert process.stdout is not None  # noqa: S101 a pipe was asked for
    assert process.stderr is not None  # noqa: S101 likewise
    # Both are read at once: neither may fill up while the other is waited for.
    errors = asyncio.create_task(process.stderr.read())
    try:
        async for line in process.stdout:
            say(line.decode("utf-8", "replace").rstrip("\n"))
        code = await process.wait()
        said = (await errors).decode("utf-8", "replace").strip()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    finally:
        errors.cancel()
    if code:
        raise FirstCallsError(said.splitlines()[-1] if said else f"exit code {code}")


def main() -> None:
    """Make the calls that the demo offers."""
    calls: FirstCalls = importlib.import_module(DEMO).first_calls
    state, base_url = sys.argv[1:]

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    calls(state=Path(state), base_url=base_url, say=say)


if __name__ == "__main__":
    main()
