"""The command is put together from its modules; the supervisor loads few of them."""

from __future__ import annotations

import typer

from broker.cli.app import COMMAND_MODULES, OPERATE, OPERATE_COMMANDS, make_app
from broker.cli.exits import Exit


def names(app: typer.Typer) -> set[str]:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return {*command.commands}


def test_a_command_that_operates_the_stack_loads_only_those() -> None:
    for command in OPERATE_COMMANDS:
        assert names(make_app(command)) == {*OPERATE_COMMANDS}


def test_without_a_command_everything_is_offered() -> None:
    assert COMMAND_MODULES[0] == OPERATE
    offered = names(make_app())
    assert {*OPERATE_COMMANDS} < offered
    assert {"agents", "people", "audit"} <= offered


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
