"""What docs/tokens.md tells security to run, runs: who lends, and who is trusted."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from click.testing import CliRunner
from typer.main import get_command

from broker.cli.app import make_app
from broker.cli.exits import Exit
from tests.support import source
from tests.support.certificates import Authority

if TYPE_CHECKING:
    import pytest

    from tests.support.identity.served import Desk

PAGE = source.TOP / "docs" / "tokens.md"
# The demo's names, as the agents of these tests are called.
NAMES = {"care-agent": "agent", "lookup-agent": "other"}
BLOCK = re.compile(r"^```sh\n(\./counterfoil .*?)^```$", re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = "".join(BLOCK.findall(PAGE.read_text("utf-8"))).replace("\\\n", " ")
    return [
        [NAMES.get(word, word) for word in shlex.split(line)[1:]]
        for line in lines.splitlines()
    ]


def test_lending_and_trust_are_given_by_two_and_taken_by_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.state)
    Authority(desk.state, "cluster").file.rename(desk.state / "ca.pem")
    where = ["--state", str(desk.state), "--url", desk.url]
    runner, command = CliRunner(), get_command(make_app())
    ended = []
    for words in commands():
        done = runner.invoke(command, [*words, *where])  # type: ignore[arg-type]
        ended.append((words[1], done.exit_code))
        if done.exit_code == Exit.PENDING:
            agreed = ["changes", "approve", "agent", "--as", "dave"]
            second = runner.invoke(command, [*agreed, *where])  # type: ignore[arg-type]
            assert second.exit_code == Exit.OK, second.output
        else:
            assert done.exit_code == Exit.OK, (words, done.output)
    assert ended == [
        ("delegate", Exit.PENDING),
        ("undelegate", Exit.OK),
        ("federate", Exit.PENDING),
        ("unfederate", Exit.OK),
    ]
