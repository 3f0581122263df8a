"""Get a link into the console for whoever started the stack, in a process of its own.

What it imports would otherwise stay in the supervisor's memory while the stack runs.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from broker.cli.stack.state import CHECKOUT

DEMO_PERSON = "alice"
"""Whom a demo state signs in: one of its supervisors."""

LINK_S_MAX = 20.0


class NoLinkError(Exception):
    """There is no link; says why."""


def offered(state: Path) -> bool:
    """Tell whether this state has somebody to sign in."""
    return (state / "clients" / "people" / f"{DEMO_PERSON}.jwk").exists()


async def make(state: Path, *, environment: Mapping[str, str]) -> str:
    """Return a link; end the process when this is cancelled.

    Raises:
        NoLinkError: It was refused, or took too long.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "broker.cli", "console", "--json"),
        *("--state", str(state), "--as", DEMO_PERSON),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=CHECKOUT,
        env={**environment, "PYTHONPATH": str(CHECKOUT)},
    )
    try:
        async with asyncio.timeout(LINK_S_MAX):
            said, _ = await process.communicate()
        answer = json.loads(said)
    except TimeoutError:
        msg = f"it took more than {LINK_S_MAX:g} s"
        raise NoLinkError(msg) from None
    except ValueError:
        msg = "the command gave no answer"
        raise NoLinkError(msg) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if "url" not in answer:
        raise NoLinkError(str(answer.get("error", "")))
    return str(answer["url"])
