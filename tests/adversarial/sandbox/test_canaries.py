"""A credential's canary is in no child at work, no broker, no log and no core dump.

Edge, runner, shop and the broker's flow are real, each a process of its own. As root
the memory of each is read; anybody else is refused by the kernel, which is then what
is asserted. Each look has to find something that is there, or it does not count.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import faulthandler
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from broker.cli import audit
from broker.core.jwk import Algorithm, public_to_jwk
from broker.core.transparency.entry_leaf import open_entry
from broker.effects.ledger import SignerClient
from tests.adversarial.sandbox.memory import (
    UnreadableError,
    children_of,
    forms,
    holds,
    look_into,
)
from tests.edge.lab import ROOT
from tests.edge.process import CATALOG, EdgeProcess, make_edge
from tests.support.crm import Crm, crm, crm_process
from tests.support.flow.executor import CUSTOMER
from tests.support.identities import key_of
from tests.support.log.ledger import RealLedger
from tests.support.log.signer import SignerProcess
from tests.support.servers import BROKER
from tools.dispatcher import Dispatcher
from tools.jail import process
from tools.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["crm", "crm_process"]

pytestmark = [pytest.mark.xdist_group("sandbox"), pytest.mark.timeout(120)]

AS_ROOT = os.getuid() == 0
# The honest connector, which then stays at work with all that it was given; and one
# that ends as a crash in a library would.
SLOW = """

_honest = customers_get

def customers_get(call):
    import time
    answer = _honest(call)
    time.sleep(3)
    return answer

def orders_get(call):
    import os
    call.http.get(f"/orders/{call.arguments['order_id']}")
    os.abort()
"""


@dataclass
class Scene:
    """All the processes, and the two canaries: one is kept, one is a customer's."""

    crm: Crm
    edge: EdgeProcess
    dispatcher: Dispatcher
    broker: asyncio.subprocess.Process
    email: str

    async def said(self) -> dict[str, Any]:
        """Return the broker's next line."""
        assert self.broker.stdout is not None
        line = await self.broker.stdout.readline()
        if not line:
            assert self.broker.stderr is not None
            pytest.fail((await self.broker.stderr.read()).decode()[-2_000:])
        found: dict[str, Any] = json.loads(line)
        return found

    async def child_at_work(self) -> int:
        """Return the child that holds the customer's record."""
        zygote = self.dispatcher.zygotes()["retail"]
        async with asyncio.timeout(20):
            while True:
                for pid in children_of(zygote):
                    if _has(pid, self.email):
                        return pid
                await asyncio.sleep(0.02)


def _has(pid: int, text: str) -> bool:
    try:
        return "text" in look_into(pid, for_={"text": text}).found
    except UnreadableError:
        return False  # It ended while it was looked at; another one is at work.


@asynccontextmanager
async def opened(folder: Path, database: Any, shop: Crm) -> AsyncIterator[Scene]:
    """Start edge, runner and broker; the broker asks at once."""
    catalog = folder / "catalog" / "retail"
    shutil.copytree(CATALOG / "retail", catalog)
    with (catalog / "connector.py").open("a") as code:
        code.write(SLOW)
    edge = make_edge(
        folder,
        database=database.dsn("cf_edge"),
        crm_url=shop.url,
        credential=shop.credential,
    )
    dispatcher = Dispatcher(
        Settings(folder / "runner.sock", edge.socket, folder / "catalog")
    )
    await edge.start()
    broker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tests.adversarial.sandbox.brokering"),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 22,
    )
    try:
        await dispatcher.start()
        assert broker.stdin is not None
        told = {
            "broker": database.dsn(BROKER),
            "owner": database.dsn(),
            "runner": str(folder / "runner.sock"),
            "receipt_key": str(edge.state / "public" / "edge" / "receipt.jwk"),
        }
        broker.stdin.write(json.dumps(told).encode() + b"\n")
        email = shop.get(f"/customers/{CUSTOMER}").json()["email"]
        yield Scene(shop, edge, dispatcher, broker, email)
    finally:
        if broker.returncode is None:
            broker.kill()
        await broker.communicate()
        await dispatcher.close()
        edge.stop(signal.SIGKILL)


async def test_no_child_at_work_no_broker_and_no_entry_holds_the_credential(
    tmp_path_factory, pg_database, crm: Crm, monkeypatch, caplog
):
    folder = tmp_path_factory.mktemp("x")
    cores = _cores()
    async with opened(folder, pg_database, crm) as scene:
        wanted = {"credential": crm.credential, "customer": scene.email}
        if AS_ROOT:
            child = await scene.child_at_work()
            assert look_into(child, for_=wanted).found == {"customer"}
            zygote = scene.dispatcher.zygotes()["retail"]
            assert not look_into(zygote, for_=wanted).found
        else:
            await _all_are_refused(scene)
        first, second = await scene.said(), await scene.said()
        assert first["result"]["email"] == scene.email, first
        assert (second["result"], second["tool"]) == ({}, "orders.get")
        assert "call of orders.get: crashed" in caplog.text
        # Our own child, which anybody may look into; and the shop, where it must be.
        assert look_into(scene.broker.pid, for_=wanted).found == {"customer"}
        assert "credential" in look_into(crm.process.pid, for_=wanted).found
        said = json.dumps((first, second)) + caplog.text
        log = await asyncio.to_thread(_exported, folder, pg_database, monkeypatch)
    # Both calls are in it, with what the edge says of them.
    assert '"tool":"customers.get"' in log, log
    assert '"tool":"orders.get"' in log
    for text in (said, log, scene.edge.log.read_text()):
        assert not holds(text.encode(), crm.credential)
    assert _cores() == cores


