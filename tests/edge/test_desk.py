"""The desk: what is spent stays spent, and what it says about a warrant stays true."""

import asyncio
from datetime import timedelta

import pytest

from broker.core.jws import verify
from broker.core.warrants.orders import parse_hello
from broker.core.words.warrant import EDGE_HELLO_TYP, Receipt, SentState
from broker.edge.desk import CALLS_KEPT_MAX, CALLS_MAX, RECEIPT_WAIT_S_MAX
from broker.edge.identity import uuid7
from broker.edge.journal import SKEW_MS
from broker.edge.server import (
    CONNECTIONS_MAX,
    DRAIN_S_MAX,
    FRAME_S_MAX,
    REPLY_BYTES_MAX,
    REQUEST_BYTES_MAX,
)
from tests.edge.child import ACTION, ask_frame, frame, plain, read_frame, refund_body
from tests.edge.fake_upstream import Reply
from tests.edge.lab import AGENT, running_lab, signed


async def test_a_warrant_is_accepted_once(lab) -> None:
    order = lab.order()
    await lab.call(order)
    assert await lab.refused(order) == "warrant_spent"


async def test_of_many_at_once_one_is_accepted(lab) -> None:
    order = lab.order()
    shown = await asyncio.gather(*(lab.show(order) for _ in range(20)))
    assert sum(answer["ok"] for answer, _ in shown) == 1
    codes = {answer["error"]["code"] for answer, _ in shown if not answer["ok"]}
    assert codes == {"warrant_spent"}


async def test_a_warrant_that_another_edge_spent_is_refused(lab) -> None:
    order = lab.order()
    lab.store.spent[order.warrant_id] = order.expires_at
    assert await lab.refused(order) == "warrant_spent"


@pytest.mark.parametrize("scope", [f"agent:{AGENT}", "global:dev", "grant:g"])
async def test_a_warrant_of_a_revoked_scope_is_refused(lab, scope) -> None:
    epochs = ((f"agent:{AGENT}", 3), ("global:dev", 3), ("grant:g", 3))
    lab.store.moved[scope] = 3
    await lab.call(lab.order(epochs=epochs))
    lab.store.moved[scope] = 4
    assert await lab.refused(lab.order(epochs=epochs)) == "revoked"


async def test_without_the_database_no_warrant_is_accepted(lab) -> None:
    lab.store.down = True
    order = lab.order()
    assert await lab.refused(order) == "epochs_unavailable"
    lab.store.down = False
    # Whether it was spent is not known, so it counts as spent.
    assert await lab.refused(order) == "warrant_spent"


async def test_a_connector_without_a_credential_is_refused(lab) -> None:
    lab.rows.uses.clear()
    assert await lab.refused(lab.order()) == "no_credential"


async def test_a_refused_warrant_is_void_and_the_edge_says_so(lab) -> None:
    lab.store.moved["global:dev"] = 1
    order = lab.order()
    assert await lab.refused(order) == "revoked"
    assert (await lab.receipt(order)).state is SentState.NOT_SENT
    assert lab.journal.last(order.warrant_id)["k"] == "void"


