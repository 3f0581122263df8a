"""The command is put together from its modules; the supervisor loads few of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from broker.cli.app import COMMAND_MODULES, OPERATE, OPERATE_COMMANDS, make_app
from broker.cli.exits import Exit
from broker.cli.operate import COMPLETE_VARIABLE, PROGRAM

ROOT = Path(__file__).resolve().parents[2]


def names(app: typer.Typer) -> set[str]:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return {*command.commands}


def test_a_command_that_operates_the_stack_loads_only_those() -> None:
    for command in OPERATE_COMMANDS:
        assert names(make_app(command)) == {*OPERATE_COMMANDS}


def test_without_a_command_everything_is_offered() -> None:
    assert next(iter(COMMAND_MODULES)) == OPERATE
    offered = names(make_app())
    assert {*OPERATE_COMMANDS} < offered
    assert {"agents", "people", "audit"} <= offered


def told(command: Any) -> Any:
    """Return all that a command offers below it, by name."""
    if isinstance(command, typer.core.TyperGroup):
        return {name: told(below) for name, below in command.commands.items()}
    return command.get_short_help_str(), [one.opts for one in command.params]


def test_a_command_that_is_named_offers_what_it_does_among_all_others() -> None:
    # A process each: what a module adds to another's commands stays added.
    whole = told(typer.main.get_command(make_app()))
    words = {word for words in COMMAND_MODULES.values() for word in words}
    assert words == {*whole}
    code = "import sys; from tests.cli.test_app import alone; alone(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *sorted(words)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert dict(found) == json.loads(json.dumps(whole))


def alone(words: list[str]) -> None:
    """Print what each word offers where nothing else was loaded before it."""
    for word in words:
        if os.fork() == 0:
            offered = typer.main.get_command(make_app(word))
            sys.stdout.write(f"{json.dumps([word, told(offered)[word]])}\n")
            sys.stdout.flush()
            os._exit(0)
        assert os.wait()[1] == 0


def test_exit_codes_are_what_scripts_rely_on() -> None:
    assert {code.name: code.value for code in Exit} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "NOT_FOUND": 3,
        "DENIED": 4,
        "PENDING": 5,
        "UNREACHABLE": 6,
    }


def test_a_shell_is_told_what_can_come_next() -> None:
    def offered(words: str, *, position: int) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "broker.cli"],
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "COMP_WORDS": words,
                "COMP_CWORD": str(position),
                COMPLETE_VARIABLE: "complete_bash",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return {*done.stdout.split()}

    assert offered("./counterfoil app", position=1) == {"approvals"}
    assert offered("counterfoil up --b", position=2) == {"--brokers", "--bare"}
    assert "approve" in offered("counterfoil approvals ", position=2)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_this_command(shell: str) -> None:
    done = CliRunner().invoke(make_app("completion"), ["completion", shell])
    assert done.exit_code == Exit.OK
    assert COMPLETE_VARIABLE in done.stdout
    assert PROGRAM in done.stdout
