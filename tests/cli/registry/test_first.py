"""The first two administrators are made on the host, and nobody after them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from broker.cli.exits import Exit
from broker.cli.registry.first import HISTORY_READ
from broker.client.keys import read_key
from broker.effects.database import Database
from broker.effects.keys import generate_keys
from broker.effects.registry import Registry
from broker.registry.authority import Realm
from broker.registry.people import Role, bootstrap_closed, parse_person
from tests.contracts.test_registry import Unsequenced
from tests.support.cli.command import invoke

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path, pg_broker_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COUNTERFOIL_DATABASE_URL", pg_broker_dsn)
    keys = generate_keys(tmp_path)

    def command(name: str, *more: str, code: int = Exit.OK) -> dict[str, Any]:
        out = str(tmp_path / f"{name}.jwk")
        words = ["people", "first", name, "--out", out, "--state", str(tmp_path)]
        result = invoke(*words, *more, "--json")
        assert result.exit_code == code, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    async def people() -> list[Any]:
        database = Database(pg_broker_dsn, password="")
        realm = Realm("demo", "dev", {keys.authority.kid: keys.authority.public()})
        registry = Registry(
            database, realm=realm, key=keys.authority, entries=Unsequenced()
        )
        found = [parse_person(row) for row in await registry.list("person")]
        await database.close()
        return found

    command.people = lambda: asyncio.run(people())  # type: ignore[attr-defined]
    return command


def test_two_are_made_and_then_the_way_is_closed(run, tmp_path) -> None:
    made = run("ada", "--role", "security")
    assert made["roles"] == ["admin", "security"]
    assert read_key(tmp_path / "ada.jwk").client_id == f"person:{made['id']}"
    assert run("ada", code=Exit.FAILED)["error"].endswith("there already")
    run("ben", "--role", "king", code=Exit.USAGE)
    run("ben")
    refused = run("eve", code=Exit.DENIED)
    assert "closed" in refused["error"]
    assert not (tmp_path / "eve.jwk").exists()
    people = run.people()
    assert sorted(one.name for one in people) == ["ada", "ben"]
    assert all(one.administers for one in people)


def test_without_the_brokers_own_keys_nobody_is_made(run, tmp_path) -> None:
    (tmp_path / "broker" / "authority.jwk").unlink()
    assert "own host" in run("ada", code=Exit.FAILED)["hint"]
    assert HISTORY_READ > 0


def test_an_administrator_who_was_removed_does_not_open_it_again() -> None:
    assert not bootstrap_closed([[Role.ADMIN], [Role.SECURITY]])
    assert bootstrap_closed([[Role.ADMIN], ["supervisor", "admin"]])