async def test_a_receipt_ends_the_call(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    assert (await lab.receipt(order)).state is SentState.NOT_SENT
    assert await child.hung_up()
    assert lab.upstream.connections == 0


async def test_not_sent_is_final_for_a_call_that_is_open(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    assert (await lab.ask(order)).state is SentState.NOT_SENT
    assert await child.hung_up()
    assert await lab.refused(order) == "warrant_spent"
    assert (await lab.ask(order)).state is SentState.NOT_SENT
    assert lab.upstream.connections == 0


async def test_not_sent_is_final_for_a_warrant_that_has_not_come_yet(lab) -> None:
    order = lab.order()
    assert (await lab.ask(order)).state is SentState.NOT_SENT
    assert lab.journal.last(order.warrant_id)["k"] == "void"
    assert await lab.refused(order) == "warrant_spent"
    assert order.warrant_id not in lab.store.spent


async def test_not_sent_is_final_while_the_database_is_being_asked(lab) -> None:
    order = lab.order()
    spend = lab.store.spend
    asked: list[Receipt] = []

    async def slow(warrant):
        asked.append(await lab.ask(order))
        return await spend(warrant)

    lab.store.spend = slow
    assert await lab.refused(order) == "warrant_spent"
    assert asked[0].state is SentState.NOT_SENT


async def test_whoever_asks_while_it_is_under_way_hears_sent_at_once(lab) -> None:
    lab.upstream.answer = lambda _: Reply(201, {"amount": 500}, delay_s=0.5)
    order = lab.order()
    child = await lab.call(order)
    await child.send(plain("POST", "/orders/W1/refunds", refund_body()))
    await asyncio.sleep(0.2)
    assert lab.upstream.seen
    began = asyncio.get_running_loop().time()
    assert (await lab.ask(order)).state is SentState.SENT
    assert asyncio.get_running_loop().time() - began < 0.3
    assert (await child.read()).status == 201
    receipt = await lab.ask(order, nonce="again")
    assert (receipt.state, receipt.values) == (SentState.ANSWERED, {"amount": 500})


async def test_a_receipt_waits_for_a_slow_upstream_only_so_long(lab) -> None:
    lab.upstream.answer = lambda _: Reply(201, {"amount": 500}, delay_s=30)
    order = lab.order(expires_at=lab.now() + timedelta(seconds=10))
    child = await lab.call(order)
    await child.send(plain("POST", "/orders/W1/refunds", refund_body()))
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    assert (await lab.receipt(order)).state is SentState.SENT
    took = asyncio.get_running_loop().time() - began
    assert RECEIPT_WAIT_S_MAX - 0.5 < took < RECEIPT_WAIT_S_MAX + 0.5


async def test_a_receipt_that_was_asked_for_twice_says_the_same(lab) -> None:
    order = lab.order()
    await (await lab.call(order)).refund()
    first, second = await lab.receipt(order), await lab.ask(order)
    assert first.values == second.values
    assert first.state is second.state is SentState.ANSWERED


async def test_an_edge_that_was_restarted_answers_from_its_journal(own_folder) -> None:
    async with running_lab(own_folder) as lab:
        answered, dropped, silent = (lab.order() for _ in range(3))
        await (await lab.call(answered)).refund()
        lab.upstream.answer = lambda _: Reply(drop=True)
        await (await lab.call(dropped)).refund()
        await lab.call(silent)
        before = await lab.receipt(answered)
    async with running_lab(own_folder) as again:
        assert again.identity.edge == lab.identity.edge
        assert again.identity.boot != lab.identity.boot
        after = await again.ask(answered)
        assert after.state is SentState.ANSWERED
        assert (after.values, after.requests) == (before.values, before.requests)
        assert after.boot == again.identity.boot
        assert (await again.ask(dropped)).state is SentState.SENT
        # It was accepted and never sent; made by a broker before the restart.
        assert (await again.ask(silent)).state is SentState.NOT_SENT
        for order in (answered, dropped, silent):
            assert await again.refused(order) == "wrong_edge"


async def test_an_edge_says_nothing_about_times_that_its_journal_does_not_know(
    lab,
) -> None:
    old = uuid7(lab.now() - timedelta(milliseconds=4 * SKEW_MS))
    answer = await lab.control(op="ask", warrant=old, action=ACTION, nonce="n")
    assert answer == {
        "ok": False,
        "error": {
            "code": "forgotten",
            "detail": "the journal does not reach back to this warrant",
        },
    }
    assert lab.journal.last(old) is None


async def test_a_warrant_is_not_confused_with_another_action(lab) -> None:
    order = lab.order()
    await (await lab.call(order)).refund()
    other = "0199aaaa-0000-7000-8000-000000000002"
    question = {"op": "ask", "warrant": order.warrant_id, "action": other, "nonce": ""}
    assert (await lab.control(**question))["error"]["code"] == "other_action"
    never = lab.order()
    await lab.ask(never)
    question["warrant"] = never.warrant_id
    assert (await lab.control(**question))["error"]["code"] == "other_action"


@pytest.mark.parametrize(
    "changes",
    [
        {"warrant": "x"},
        {"warrant": "0199AAAA-0000-7000-8000-000000000001"},
        {"warrant": "0199aaaa-0000-4000-8000-000000000001"},
        {"action": "../x"},
        {"nonce": "n" * 200},
        {"nonce": "a\nb"},
    ],
)
async def test_a_malformed_question_is_refused(lab, changes) -> None:
    order = lab.order()
    question = {
        "op": "ask",
        "warrant": order.warrant_id,
        "action": ACTION,
        "nonce": "n",
    } | changes
    answer = await lab.control(**question)
    assert answer["error"]["code"] == "malformed"


async def test_a_receipt_of_a_warrant_that_was_never_accepted_is_unknown(lab) -> None:
    answer = await lab.control(op="receipt", warrant=lab.order().warrant_id)
    assert answer["error"]["code"] == "unknown_warrant"


async def test_a_greeting_is_signed_and_fresh(lab) -> None:
    answer = await lab.control(op="hello", nonce="n-42")
    key = lab.identity.key.public()
    claims = verify(answer["edge_hello"], keys={key.kid: key}, typ=EDGE_HELLO_TYP)
    hello = parse_hello(claims)
    assert (hello.edge, hello.boot) == (lab.identity.edge, lab.identity.boot)
    assert hello.nonce == "n-42"
    answer = await lab.control(op="hello", nonce="bad nonce")
    assert answer["error"]["code"] == "malformed"


async def test_a_control_connection_answers_many_questions(lab) -> None:
    reader, writer = await lab.connect()
    writer.write(frame({"op": "control"}))
    for number in range(5):
        question = {"op": "hello", "nonce": f"n{number}"}
        assert (await ask_frame(reader, writer, question))["ok"] is True
        answer = await ask_frame(reader, writer, {"op": "nonsense"})
        assert answer["error"]["code"] == "malformed"


@pytest.mark.parametrize(
    "first",
    [
        {"op": "call"},
        {"op": "call", "warrant": 1},
        {"op": "call", "warrant": "a.b.c", "more": 1},
        {"op": "control", "more": 1},
        {"op": "hello", "nonce": "n"},
        {},
    ],
)
async def test_a_first_frame_of_another_form_is_refused(lab, first) -> None:
    reader, writer = await lab.connect()
    answer = await ask_frame(reader, writer, first)
    assert answer["error"]["code"] == "malformed"
    assert await reader.read() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        (REQUEST_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x02{]",
        b"\x00\x00\x00\x0e" + b'{"op":1,"op":2}'[:14],
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_first_frame_that_is_none_ends_the_connection(lab, data) -> None:
    reader, writer = await lab.connect()
    writer.write(data)
    writer.write_eof()
    assert await reader.read() == b""


async def test_a_frame_of_the_largest_size_is_read(lab) -> None:
    reader, writer = await lab.connect()
    body = b'{"op":"control"}'.ljust(REQUEST_BYTES_MAX)
    writer.write(REQUEST_BYTES_MAX.to_bytes(4, "big") + body)
    answer = await ask_frame(reader, writer, {"op": "hello", "nonce": ""})
    assert answer["ok"] is True
    assert len(str(answer)) < REPLY_BYTES_MAX


async def test_a_connection_that_says_nothing_is_ended(lab) -> None:
    reader, _ = await lab.connect()
    began = asyncio.get_running_loop().time()
    assert await reader.read() == b""
    assert asyncio.get_running_loop().time() - began < FRAME_S_MAX + 1


async def test_more_calls_than_the_limit_are_refused(lab) -> None:
    shown = [await lab.show(lab.order("orders.get")) for _ in range(CALLS_MAX)]
    assert all(answer["ok"] for answer, _ in shown)
    assert await lab.refused(lab.order("orders.get")) == "too_busy"
    shown[0][1].close()
    await asyncio.sleep(0.1)
    assert lab.desk.live == CALLS_MAX - 1
    await lab.call(lab.order("orders.get"))


async def test_more_connections_than_the_limit_are_hung_up(lab) -> None:
    opened = [await lab.connect() for _ in range(CONNECTIONS_MAX)]
    reader, _ = await lab.connect()
    assert await reader.read() == b""
    reader, writer = opened[-1]
    writer.write(frame({"op": "control"}))
    assert (await ask_frame(reader, writer, {"op": "hello", "nonce": ""}))["ok"]


async def test_ended_calls_are_forgotten_beyond_a_number(lab) -> None:
    lab.desk.draining = False
    first = lab.order("orders.get")
    child = await lab.call(first)
    child.close()
    for _ in range(CALLS_KEPT_MAX):
        order = lab.order("orders.get")
        lab.desk.left(await lab.desk.accept(signed(order)))
    answer = await lab.control(op="receipt", warrant=first.warrant_id)
    assert answer["error"]["code"] == "unknown_warrant"


async def test_a_stopping_edge_finishes_its_calls_and_takes_no_more(lab) -> None:
    lab.upstream.answer = lambda _: Reply(201, {"amount": 500}, delay_s=0.3)
    order = lab.order()
    child = await lab.call(order)
    await child.send(plain("POST", "/orders/W1/refunds", refund_body()))
    await asyncio.sleep(0.1)
    late_reader, late_writer = await lab.connect()
    await asyncio.sleep(0.05)
    began = asyncio.get_running_loop().time()
    stopping = asyncio.create_task(lab.server.stop())
    await asyncio.sleep(0)
    late_writer.write(frame({"op": "call", "warrant": signed(lab.order())}))
    assert (await read_frame(late_reader))["error"]["code"] == "draining"
    assert (await child.read()).status == 201
    child.close()
    await stopping
    assert asyncio.get_running_loop().time() - began < DRAIN_S_MAX
    assert not lab.socket.exists()
