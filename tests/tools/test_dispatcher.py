"""The runner as a process: who may speak, what is answered, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_edge import (
    FakeEdge,
    RunnerClient,
    claims_of,
    pack,
    warrant,
    write_catalog,
)
from tests.tools.conftest import Rig, until
from tests.tools.test_zygotes import alive
from tools import limits
from tools.dispatcher import Dispatcher
from tools.jail import landlock
from tools.limits import CONNECTIONS_MAX, DRAIN_S_MAX, FRAME_S_MAX, REQUEST_BYTES_MAX
from tools.posture import postures
from tools.zygote_link import CHECKOUT

ECHO = "def echo(call): return {}"


async def test_hello_tells_posture_tools_probe_and_the_edges_greeting(rig: Rig):
    await rig.start(ECHO, echo={}, again={"entry": "echo"})
    answer = await rig.client.ask({"op": "hello", "nonce": "n"})
    assert answer["ok"] is True
    assert claims_of(answer["edge_hello"])["nonce"] == "n"
    assert answer["sandbox"] == rig.dispatcher.report.as_json()
    assert answer["connectors"] == {"shop": ["shop.again", "shop.echo"]}
    assert answer["sandbox"]["attempts"]["shop"]["read_file"].startswith("refused")


async def test_a_question_about_a_warrant_is_passed_to_the_edge(rig: Rig):
    await rig.start(ECHO, echo={})
    question = {"op": "ask", "warrant": "w", "action": "a", "nonce": "n"}
    answer = await rig.client.ask(question)
    assert claims_of(answer["receipt"]) == {
        "warrant": "w",
        "nonce": "n",
        "state": "not_sent",
    }


async def test_without_an_edge_there_is_an_error_and_no_greeting(rig: Rig):
    await rig.start(ECHO, echo={})
    rig.edge.path.unlink()
    for question in (
        {"op": "hello", "nonce": "n"},
        {"op": "ask", "warrant": "w", "action": "a", "nonce": "n"},
    ):
        answer = await rig.client.ask(question)
        assert answer["ok"] is False
        assert answer["error"]["code"] == "edge_unavailable"


MALFORMED: tuple[dict[str, object], ...] = (
    {},
    {"op": "stop"},
    {"op": "run"},
    {"op": "run", "warrant": 1, "deadline_ms": 1},
    {"op": "run", "warrant": "x", "deadline_ms": 1},
    {"op": "ask", "warrant": "w"},
    {"op": "hello"},
)
NO_FRAMES = (
    b"\0\0\0\0",
    (REQUEST_BYTES_MAX + 1).to_bytes(4, "big"),
    b"\0\0\0\2[]",
    b"\0\0\0\1\xff",
    b"GET / HTTP/1.1\r\n\r\n",
)


async def test_a_malformed_question_is_refused_and_the_connection_stays(rig: Rig):
    await rig.start(ECHO, echo={})
    for question in MALFORMED:
        answer = await rig.client.ask(question)
        assert (answer["ok"], answer["error"]["code"]) == (False, "bad_request"), (
            question
        )
    assert (await rig.call("shop.echo"))["error"] is None


async def test_bytes_that_are_no_frame_end_their_connection_only(rig: Rig):
    await rig.start(ECHO, echo={})
    for data in NO_FRAMES:
        reader, writer = await asyncio.open_unix_connection(rig.settings.runner_socket)
        writer.write(data)
        assert b"bad_request" in await reader.read(), data
        writer.close()
    assert (await rig.call("shop.echo"))["error"] is None


async def test_a_frame_is_taken_at_its_longest(rig: Rig):
    await rig.start(ECHO, echo={})
    question = {"op": "hello", "nonce": "n", "x": ""}
    room = REQUEST_BYTES_MAX - len(pack(question)) + 4
    answer = await rig.client.ask({**question, "x": "x" * room})
    assert answer["ok"] is True


async def test_an_unfinished_frame_is_given_up(rig: Rig, monkeypatch):
    assert FRAME_S_MAX >= 1
    monkeypatch.setattr(limits, "FRAME_S_MAX", 0.1)
    await rig.start(ECHO, echo={})
    reader, writer = await asyncio.open_unix_connection(rig.settings.runner_socket)
    writer.write(b"\0\0\0\x10{")
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()


async def test_a_tool_or_version_that_is_not_here_is_unknown(rig: Rig):
    await rig.start(ECHO, echo={})
    for claims in (
        {"tool": "shop.other"},
        {"connector": "other"},
        {"manifest": "0" * 64},
    ):
        answer = await rig.client.run(rig.warrant("shop.echo", **claims))
        assert answer["error"]["code"] == "unknown_tool", claims
        assert (answer["result"], answer["receipt"]) == (None, None)
    assert rig.edge.warrants == []


async def test_connections_are_counted(rig: Rig):
    await rig.start(ECHO, echo={})
    clients = [
        await RunnerClient.connect(rig.settings.runner_socket)
        for _ in range(CONNECTIONS_MAX - 1)
    ]
    assert (await clients[-1].ask({"op": "hello", "nonce": "n"}))["ok"]
    extra = await RunnerClient.connect(rig.settings.runner_socket)
    with pytest.raises((EOFError, OSError)):
        await extra.ask({"op": "hello", "nonce": "n"})
    for client in (*clients, extra):
        client.close()


async def test_the_socket_is_its_owners_alone(rig: Rig):
    await rig.start(ECHO, echo={})
    mode = rig.settings.runner_socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(rig: Rig):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(rig.settings.runner_socket))
    stale.close()
    await rig.start(ECHO, echo={})
    second = Dispatcher(rig.settings)
    with pytest.raises(FileExistsError, match="another runner"):
        await second.start()
    await second.close()
    assert (await rig.call("shop.echo"))["error"] is None


async def test_a_call_at_work_is_finished_before_the_end(rig: Rig):
    code = (
        "import time\ndef rest(call):\n    time.sleep(0.5)\n    return {'done': True}"
    )
    await rig.start(code, rest={})
    resting = asyncio.create_task(rig.client.run(rig.warrant("shop.rest")))
    await until(lambda: rig.edge.open_calls)
    await rig.dispatcher.close()
    assert (await resting)["result"] == {"done": True}
    assert not rig.settings.runner_socket.exists()


async def test_a_call_that_does_not_end_is_ended_with_the_runner(rig: Rig, monkeypatch):
    assert DRAIN_S_MAX < 8  # A supervisor kills after eight seconds.
    monkeypatch.setattr(limits, "DRAIN_S_MAX", 0.1)
    await rig.start("import time\ndef rest(call): time.sleep(30)", rest={})
    zygote = rig.dispatcher.zygotes()["shop"]
    resting = asyncio.create_task(rig.client.run(rig.warrant("shop.rest")))
    await until(lambda: rig.edge.open_calls)
    await rig.dispatcher.close()
    with pytest.raises((EOFError, OSError)):
        await resting
    await until(lambda: not alive(zygote))


class Process:
    """The runner as it is started by its supervisor."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.socket = folder / "runner.sock"
        self.started = subprocess.Popen(
            [sys.executable, "-P", "-m", "tools.dispatcher"],
            cwd=CHECKOUT,
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(CHECKOUT),
                "TMPDIR": str(folder),
                "COUNTERFOIL_RUNNER_SOCKET": str(self.socket),
                "COUNTERFOIL_EDGE_SOCKET": str(folder / "edge.sock"),
                "COUNTERFOIL_CATALOG": str(folder / "catalog"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def zygotes(self) -> list[int]:
        """Return every process below the runner."""
        found, waiting = [], [self.started.pid]
        while waiting:
            pid = waiting.pop()
            path = Path(f"/proc/{pid}/task/{pid}/children")
            below = [int(one) for one in path.read_text("ascii").split()]
            found += below
            waiting += below
        return found

    def end(self) -> tuple[int, str]:
        """Wait for its end; return the status and all that it said."""
        said, _ = self.started.communicate(timeout=15)
        return self.started.returncode, said.decode()


async def test_the_process_serves_and_ends_on_a_signal(tmp_path, edge: FakeEdge):
    # What the connector does at import would work in the dispatcher, and leave a trace.
    marker = tmp_path / "imported"
    code = f"open({str(marker)!r}, 'w').close()\ndef echo(call): return {{}}"
    write_catalog(tmp_path / "catalog", code, tools={"echo": {}})
    process = Process(tmp_path)
    await until(process.socket.exists)
    zygotes = process.zygotes()
    assert zygotes
    client = await RunnerClient.connect(process.socket)
    assert (await client.ask({"op": "hello", "nonce": "n"}))["ok"]
    client.close()
    process.started.send_signal(signal.SIGTERM)
    status, said = await asyncio.to_thread(process.end)
    assert status == 0
    assert "ready" in said
    assert not marker.exists()
    await until(lambda: not any(alive(pid) for pid in zygotes))


async def test_a_killed_runner_leaves_no_process_behind(tmp_path, edge: FakeEdge):
    write_catalog(tmp_path / "catalog", ECHO, tools={"echo": {}})
    process = Process(tmp_path)
    await until(process.socket.exists)
    zygotes = process.zygotes()
    process.started.kill()
    await asyncio.to_thread(process.end)
    await until(lambda: not any(alive(pid) for pid in zygotes))


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"COUNTERFOIL_CATALOG": ""}, "COUNTERFOIL_CATALOG is not set"),
        ({"COUNTERFOIL_EDGE_SOCKET": ""}, "COUNTERFOIL_EDGE_SOCKET is not set"),
        ({"COUNTERFOIL_CATALOG": "/nowhere"}, "the catalog cannot be read"),
        ({"COUNTERFOIL_RUNNER_SOCKET": "/proc/x"}, "/proc/x"),
    ],
)
async def test_what_keeps_it_from_starting_is_said_in_one_line(
    tmp_path, environment, problem
):
    write_catalog(tmp_path / "catalog", ECHO, tools={"echo": {}})
    status, said = await asyncio.to_thread(Process(tmp_path, **environment).end)
    assert status == 1
    assert said.startswith("runner: refusing to start: ")
    assert problem in said
    assert said.count("\n") == 1


async def test_a_host_that_cannot_confine_is_refused(rig: Rig, monkeypatch):
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(postures.NotConfinedError, match="Landlock"):
        await rig.start(ECHO, echo={})
    assert not rig.settings.runner_socket.exists()


async def test_a_probe_that_succeeds_is_not_answered_by_confining_less(
    rig: Rig, monkeypatch
):
    weak = {"strict": postures.STRICT - {"landlock"}, "standard": postures.STANDARD}
    monkeypatch.setattr(postures, "POSTURES", weak)
    with pytest.raises(postures.NotConfinedError, match="read_file"):
        await rig.start(ECHO, echo={})
    assert not rig.settings.runner_socket.exists()


def test_a_warrant_of_the_fake_edge_is_what_the_runner_reads():
    assert claims_of(warrant(jti="w"))["jti"] == "w"
