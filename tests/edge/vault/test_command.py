"""The edge's `credentials` command, run as a process beside the edge that serves."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
import pytest_asyncio

from broker.core.jws import verify
from broker.core.warrants.events import EVENT_DETAIL_FIELDS_MAX, parse_event
from broker.core.words.warrant import EDGE_EVENT_TYP
from broker.edge.egress.upstreams import Upstreams
from broker.edge.identity import write_secret
from broker.edge.vault.assemble import keyring_of
from broker.edge.vault.command import Bench, add_parser
from broker.edge.vault.command import run as run_command
from broker.edge.vault.gate import ORDER_BYTES_MAX, Gate
from broker.edge.vault.keeper import Draft
from broker.edge.vault.kinds import VaultError
from tests.edge.lab import ROOT
from tests.edge.process import EdgeProcess
from tests.edge.vault.conftest import make_safe
from tests.edge.vault.fake_rows import FakeRows

ANOTHER = "a-new-secret-of-the-retail-crm"
SOFIA = "sofia_li_9219"


def run(edge: EdgeProcess, *argv: str) -> subprocess.CompletedProcess[bytes]:
    return edge.command("credentials", *argv)


def order(edge: EdgeProcess, version: int, **changes: Any) -> tuple[str, str]:
    """Return the option that names an order for this test, made now."""
    changes = {"customer_id": SOFIA} | changes
    return "--order", edge.ordered("customers.get", {}, version=version, **changes)


def value(edge: EdgeProcess, text: str, mode: int = 0o600) -> tuple[str, str]:
    """Return the option that names a file with a secret."""
    path = edge.folder / "value"
    path.write_text(text + "\n")
    path.chmod(mode)
    return "--value-file", str(path)


def versions(edge: EdgeProcess) -> list[tuple[int, str]]:
    done = run(edge, "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert all(not {"sealed", "wrapped_key", "secret"} & row.keys() for row in rows)
    return [
        (row["version"], "removed" if row["removed"] else "used" if row["used"] else "")
        for row in rows
    ]


async def read(edge: EdgeProcess) -> int:
    """Let the serving edge make a call, and return what the upstream answered."""
    child = await edge.call(
        edge.order("customers.get", {}, customer_id="sofia_li_9219")
    )
    answer = await child.ask("GET", "/customers/sofia_li_9219")
    assert answer is not None
    return answer.status


@pytest.mark.control("7.3")
async def test_a_credential_is_rotated_tried_switched_and_taken_back(
    edge, crm, pg_dsn
) -> None:
    wrong = run(edge, "rotate", "--connector", "retail", *value(edge, ANOTHER))
    assert b"version 2, not in use yet" in wrong.stdout, wrong.stderr
    tried = run(
        edge, "test", "--connector", "retail", "--version", "2", *order(edge, 2)
    )
    assert (tried.returncode, b"credential_refused" in tried.stdout) == (1, True)
    switch = ("switch", "--connector", "retail", "--version")
    refused = run(edge, *switch, "2", *order(edge, 2))
    assert (refused.returncode, b"stays in use" in refused.stderr) == (1, True)
    assert versions(edge) == [(2, ""), (1, "used")]
    right = value(edge, crm.credential)
    assert run(edge, "rotate", "--connector", "retail", *right).returncode == 0
    taken = run(edge, *switch, "3", *order(edge, 3))
    assert taken.returncode == 0, taken.stderr
    assert await read(edge) == 200
    assert run(edge, "rollback", "--connector", "retail").returncode == 0
    gone = run(edge, "remove", "--connector", "retail", "--version", "2")
    assert gone.returncode == 0, gone.stderr
    assert versions(edge) == [(3, ""), (2, "removed"), (1, "used")]
    assert await read(edge) == 200
    kinds, said = await told(edge, pg_dsn)
    assert kinds == [
        "added", "switched", "added", "tested", "tested", "added", "tested",
        "switched", "rolled_back", "removed",
    ]  # fmt: skip
    for text in (said, edge.log.read_text(), wrong.stdout.decode()):
        assert ANOTHER not in text
        assert crm.credential not in text


async def told(edge: EdgeProcess, dsn: str) -> tuple[list[str], str]:
    """Return the kinds of all events, and everything that they say."""
    owner = await asyncpg.connect(dsn)
    rows = await owner.fetch("SELECT token FROM edge_event ORDER BY at")
    await owner.close()
    key = edge.receipt_key()
    claims = [
        verify(row["token"], keys={key.kid: key}, typ=EDGE_EVENT_TYP) for row in rows
    ]
    events = [parse_event(claim) for claim in claims]
    assert all(len(event.detail) <= EVENT_DETAIL_FIELDS_MAX for event in events)
    assert {str(event.detail["by"])[:5] for event in events} == {"edge", "user:"}
    return [event.kind.value for event in events], str(claims)


async def test_a_value_comes_from_a_file_or_a_descriptor_and_nowhere_else(
    edge, crm
) -> None:
    where = ("add", "--connector", "mail", "--base-url", crm.url, "--allow-private")
    open_to_all = run(edge, *where, *value(edge, ANOTHER, mode=0o644))
    assert (open_to_all.returncode, b"0600" in open_to_all.stderr) == (1, True)
    reading, writing = os.pipe()
    os.write(writing, ANOTHER.encode())
    os.close(writing)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-P", "-m", "broker.edge", "credentials", *where,
         "--value-fd", str(reading)],
        cwd=ROOT, env=edge.environ, capture_output=True, check=False,
        pass_fds=[reading],
    )  # fmt: skip
    os.close(reading)
    # The connector had none, so this one is in use at once.
    assert b"mail version 1, in use" in done.stdout, done.stderr
    for line in (done.stdout, done.stderr, open_to_all.stderr):
        assert ANOTHER.encode() not in line


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """The commands' means in this process, with one credential in use."""
    vault = make_safe(tmp_path, FakeRows(), None).vault
    draft = Draft(connector="retail", base_url="http://127.0.0.1:9", allow_private=True)
    await vault.switch("retail", await vault.add(draft, ANOTHER.encode()))
    upstreams = Upstreams()
    yield Bench(
        vault=vault,
        keyring=keyring_of(vault, upstreams),
        upstreams=upstreams,
        gate=cast("Any", None),
    )
    await upstreams.close()


