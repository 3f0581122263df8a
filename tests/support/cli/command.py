"""Run `counterfoil` in this process, as a person does in a shell.

Typer's runner builds the 150 commands anew for each call, 55 ms of CPU time; here they
are built once per process. A command keeps nothing between two calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import typer
import typer.testing
from typer.testing import CliRunner, Result

from broker.cli.app import make_app

_app = cache(make_app)
typer.testing._get_command = cache(typer.main.get_command)  # type: ignore[attr-defined]  # noqa: SLF001


def invoke(
    *words: str, typed: str | None = None, env: Mapping[str, str] | None = None
) -> Result:
    """Run a command; return its exit code and what it printed."""
    more: dict[str, Any] = {"input": typed, "env": env}
    return CliRunner().invoke(_app(), words, **more)
