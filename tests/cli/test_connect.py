"""`counterfoil connect` says what is missing before it listens anywhere."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from broker.cli.app import make_app
from broker.cli.connect import SECRET_CHARS_MIN
from broker.cli.exits import Exit
from broker.client.keys import ClientKey, write_key
from tests.support.identities import AGENT, key_of

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "http://127.0.0.1:1"


def connect(state: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        make_app("connect"), ["connect", "--state", str(state), *words]
    )
    return done.exit_code, done.output


@pytest.fixture
def state(tmp_path: Path) -> Path:
    agents = tmp_path / "clients" / "agents"
    write_key(agents / "care.jwk", ClientKey(AGENT, "care", key_of("agent")))
    write_key(agents / "alice.jwk", ClientKey("person:x", "alice", key_of("alice")))
    return tmp_path


def test_whose_key_it_is_must_be_said_and_be_an_agents(state: Path) -> None:
    code, said = connect(state)
    assert (code, "--agent" in said) == (Exit.USAGE, True)
    code, said = connect(state, "--agent", "nobody")
    assert (code, "No such file" in said) == (Exit.NOT_FOUND, True)
    code, said = connect(state, "--agent", "alice")
    assert (code, "no agent's key" in said) == (Exit.USAGE, True)


def test_a_key_that_others_may_read_is_not_taken(state: Path) -> None:
    (state / "clients" / "agents" / "care.jwk").chmod(0o640)
    code, said = connect(state, "--agent", "care")
    assert (code, "open to others" in said) == (Exit.NOT_FOUND, True)


def test_a_conversation_is_named_by_its_id(state: Path) -> None:
    words = ("--agent", "care", "--url", NOBODY, "--interaction", "../oauth")
    assert connect(state, *words)[0] == Exit.USAGE


def test_a_broker_that_does_not_answer_is_said_at_once(state: Path) -> None:
    code, said = connect(state, "--agent", "care", "--url", NOBODY)
    assert (code, "does not answer" in said) == (Exit.UNREACHABLE, True)
    assert connect(state, "--agent", "care")[0] == Exit.UNREACHABLE


def test_a_secret_that_is_too_short_is_refused(state: Path) -> None:
    secret = state / "secret"
    secret.touch(mode=0o600)
    words = ("--agent", "care", "--url", NOBODY, "--secret-file", str(secret))
    secret.write_text("x" * (SECRET_CHARS_MIN - 1))
    code, said = connect(state, *words)
    assert (code, str(SECRET_CHARS_MIN) in said) == (Exit.FAILED, True)
    secret.write_text("x" * SECRET_CHARS_MIN)
    assert connect(state, *words)[0] == Exit.UNREACHABLE


def test_a_port_is_one_that_exists(state: Path) -> None:
    for port in ("0", "65536"):
        words = ("--agent", "care", "--url", NOBODY, "--port", port)
        assert connect(state, *words)[0] == Exit.USAGE


def test_what_goes_wrong_is_json_for_programs(state: Path) -> None:
    code, said = connect(state, "--agent", "nobody", "--json")
    assert code == Exit.NOT_FOUND
    assert json.loads(said)["event"] == "failed"
    assert os.sep in json.loads(said)["error"]