async def test_what_is_added_is_in_use_at_once_only_where_nothing_is(
    bench: Bench, tmp_path: Path, capsys
) -> None:
    secret = tmp_path / "value"
    write_secret(secret, ANOTHER.encode())
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(dest="command"))

    async def told(*argv: str) -> str:
        asked = parser.parse_args(["credentials", *argv, "--connector", "retail"])
        assert await run_command(asked, bench) == 0
        return str(capsys.readouterr().out.splitlines()[-1])

    more = ("--base-url", "https://shop.example", "--value-file", str(secret))
    said = await told("add", *more)
    assert said == "retail version 2, not in use yet: test it, then switch"
    # After a leak the one in use is destroyed; nothing works until there is another.
    await told("remove", "--version", "1", "--in-use")
    assert await told("add", *more) == "retail version 3, in use"
    opened = await bench.vault.open("retail")
    assert opened is not None
    assert opened[0].version == 3


async def says(bench: Bench, argv: list[str]) -> str:
    """Run a command in this process and return why it refuses."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(dest="command"))
    with pytest.raises(VaultError) as caught:
        await run_command(parser.parse_args(["credentials", *argv]), bench)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("test --connector retail --version 1", "--order"),
        ("test --connector retail --version 1 --order /none", "cannot be read"),
        ("switch --connector retail --version 1", "--order"),
        ("rotate --connector mail --value-fd 0", "add one first"),
        ("switch --connector retail --version 9 --untested", "no version"),
        ("rollback --connector retail", "no earlier"),
        ("remove --connector retail --version 1", "is in use"),
        ("rotate --connector retail --set x", "NAME=VALUE"),
        ("rotate --connector retail", "--value-file"),
        ("add --connector x --base-url http://crm.test --value-fd 99", "descriptor"),
    ],
)
async def test_what_the_command_line_says_wrongly_is_named(bench, argv, said) -> None:
    assert said in await says(bench, argv.split())


async def test_an_order_has_a_largest_size(bench, tmp_path) -> None:
    order = tmp_path / "order.jwt"
    test = ["test", "--connector", "retail", "--version", "1", "--order", str(order)]
    made = Gate(
        keys=dict,
        edge="edge-1",
        tenant="demo",
        environment="dev",
        tools={},
        spend=cast("Any", None),
        now=lambda: datetime.now(UTC),
    )
    bench = replace(bench, gate=made)
    order.write_text("x" * ORDER_BYTES_MAX)
    assert "no order of the broker" in await says(bench, test)
    order.write_text("x" * (ORDER_BYTES_MAX + 1))
    assert "longer than" in await says(bench, test)


def test_no_option_takes_a_value_itself(capsys) -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(dest="command"))
    rotate = ["credentials", "rotate", "--connector", "retail"]
    with pytest.raises(SystemExit):
        parser.parse_args([*rotate, "--secret", ANOTHER])
    with pytest.raises(SystemExit):
        parser.parse_args([*rotate, ANOTHER])
    capsys.readouterr()


async def test_settings_that_the_kind_does_not_have_are_named(bench, tmp_path) -> None:
    value = tmp_path / "value"
    value.write_text(ANOTHER)
    value.chmod(0o600)
    rotate = ["rotate", "--connector", "retail", "--value-file", str(value)]
    assert "has no user" in await says(bench, [*rotate, "--set", "user=x"])
    missing = [*rotate, "--set-file", f"ca={tmp_path / 'none'}"]
    assert "cannot be read" in await says(bench, missing)
    secret = [*rotate, "--client-secret-file", str(value)]
    assert "oauth_refresh" in await says(bench, secret)


def test_a_folder_that_is_no_edge_gets_no_credential(tmp_path: Path) -> None:
    environ: dict[str, Any] = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "COUNTERFOIL_STATE": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.edge", "credentials", "list"],
        cwd=ROOT, env=environ, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, b"no edge yet" in done.stderr) == (1, True)