async def _all_are_refused(scene: Scene) -> None:
    """Without root: the kernel lets nobody of this user look into zygote or child."""
    zygote = scene.dispatcher.zygotes()["retail"]
    for pid in (zygote, *children_of(zygote)):
        with pytest.raises(UnreadableError, match="ermission"):
            look_into(pid, for_={})


def _exported(folder: Path, database: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sign the log, export it as an auditor would, and open every entry."""
    state = folder / "auditor"
    (state / "public").mkdir(parents=True)
    signer = SignerProcess(state)
    signer.start()
    key = key_of("entry", Algorithm.EDDSA)
    (state / "public/entry.jwk").write_text(json.dumps(public_to_jwk(key.public())))
    monkeypatch.setenv("COUNTERFOIL_DATABASE_URL", database.dsn(BROKER))
    monkeypatch.setenv("COUNTERFOIL_STATE", str(state))
    file = state / "log.jsonl"
    try:
        asyncio.run(_sign(RealLedger(database), signer))
        for words in (["export", str(file)], ["verify", str(file)]):
            done = CliRunner().invoke(audit.app, words)
            assert done.exit_code == 0, done.output
    finally:
        signer.kill()
    return _payloads(file)


async def _sign(real: RealLedger, signer: SignerProcess) -> None:
    client = SignerClient(signer.socket)
    async with real.open(signer=client):
        await real.keeper.keep_up()
    await client.close()


def _payloads(file: Path) -> str:
    """Return every entry of an export, in the clear."""
    key = key_of("entry", Algorithm.EDDSA)
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    leaves = [base64.b64decode(one["leaf"]) for one in lines if "leaf" in one]
    opened = [open_entry(leaf, {key.kid: key.public()}) for leaf in leaves]
    return "\n".join(json.dumps(one, separators=(",", ":")) for one in opened)


def _cores() -> list[str]:
    """Return the core dumps that lie where a child's would: in its working folder."""
    return sorted(path.name for path in Path("/").glob("core*"))


# ------------------------------------------------------------------------ core dumps


_SET_DUMPABLE = 4  # prctl(2)


def _aborts(before: Callable[[], None], folder: Path) -> int:
    """Have a process abort in a folder, and return the status that its parent gets."""
    pid = os.fork()
    if pid == 0:
        faulthandler.disable()
        os.chdir(folder)
        try:
            before()
            os.abort()
        finally:
            os._exit(99)
    return os.waitpid(pid, 0)[1]


def _generous() -> None:
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    # A test that took on another user before leaves its process without cores.
    assert ctypes.CDLL(None).prctl(_SET_DUMPABLE, 1, 0, 0, 0) == 0


def _limited() -> None:
    _generous()
    process.limit_zygote()


def _hidden() -> None:
    _generous()
    process.hide_memory()


def test_a_child_that_aborts_leaves_no_core_and_either_reason_is_enough(tmp_path):
    for before in (_limited, _hidden):
        status = _aborts(before, tmp_path)
        assert os.WTERMSIG(status) == signal.SIGABRT
        assert not os.WCOREDUMP(status)
    assert [*tmp_path.iterdir()] == []
    if resource.getrlimit(resource.RLIMIT_CORE)[1]:
        # The same process does leave one where nothing keeps it from that.
        assert os.WCOREDUMP(_aborts(_generous, tmp_path))


# ---------------------------------------------------------------- the looks themselves


@pytest.fixture
def sleeper() -> Any:
    """Return a process of ours that holds a text which it made itself."""
    code = "import sys; a = sys.stdin.readline() * 2; print(flush=True); input()"
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield started
    started.kill()
    started.communicate()


@pytest.mark.parametrize("form", range(len(forms("x"))))
def test_a_look_finds_a_text_in_every_form(sleeper, form):
    secret = secrets.token_hex(16)
    text = forms(secret)[form].decode()
    sleeper.stdin.write(f"{text}\n")
    sleeper.stdin.flush()
    sleeper.stdout.readline()
    wanted = {"it": secret, "other": secrets.token_hex(16)}
    look = look_into(sleeper.pid, for_=wanted)
    assert look.found == {"it"}
    assert look.bytes_read > 1 << 20


def test_a_look_that_could_not_be_taken_is_no_look(sleeper):
    with pytest.raises(UnreadableError):
        look_into(2**22 - 1, for_={})
    sleeper.kill()
    sleeper.communicate()
    with pytest.raises(UnreadableError):
        look_into(sleeper.pid, for_={})
