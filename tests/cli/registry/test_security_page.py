"""What the page for security staff tells people to run, runs: in its order."""

from __future__ import annotations

import asyncio
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from click.testing import CliRunner
from typer.main import get_command

from broker.cli.app import make_app
from broker.cli.exits import Exit
from broker.core.identity.signing_keys import Pace
from broker.effects.signing import SigningRing
from tests.contracts.test_registry import entry
from tests.support import source
from tests.support.door import application
from tests.support.identities import TOKEN_KEY
from tests.support.identity.halves import Drawer

if TYPE_CHECKING:
    import pytest

    from tests.support.identity.served import Desk

PAGE = source.TOP / "docs" / "security.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The demo's names, as the people and agents of these tests are called.
NAMES = {"care-agent": "agent", "erin": "olivia", "SIGNING-KID": TOKEN_KEY.kid}


def commands() -> list[list[str]]:
    found = []
    for block in BLOCK.findall(PAGE.read_text("utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "./counterfoil", line
            found.append([NAMES.get(word, word) for word in words[1:]])
    return found


def with_ring(desk: Desk) -> None:
    door = desk.door
    ring = SigningRing(
        door.registry, Drawer(), clock=door.times, nonce_secret=b"n" * 32, pace=Pace()
    )
    asyncio.run(ring.found(TOKEN_KEY, entry()))
    asyncio.run(ring.refresh())
    door.desk = replace(door.desk, keys=ring)
    application().state.desk = door.desk


def test_every_command_of_the_page_does_what_it_says(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_ring(desk)
    monkeypatch.chdir(desk.state)
    where = ["--state", str(desk.state), "--url", desk.url]
    command, asked = get_command(make_app()), 0
    for words in commands():
        result = CliRunner().invoke(command, [*words, *where])  # type: ignore[arg-type]
        assert result.exit_code in {Exit.OK, Exit.PENDING}, (words, result.output)
        asked += result.exit_code == Exit.PENDING
    assert len(commands()) > 35
    assert asked > 8
    assert (desk.state / "webchat.next.jwk").exists()
    agents = {
        row["name"]: row["status"] for row in desk.run("agents", "list", who="dave")
    }
    assert agents == {"agent": "active", "lookup-agent": "revoked", "other": "active"}
    carol = desk.run("people", "show", "carol", who="dave")
    assert carol["status"] == "suspended"
    assert desk.run("kill-switch", "status", who="dave")["on"] is False
