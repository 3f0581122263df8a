"""The audit commands, on a real log and with a real signer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import audit
from broker.cli.exits import Exit
from broker.core.jwk import public_to_jwk
from broker.core.transparency.signed_note import parse_vkey
from broker.core.transparency.tlog_proof import check_tlog_proof, parse_tlog_proof
from broker.effects.ledger import SignerClient
from tests.support import source
from tests.support.log.ledger import RealLedger
from tests.support.log.made import KEY, entry_id, entry_key, leaf
from tests.support.log.signer import SignerProcess
from tests.support.servers import BROKER

SIZE = 40


@pytest.fixture
def state(tmp_path: Path, pg_database, monkeypatch) -> Iterator[Path]:
    """A state with published keys, and a database with a signed log of 40 entries."""
    signer = SignerProcess(tmp_path)
    signer.start()
    (tmp_path / "public/entry.jwk").write_text(json.dumps(public_to_jwk(KEY.public())))
    monkeypatch.setenv("COUNTERFOIL_DATABASE_URL", pg_database.dsn(BROKER))
    monkeypatch.setenv("COUNTERFOIL_STATE", str(tmp_path))
    asyncio.run(_fill(RealLedger(pg_database), signer))
    yield tmp_path
    signer.kill()


async def _fill(real: RealLedger, signer: SignerProcess) -> None:
    client = SignerClient(signer.socket)
    async with real.open(signer=client):
        for first in range(0, SIZE, 10):
            await real.ledger.append([leaf(n) for n in range(first, first + 10)])
            await real.keeper.keep_up()
    await client.close()


def run(*arguments, exits: int = 0) -> str:
    """Run a command and return all that it said."""
    done = CliRunner().invoke(audit.app, [str(each) for each in arguments])
    assert done.exit_code == exits, done.output
    return done.output


def run_json(*arguments, exits: int = 0):
    return json.loads(run(*arguments, "--json", exits=exits).splitlines()[0])


@pytest.fixture
def exported(state: Path) -> Path:
    file = state / "log.jsonl"
    run("export", file)
    return file


@pytest.mark.control("M12")
def test_an_export_verifies(exported):
    said = run("verify", exported)
    assert f"verified: {SIZE} entries about {SIZE // 2} actions" in said
    assert "Compare them" in said
    found = run_json("verify", exported)
    assert (found["ok"], found["entries"], found["pinned"]) == (True, SIZE, False)
    assert found["entry_keys"] == [KEY.kid]


def test_the_keys_of_a_file_are_compared_with_known_ones(exported, state):
    vkey = (state / "public/signer/log.vkeys").read_text().split()[0]
    known = ["--log-key", vkey, "--entry-key", KEY.kid]
    assert run_json("verify", exported, *known)["pinned"] is True
    assert "Compare them" not in run("verify", exported, *known)
    other = ["--entry-key", entry_key("other").kid]
    assert run_json("verify", exported, *other, exits=1)["problem"] == "key"


@pytest.mark.control("M12")
def test_one_flipped_byte_is_found_and_the_entry_named(exported):
    raw = bytearray(exported.read_bytes())
    lines = bytes(raw).split(b"\n")
    start = raw.index(lines[18]) + lines[18].index(b'"leaf":"') + 40
    raw[start] = ord("A") if raw[start] != ord("A") else ord("B")
    exported.write_bytes(raw)
    said = run("verify", exported, exits=Exit.FAILED)
    assert f"NOT VERIFIED: entry 17 ({entry_id(17)})" in said
    found = run_json("verify", exported, exits=1)
    assert (found["ok"], found["seq"], found["entry_id"]) == (False, 17, entry_id(17))


@pytest.mark.control("M12")
def test_verifying_needs_neither_network_nor_state_nor_database(exported, tmp_path):
    code = "from broker.cli.audit import app; app()"
    done = subprocess.run(
        [
            *("unshare", "-rn"),
            *(sys.executable, "-P", "-c", code, "verify", str(exported)),
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(source.TOP)},
        cwd="/",
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"verified: {SIZE} entries" in done.stdout


def test_verifying_loads_no_database_and_no_server_library(exported):
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from broker.cli.audit import app\n"
        f"done = CliRunner().invoke(app, ['verify', {str(exported)!r}])\n"
        "assert done.exit_code == 0\n"
        "print([m for m in ('asyncpg', 'fastapi', 'temporalio') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(source.TOP)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.strip() == "[]"


def test_an_export_carries_checkpoints_from_along_the_way(exported):
    header = json.loads(exported.read_bytes().split(b"\n")[0])
    sizes = [int(note.split("\n")[1]) for note in header["checkpoints"]]
    assert sizes == [10, 20, 30, 40]
    assert (exported.stat().st_mode & 0o777) == 0o600


def test_a_file_that_is_not_there_is_an_error_and_no_traceback(state):
    assert "error:" in run("verify", state / "missing", exits=1)
    assert run_json("verify", state / "missing", exits=1)["event"] == "failed"


def test_a_proof_of_one_entry_verifies(state):
    out, raw = state / "p.tlog-proof", state / "p.leaf"
    run("proof", "23", "--out", out, "--leaf", raw)
    log = parse_vkey((state / "public/signer/log.vkeys").read_text().split()[0])
    proof = parse_tlog_proof(out.read_text())
    assert check_tlog_proof(proof, leaf=raw.read_bytes(), log=log).size == SIZE
    assert raw.read_bytes() == leaf(23)
    assert run("proof", "23") == out.read_text()
    assert run_json("proof", "23")["proof"] == out.read_text()


def test_there_is_no_proof_beyond_the_newest_checkpoint(state):
    assert "covers 40 entries" in run("proof", str(SIZE), exits=1)
    run("proof", str(SIZE - 1))
    run("proof", "-1", exits=2)
    run("proof", str(2**53), exits=2)


def test_an_entry_is_shown_by_position_and_by_id(state):
    said = run("show", "7")
    assert '"kind": "authorize.decision"' in said
    assert "signature verified" in said
    assert run("show", entry_id(7)) == said
    assert run_json("show", "7")["entry"]["entry_id"] == entry_id(7)


@pytest.mark.parametrize("which", [str(SIZE), "9" * 30, entry_id(99)])
def test_an_entry_that_is_not_there_is_not_found(state, which):
    assert "there is no entry" in run("show", which, exits=Exit.NOT_FOUND)


def test_what_is_neither_position_nor_id_is_refused(state):
    assert "neither a position nor an id" in run("show", "x'; --", exits=1)
    assert "neither" in run("list", "--action", "x", exits=1)


def test_an_entry_altered_in_the_database_is_shown_as_not_verified(state, pg_database):
    asyncio.run(_alter(pg_database))
    said = run("show", "3", exits=Exit.FAILED)
    assert "NOT VERIFIED" in said
    assert "NOT VERIFIED" in run(
        "list", "--action", entry_id(1, salt="action"), exits=Exit.FAILED
    )


async def _alter(database) -> None:
    admin = await RealLedger(database).as_role("cf_admin")
    await admin.execute("SET session_replication_role = replica")
    await admin.execute("UPDATE audit_entry SET leaf = leaf || 'x' WHERE seq = 3")
    await admin.close()


def test_the_entries_of_an_action_are_listed_in_order(state):
    action = entry_id(4, salt="action")
    lines = run("list", "--action", action).splitlines()
    assert [int(line.split()[0]) for line in lines] == [8, 9]
    assert entry_id(8) in lines[0]
    assert run_json("list", "--action", action)["seq"] == 8
    assert "no entry" in run("list", "--action", entry_id(0), exits=Exit.NOT_FOUND)


def test_recover_asks_first_and_wants_a_reason(state):
    before = (state / "public/signer/log.vkeys").read_text()
    assert "say --yes" in run("recover", "--reason", "x", exits=Exit.USAGE)
    run("recover", exits=2)
    run("recover", "--reason", "", "--yes", exits=Exit.USAGE)
    run("recover", "--reason", "a\nb", "--yes", exits=Exit.USAGE)
    run("recover", "--reason", "x" * 501, "--yes", exits=Exit.USAGE)
    assert not (state / "signer/recover.json").exists()
    run("recover", "--reason", "restored from Monday", "--yes")
    order = json.loads((state / "signer/recover.json").read_text())
    assert order["reason"] == "restored from Monday"
    assert before == (state / "public/signer/log.vkeys").read_text()


def test_without_a_state_the_commands_say_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("COUNTERFOIL_DATABASE_URL", raising=False)
    said = run("export", tmp_path / "x", "--state", tmp_path, exits=Exit.NOT_FOUND)
    assert "counterfoil up" in said
    (tmp_path / "public/signer").mkdir(parents=True)
    (tmp_path / "public/signer/log.vkeys").write_text("")
    said = run("export", tmp_path / "x", "--state", tmp_path, exits=1)
    assert re.search(r"database\.password cannot be read", said)


def test_a_database_that_is_away_is_an_error_with_a_way_on(state, monkeypatch):
    url = f"postgresql://cf_broker:x@/counterfoil?host={state}"
    monkeypatch.setenv("COUNTERFOIL_DATABASE_URL", url)
    assert "counterfoil status" in run("export", state / "x", exits=1)
    assert not (state / "x").exists()
