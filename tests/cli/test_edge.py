"""`counterfoil edge`: it becomes the edge's program, and a secret passes it by."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.cli.edge import edge_environment
from broker.cli.stack.state import LAYOUT_VERSION, MARKER, StateError
from tests.edge.lab import ROOT
from tests.edge.process import EdgeProcess, make_edge

SECRET = "a-secret-of-the-command-line-tests"


@pytest.fixture
def edge(pg_edge_dsn) -> Iterator[EdgeProcess]:
    folder = Path(tempfile.mkdtemp(prefix="edge-"))
    made = make_edge(folder, database=pg_edge_dsn)
    assert made.command("init").returncode == 0
    yield made
    shutil.rmtree(folder)


def counterfoil(
    edge: EdgeProcess, *argv: str, stdin: bytes = b""
) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.cli", "edge", "credentials", *argv],
        cwd=ROOT,
        env=edge.environ | {"COUNTERFOIL_STAMP": "demo"},
        input=stdin,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_credential_is_added_and_listed_by_the_edges_own_program(edge) -> None:
    where = ("--connector", "mail", "--base-url", "https://mail.test")
    status, out, err = counterfoil(
        edge, "add", *where, "--value-fd", "0", stdin=SECRET.encode()
    )
    assert (status, b"mail version 1, in use" in out) == (0, True), err
    status, out, err = counterfoil(edge, "list", "--json")
    assert status == 0, err
    [row] = json.loads(out)
    assert (row["connector"], row["version"], row["used"]) == ("mail", 1, True)
    assert SECRET.encode() not in out + err
    status, out, _ = counterfoil(edge, "--help")
    assert status == 0
    assert b"rollback" in out
    status, _, err = counterfoil(edge, "rollback", "--connector", "mail")
    assert (status, b"no earlier version" in err) == (1, True)
    assert b"Traceback" not in err


def test_the_edges_role_and_password_are_used_whoever_asks(tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    own = tmp_path / "edge" / "database.password"
    own.write_text("x")
    caller = {
        "PATH": "/bin",
        "SECRET": "not passed on",
        "LD_PRELOAD": "not passed on",
        "COUNTERFOIL_STAMP": "demo",
        "COUNTERFOIL_DATABASE_URL": "postgresql://postgres:admin@db.test/counterfoil",
        "COUNTERFOIL_DATABASE_PASSWORD_FILE": "/admin.password",
    }
    told = edge_environment(tmp_path, caller)
    assert (
        told["COUNTERFOIL_DATABASE_URL"] == "postgresql://cf_edge@db.test/counterfoil"
    )
    assert told["COUNTERFOIL_DATABASE_PASSWORD_FILE"] == str(own)
    assert {"SECRET", "LD_PRELOAD"} & told.keys() == set()
    assert told["COUNTERFOIL_STAMP"] == "demo"
    # A state of the embedded stack is what it is, whatever the caller's shell says.
    marker = {"layout": LAYOUT_VERSION, "stamp": "production"}
    (tmp_path / MARKER).write_text(json.dumps(marker))
    caller["COUNTERFOIL_ENVIRONMENT"] = "prod"
    told = edge_environment(tmp_path, caller)
    assert told["COUNTERFOIL_STAMP"] == "production"
    assert told["COUNTERFOIL_ENVIRONMENT"] == "dev"
    del caller["COUNTERFOIL_DATABASE_URL"]
    embedded = urlsplit(edge_environment(tmp_path, caller)["COUNTERFOIL_DATABASE_URL"])
    assert (embedded.username, embedded.path) == ("cf_edge", "/counterfoil")


def test_without_a_state_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no state"):
        edge_environment(tmp_path, {})
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.cli", "edge", "credentials", "list"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT),
             "COUNTERFOIL_STATE": str(tmp_path / "none")},
        capture_output=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, b"counterfoil up" in done.stderr) == (1, True)
    assert b"Traceback" not in done.stderr
