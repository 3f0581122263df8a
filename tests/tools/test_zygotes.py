"""Zygotes: confined from their start, replaced when they end, never believed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.fake_edge import RunnerClient, claims_of, write_catalog
from tests.tools.conftest import Rig, until
from tools import limits
from tools.calls import FORK_S_MAX
from tools.jail import probe
from tools.keeper import Keeper
from tools.limits import KILL_S_MAX, NOTICE_BYTES_MAX, ZYGOTE_START_S_MAX
from tools.posture.postures import STANDARD, STRICT
from tools.posture.probing import PROBE_S_MAX, probe_zygote
from tools.zygote_link import (
    Child,
    Order,
    ZygoteError,
    ZygoteLink,
    _is_child,
    start_zygote,
)

ECHO = "def echo(call): return {'pid': __import__('os').getpid()}"
REST = "import time\ndef rest(call):\n    time.sleep(30)"
ABROAD = """
    import os
    IMPORTED_IN = os.getpid()

    def where(call):
        return {"same": os.getpid() == IMPORTED_IN}
"""


def status(pid: int) -> dict[str, str]:
    """Return the fields of a process's status."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return {
        name: value.strip() for name, _, value in (li.partition(":") for li in lines)
    }


def alive(pid: int) -> bool:
    try:
        return status(pid)["State"][0] not in "ZX"
    except FileNotFoundError:
        return False


def spare_of(rig: Rig) -> Child:
    """Return the child that was forked ahead."""
    keeper: Keeper = rig.dispatcher._fleet._keepers["shop", False]  # noqa: SLF001
    spare = keeper._spare  # noqa: SLF001
    assert spare is not None
    return spare


def child_pid(child: Child) -> int:
    """Return a child's process id, as the kernel tells it."""
    path = Path(f"/proc/self/fdinfo/{child._pidfd}")  # noqa: SLF001
    return int(path.read_text("ascii").partition("Pid:\t")[2].split()[0])


async def test_a_zygote_lives_under_seccomp_without_rights(rig: Rig):
    await rig.start(ECHO, echo={})
    found = status(rig.dispatcher.zygotes()["shop"])
    assert found["Seccomp"] == "2"
    assert found["NoNewPrivs"] == "1"
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0


async def test_a_zygote_without_the_layer_shows_that_the_test_above_looks(rig: Rig):
    rig.write(ECHO, echo={})
    await rig.restart(layers=frozenset({"landlock"}))
    assert status(rig.dispatcher.zygotes()["shop"])["Seccomp"] == "0"


async def test_a_zygote_of_the_better_posture_is_the_first_process_of_its_own(rig: Rig):
    await rig.start(ECHO, echo={})
    zygote = rig.dispatcher.zygotes()["shop"]
    # One number per namespace of processes, from ours inwards.
    numbers = status(zygote)["NSpid"].split()
    assert (
        numbers[-2:] == [str(zygote), "1"]
        or rig.dispatcher.report.posture == "standard"
    )
    pid = (await rig.call("shop.echo"))["result"]["pid"]
    assert pid < 100 or rig.dispatcher.report.posture == "standard"


async def test_connector_code_is_imported_in_the_child_unless_asked_otherwise(rig: Rig):
    await rig.start(
        ABROAD, where={}, early={"entry": "where", "preload": True, "effect": "read"}
    )
    assert {*rig.dispatcher.zygotes()} == {"shop", "shop+preload"}
    for _ in range(2):
        assert (await rig.call("shop.where"))["result"] == {"same": True}
        assert (await rig.call("shop.early"))["result"] == {"same": False}


async def test_a_preloaded_connector_that_fails_to_import_leaves_others_alone(rig: Rig):
    write_catalog(rig.settings.catalog, ECHO, connector="other", tools={"echo": {}})
    await rig.start("raise RuntimeError", read={"preload": True})
    answer = await rig.call("shop.read")
    assert answer["error"] == {"code": "sandbox_unavailable", "detail": "import"}
    assert rig.edge.warrants == []
    assert (await rig.call("other.echo"))["error"] is None


