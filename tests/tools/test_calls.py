"""One call: what a connector returns, how it fails, and that it always ends."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.support.fake_edge import RunnerClient, Seen, claims_of
from tests.tools.conftest import Rig, until
from tools import limits
from tools.edge_link import EdgeLink

ECHO = """
    def echo(call):
        answer = call.http.post("/echo", json=dict(call.arguments)).json()
        return {"answer": answer, "customer": call.customer, "action": call.action}
"""


async def test_a_call_returns_result_receipt_and_times(rig: Rig):
    await rig.start(ECHO, echo={})
    jws = rig.warrant(
        "shop.echo", jti="w", arguments={"a": 1}, customer="c", action="x"
    )
    answer = await rig.client.run(jws)
    assert answer["ok"] is True
    assert answer["error"] is None
    assert answer["result"]["answer"]["body"] == {"a": 1}
    assert (answer["result"]["customer"], answer["result"]["action"]) == ("c", "x")
    assert claims_of(answer["receipt"])["warrant"] == "w"
    assert {*answer["ms"]} == {"total", "fork", "edge"}
    assert all(type(value) is int for value in answer["ms"].values())
    assert rig.edge.warrants == rig.edge.receipts == ["w"]


async def test_one_connection_serves_many_calls_and_several_brokers(rig: Rig):
    await rig.start(ECHO, echo={})
    other = await RunnerClient.connect(rig.settings.runner_socket)
    for number in range(5):
        answer = await rig.call("shop.echo", number=number)
        assert answer["result"]["answer"]["body"] == {"number": number}
        answer = await other.run(rig.warrant("shop.echo"))
        assert answer["error"] is None
    other.close()


async def test_the_edges_connection_has_ended_before_the_receipt_is_fetched(rig: Rig):
    open_calls = []

    def upstream(seen: Seen) -> tuple[int, object]:
        open_calls.append(rig.edge.open_calls)
        return 200, {}

    await rig.start(ECHO, echo={})
    rig.edge.upstream = upstream
    await rig.call("shop.echo")
    assert open_calls == [1]
    await asyncio.sleep(0.01)
    assert rig.edge.open_calls == 0


async def test_a_hoarded_connection_ends_with_the_call(rig: Rig):
    await rig.start(ECHO, echo={})
    kept = []

    class Hoarding(EdgeLink):
        async def open_call(self, warrant: str) -> socket.socket:
            peer = await super().open_call(warrant)
            kept.append(peer.dup())
            return peer

    rig.dispatcher._edge = Hoarding(rig.edge.path)  # noqa: SLF001
    assert (await rig.call("shop.echo"))["error"] is None
    await until(lambda: not rig.edge.open_calls)
    (hoarded,) = kept
    with hoarded, pytest.raises(BrokenPipeError):
        hoarded.send(b"GET / HTTP/1.1\r\n\r\n")


FAILURES = {
    'raise ConnectorError("out_of_stock", "none left")': (
        *("connector_error", "out_of_stock: none left"),
    ),
    'raise ConnectorError("Not A Code!", "x")': ("connector_error", "undeclared: x"),
    'raise KeyError("ann@example.com")': ("connector_error", "exception: KeyError"),
    "return [1]": ("connector_error", "exception: a tool returns an object"),
    "return None": ("connector_error", "exception: a tool returns an object"),
    'return {"a": object()}': ("connector_error", "result_not_json: "),
    'return {"a": 1.5}': ("result_invalid", "ambiguous"),
    'return {"a": 2**53}': ("result_invalid", "ambiguous"),
    "call.http.get('relative')": ("connector_error", "exception: ValueError"),
    "raise SystemExit(0)": ("crashed", "exit 71"),
    "os._exit(3)": ("crashed", "exit 3"),
    "ctypes.string_at(0)": ("crashed", "signal 11"),
    "import missing": ("connector_error", "exception: ModuleNotFoundError"),
}


async def test_a_failing_connector_is_an_error_with_a_receipt(rig: Rig):
    functions = "".join(
        f"def fail{number}(call):\n    {body}\n" for number, body in enumerate(FAILURES)
    )
    tools: dict[str, dict[str, str]] = {
        f"fail{one}": {} for one in range(len(FAILURES))
    }
    head = "import ctypes, os\nfrom tools.sdk import ConnectorError\n"
    await rig.start(head + functions, **tools)
    for number, (body, (code, detail)) in enumerate(FAILURES.items()):
        answer = await rig.call(f"shop.fail{number}")
        assert answer["result"] is None, body
        assert answer["error"] == {"code": code, "detail": detail}, body
        assert claims_of(answer["receipt"])["state"] == "answered", body


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("def other(call): ...", "exception: KeyError"),
        ("this is no Python", "exception: SyntaxError"),
        ("raise RuntimeError('at import')", "exception: RuntimeError"),
        ("import os; os._exit(9)", "exit 9"),
    ],
)
async def test_a_connector_that_cannot_be_imported_fails_each_call(rig, code, error):
    await rig.start(code, fail={})
    for _ in range(3):
        answer = await rig.call("shop.fail")
        assert answer["error"]["detail"] == error
        assert answer["receipt"]


async def test_a_call_past_its_deadline_is_killed(rig: Rig):
    await rig.start("def spin(call):\n    while True: pass", spin={})
    loop = asyncio.get_running_loop()
    started = loop.time()
    answer = await rig.call("shop.spin", deadline_ms=300)
    assert 0.3 <= loop.time() - started < 1.5
    assert answer["error"]["code"] == "timeout"
    assert claims_of(answer["receipt"])["state"] == "answered"
    assert rig.edge.open_calls == 0


async def test_the_tools_own_timeout_bounds_the_callers_deadline(rig: Rig):
    code = "import time\ndef rest(call): time.sleep(60)"
    await rig.start(code, rest={"timeout_s": 1})
    answer = await rig.call("shop.rest", deadline_ms=limits.DEADLINE_MS_MAX)
    assert answer["error"]["code"] == "timeout"
    assert answer["ms"]["total"] < 2_000


async def test_a_deadline_outside_its_limits_is_refused(rig: Rig):
    await rig.start(ECHO, echo={})
    for deadline_ms in (0, -1, limits.DEADLINE_MS_MAX + 1, True, "1"):
        answer = await rig.client.run(rig.warrant("shop.echo"), deadline_ms=deadline_ms)
        assert answer["error"]["code"] == "bad_request", deadline_ms
    assert rig.edge.warrants == []


async def test_a_result_is_taken_at_its_longest_and_refused_one_byte_past_it(rig: Rig):
    await rig.start("def fill(call): return {'x': 'y' * call.arguments['n']}", fill={})
    room = limits.RESULT_BYTES_MAX - len('{"result":{"x":""}}')
    answer = await rig.call("shop.fill", n=room)
    assert len(answer["result"]["x"]) == room
    answer = await rig.call("shop.fill", n=room + 1)
    assert answer["error"]["detail"] == "result_too_big: "


async def test_a_result_is_taken_at_its_deepest_and_refused_one_level_past_it(rig: Rig):
    code = """
        def nest(call):
            value = {}
            for _ in range(call.arguments["n"] - 1):
                value = {"a": value}
            return value
    """
    await rig.start(code, nest={})
    answer = await rig.call("shop.nest", n=limits.RESULT_DEPTH_MAX)
    assert answer["error"] is None
    answer = await rig.call("shop.nest", n=limits.RESULT_DEPTH_MAX + 1)
    assert answer["error"] == {"code": "result_invalid", "detail": "too_deep"}


async def test_output_is_taken_up_to_its_limit_and_ends_the_call_past_it(rig: Rig):
    code = """
        import os
        def say(call):
            os.write(1, b"x" * call.arguments["n"])
            os.write(2, b"x")
            return {}
    """
    await rig.start(code, say={})
    answer = await rig.call("shop.say", n=limits.OUTPUT_BYTES_MAX - 1)
    assert answer["error"] is None
    answer = await rig.call("shop.say", n=limits.OUTPUT_BYTES_MAX)
    assert answer["error"] == {
        "code": "crashed",
        "detail": "it printed more than it may",
    }


async def test_a_declared_failure_is_cut_to_its_limits(rig: Rig):
    code = """
        from tools.sdk import ConnectorError
        def fail(call):
            raise ConnectorError("c" * call.arguments["n"], "é\\n" + "m" * 1000)
    """
    await rig.start(code, fail={})
    answer = await rig.call("shop.fail", n=limits.ERROR_CODE_CHARS_MAX)
    said, _, text = answer["error"]["detail"].partition(": ")
    assert said == "c" * limits.ERROR_CODE_CHARS_MAX
    assert text == ("??" + "m" * 1000)[: limits.ERROR_MESSAGE_CHARS_MAX]
    answer = await rig.call("shop.fail", n=limits.ERROR_CODE_CHARS_MAX + 1)
    assert answer["error"]["detail"].startswith("undeclared: ")


async def test_a_connectors_own_modules_are_found_and_replace_no_others(rig: Rig):
    rig.write("import helper, json\ndef use(call): return helper.used(json)", use={})
    folder = rig.settings.catalog / "shop"
    for name in ("helper", "json", "re", "tools"):
        text = "def used(json): return {'std': hasattr(json, 'JSONDecoder')}"
        (folder / f"{name}.py").write_text(text, "utf-8")
    await rig.restart()
    assert (await rig.call("shop.use"))["result"] == {"std": True}


async def test_large_arguments_reach_the_connector_whole(rig: Rig):
    await rig.start("def count(call): return {'n': len(call.arguments['t'])}", count={})
    answer = await rig.call("shop.count", t="x" * 90_000)
    assert answer["result"] == {"n": 90_000}


async def test_a_refused_warrant_runs_nothing_and_has_no_receipt(rig: Rig):
    await rig.start(ECHO, echo={})
    rig.edge.refuse = "revoked"
    answer = await rig.call("shop.echo")
    assert answer["error"] == {"code": "edge_refused", "detail": "revoked"}
    assert (answer["result"], answer["receipt"]) == (None, None)
    assert rig.edge.seen == []
    assert rig.edge.receipts == []


async def test_a_missing_edge_runs_nothing(rig: Rig):
    await rig.start(ECHO, echo={})
    rig.edge.path.unlink()
    answer = await rig.call("shop.echo")
    assert answer["error"]["code"] == "edge_unavailable"
    assert answer["receipt"] is None


async def test_a_silent_edge_is_given_up_at_the_deadline(rig: Rig):
    await rig.start(ECHO, echo={})
    rig.edge.silent = True
    answer = await rig.call("shop.echo", deadline_ms=300)
    assert answer["error"]["code"] == "too_busy"
    assert answer["ms"]["total"] < 1_000


async def test_without_a_receipt_there_is_no_result(rig: Rig):
    await rig.start(ECHO, echo={})
    rig.edge.without_receipts = True
    answer = await rig.call("shop.echo")
    assert answer["result"] is None
    assert answer["error"] == {"code": "edge_unavailable", "detail": "no receipt"}


async def test_a_caller_that_disconnects_cancels_nothing(rig: Rig):
    await rig.start(ECHO, echo={})
    impatient = await RunnerClient.connect(rig.settings.runner_socket)
    asked = asyncio.create_task(impatient.run(rig.warrant("shop.echo", jti="left")))
    await until(lambda: rig.edge.warrants)
    impatient.close()
    await asyncio.gather(asked, return_exceptions=True)
    await until(lambda: rig.edge.receipts)
    assert rig.edge.receipts == ["left"]
    assert len(rig.edge.seen) == 1


async def test_places_and_queue_are_bounded_and_the_rest_is_too_busy(rig: Rig):
    code = "import time\ndef rest(call):\n    time.sleep(0.3)\n    return {}"
    await rig.start(code, rest={})
    most = limits.CALLS_MAX + limits.QUEUE_MAX
    clients = [
        await RunnerClient.connect(rig.settings.runner_socket) for _ in range(most + 1)
    ]
    highest = 0

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, rig.edge.open_calls)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    answers = await asyncio.gather(
        *(client.run(rig.warrant("shop.rest")) for client in clients)
    )
    watching.cancel()
    codes = [answer["error"] and answer["error"]["code"] for answer in answers]
    assert codes.count("too_busy") == 1
    assert codes.count(None) == most
    assert highest == limits.CALLS_MAX
    for client in clients:
        client.close()


async def test_a_call_whose_deadline_passes_in_the_queue_is_never_shown(rig: Rig):
    code = "import time\ndef rest(call):\n    time.sleep(0.6)\n    return {}"
    await rig.start(code, rest={})
    clients = [
        await RunnerClient.connect(rig.settings.runner_socket)
        for _ in range(limits.CALLS_MAX)
    ]
    busy = [
        asyncio.create_task(client.run(rig.warrant("shop.rest"))) for client in clients
    ]
    await until(lambda: rig.edge.open_calls == limits.CALLS_MAX)
    late = rig.warrant("shop.rest", jti="late")
    answer = await rig.client.run(late, deadline_ms=100)
    assert answer["error"]["code"] == "too_busy"
    assert "late" not in rig.edge.warrants
    assert all(one["error"] is None for one in await asyncio.gather(*busy))
    for client in clients:
        client.close()


async def test_nothing_of_a_call_is_left_for_the_next_one(rig: Rig):
    code = """
        import builtins, sys
        SEEN = []

        def keep(call):
            found = [*SEEN, *getattr(builtins, "kept", []), *sys.path[-1:]]
            SEEN.append(call.arguments["secret"])
            builtins.kept = SEEN
            call.arguments["secret"]
            return {"found": [str(one) for one in found if "secret" in str(one)]}
    """
    for preload in (False, True):
        rig.settings.catalog.rename(rig.folder / "old") if preload else None
        await rig.start(code, keep={"preload": preload})
        for number in range(3):
            answer = await rig.call("shop.keep", secret=f"secret-{number}")
            assert answer["result"] == {"found": []}
        await rig.close()


def count_descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def test_a_descriptor_per_call_is_closed_again(rig: Rig):
    await rig.start(ECHO, echo={})
    await rig.call("shop.echo")
    await asyncio.sleep(0.05)
    before = count_descriptors()
    for _ in range(20):
        await rig.call("shop.echo")
    await asyncio.sleep(0.05)
    assert count_descriptors() <= before