async def test_a_dead_zygote_is_replaced_and_its_calls_end_with_a_receipt(rig: Rig):
    await rig.start(ECHO + "\n" + REST, echo={}, rest={})
    zygote = rig.dispatcher.zygotes()["shop"]
    resting = asyncio.create_task(rig.client.run(rig.warrant("shop.rest", jti="w")))
    await until(lambda: rig.edge.open_calls)
    os.kill(zygote, signal.SIGKILL)
    answer = await resting
    assert answer["error"] == {"code": "crashed", "detail": "its zygote ended"}
    assert claims_of(answer["receipt"])["warrant"] == "w"
    assert (await rig.call("shop.echo"))["error"] is None
    assert rig.dispatcher.zygotes()["shop"] != zygote


@pytest.mark.parametrize("layers", [STANDARD, STRICT], ids=["standard", "strict"])
async def test_the_children_of_a_dead_zygote_die_with_it(tmp_path, layers):
    write_catalog(tmp_path, REST, tools={"rest": {}})
    link = await start_zygote(Order(tmp_path / "shop", layers=layers))
    await link.prepare(preload=False)
    child = link.fork()
    await child.began
    pid = child_pid(child)
    assert alive(pid)
    os.kill(link.pid, signal.SIGKILL)
    # The dispatcher, which would kill it as well, does not get to run meanwhile.
    stop = time.monotonic() + 5
    while alive(pid) and time.monotonic() < stop:
        time.sleep(0.01)  # noqa: ASYNC251
    assert not alive(pid)
    await child.ended
    link.forget(child)


async def test_a_zygote_that_does_not_fork_is_replaced(rig: Rig):
    await rig.start(ECHO, echo={})
    zygote = rig.dispatcher.zygotes()["shop"]
    await spare_of(rig).began
    os.kill(zygote, signal.SIGSTOP)
    # The child that was forked ahead still serves.
    assert (await rig.call("shop.echo"))["error"] is None
    loop = asyncio.get_running_loop()
    started = loop.time()
    answer = await rig.call("shop.echo")
    assert answer["error"]["code"] == "crashed"
    assert FORK_S_MAX <= loop.time() - started < FORK_S_MAX + KILL_S_MAX + 1
    assert (await rig.call("shop.echo"))["error"] is None
    assert rig.dispatcher.zygotes()["shop"] != zygote


async def test_a_child_forked_ahead_serves_one_call_only(rig: Rig):
    await rig.start(ECHO, echo={})
    pids = [(await rig.call("shop.echo"))["result"]["pid"] for _ in range(10)]
    assert len({*pids}) == 10


async def test_a_spare_that_ended_is_not_given_to_a_call(rig: Rig):
    await rig.start(ECHO, echo={})
    spare = spare_of(rig)
    await spare.began
    spare.kill()
    await spare.ended
    assert (await rig.call("shop.echo"))["error"] is None


async def test_the_probe_tries_everything_and_all_of_it_is_refused(rig: Rig):
    await rig.start(ECHO, echo={})
    found = rig.dispatcher.report.attempts["shop"]
    assert {*found} == {*probe.ATTEMPTS}
    assert all(outcome.startswith("refused: ") for outcome in found.values())
    assert rig.dispatcher.report.posture in {"strict", "standard"}


@pytest.mark.parametrize(
    ("missing", "escape"),
    [("seccomp", "fork"), ("landlock", "read_file"), ("limits", "take_memory")],
)
async def test_the_probe_notices_a_missing_layer(tmp_path, missing, escape):
    write_catalog(tmp_path, ECHO, tools={"echo": {}})
    order = Order(tmp_path / "shop", layers=STRICT - {missing})
    link = await start_zygote(order)
    try:
        with pytest.raises(ZygoteError, match=escape) as found:
            await probe_zygote(link, edge_socket=tmp_path / "edge.sock")
        assert found.value.stage == "probe"
    finally:
        link.end("the test ends")
    assert PROBE_S_MAX < ZYGOTE_START_S_MAX


async def test_a_zygote_with_an_unknown_layer_or_no_parent_does_not_start(tmp_path):
    write_catalog(tmp_path, ECHO, tools={"echo": {}})
    link = await start_zygote(Order(tmp_path / "shop", layers=frozenset({"seccomp"})))
    link.end("the test ends")
    assert not alive(link.pid)


def test_a_process_is_a_zygotes_child_only_if_the_kernel_says_so():
    own = os.pidfd_open(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    other = os.pidfd_open(child.pid)
    plain = os.open("/", os.O_RDONLY)
    try:
        assert _is_child(other, parent=os.getpid())
        assert not _is_child(own, parent=os.getpid())
        assert not _is_child(other, parent=1)
        assert not _is_child(plain, parent=os.getpid())
        child.communicate(b"\n")
        assert _is_child(other, parent=os.getpid())  # Nothing is left to be killed.
    finally:
        for fd in (own, other, plain):
            os.close(fd)


class Impostor:
    """A taken-over zygote: says what the test wants on the control socket."""

    def __init__(self) -> None:
        ours, self.control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
        )
        self.link = ZygoteLink(self.process, ours)
        self.control.send(b'{"pid":%d}' % self.process.pid)
        self.control.send(b'{"ready":true}')

    def close(self) -> None:
        self.link.end("the test ends")
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.control.close()


@pytest.fixture
async def impostor():
    made = Impostor()
    await made.link.ready
    yield made
    made.close()


@pytest.mark.parametrize(
    "message",
    [
        b"\xff",
        b"{}",
        b"[]",
        b'{"forked":"1"}',
        b'{"forked":true}',
        b'{"forked":1}',
        b'{"ended":1}',
        b'{"pid":1}',
        b'{"ready":1}',
        b'{"what":1}',
        b'{"failed":"end"}',
        b'{"failed":1,"why":1}',
        b" " * (NOTICE_BYTES_MAX + 1),
    ],
)
async def test_a_zygote_outside_the_protocol_is_killed(impostor, message):
    child = impostor.link.fork()
    impostor.control.send(message)
    async with asyncio.timeout(2):
        await impostor.link.ended
        await child.ended
    assert impostor.process.poll() is not None
    impostor.link.forget(child)


async def test_a_message_is_read_at_its_longest(impostor):
    message = b'{"ended":9,"exit":0}'
    impostor.control.send(message + b" " * (NOTICE_BYTES_MAX - len(message)))
    await asyncio.sleep(0.05)
    assert not impostor.link.ended.done()


async def test_a_stranger_presented_as_a_child_is_not_killed(impostor):
    stranger = subprocess.Popen(  # noqa: ASYNC220 it starts at once
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    )
    pidfd = os.pidfd_open(stranger.pid)
    child = impostor.link.fork()
    socket.send_fds(impostor.control, [b'{"forked":1}'], [pidfd])
    async with asyncio.timeout(2):
        await impostor.link.ended
    impostor.link.forget(child)
    assert stranger.poll() is None
    stranger.communicate(b"\n")
    os.close(pidfd)


async def test_what_a_zygote_says_of_a_childs_end_is_not_taken_for_its_end(impostor):
    child = impostor.link.fork()
    impostor.control.send(b'{"ended":1,"exit":0}')
    assert await asyncio.wait_for(child.reported, 2) == "exit 0"
    assert not child.ended.done()
    impostor.link.forget(child)


async def test_a_zygote_that_never_gets_ready_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "ZYGOTE_START_S_MAX", 0.0)
    write_catalog(tmp_path, ECHO, tools={"echo": {}})
    with pytest.raises(ZygoteError) as failed:
        await start_zygote(Order(tmp_path / "shop"))
    assert failed.value.stage == "start"


async def test_calls_of_other_connectors_do_not_wait_for_a_busy_one(rig: Rig):
    write_catalog(rig.settings.catalog, ECHO, connector="other", tools={"echo": {}})
    await rig.start(REST, rest={})
    clients = [
        await RunnerClient.connect(rig.settings.runner_socket)
        for _ in range(limits.CALLS_MAX + 1)
    ]
    busy = [
        asyncio.create_task(client.run(rig.warrant("shop.rest"), deadline_ms=1_000))
        for client in clients
    ]
    await until(lambda: rig.edge.open_calls == limits.CALLS_MAX)
    assert (await rig.call("other.echo", deadline_ms=900))["error"] is None
    await asyncio.gather(*busy)
    for client in clients:
        client.close()
