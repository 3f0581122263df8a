"""A call: from the warrant to the receipt, and every way in which it may end."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from broker.core.words.warrant import SentState
from broker.edge.calls import ANSWER_BEFORE_S, EPOCHS_AGE_S_MAX, EPOCHS_FRESH_S
from broker.edge.store import StoreError
from tests.edge.child import ACTION, plain, refund_body
from tests.edge.fake_upstream import CUSTOMER, Reply
from tests.edge.lab import AGENT, CANARY


async def test_a_decided_refund_goes_through(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    answer = await child.refund()
    assert (answer.status, answer.json["amount"]) == (201, 500)
    assert set(answer.headers) == {"content-length", "content-type"}
    child.close()
    receipt = await lab.receipt(order)
    assert receipt.state is SentState.ANSWERED
    assert receipt.upstream_status == 201
    assert receipt.values == {
        "owner": CUSTOMER,
        "amount": 500,
        "currency": "USD",
        "paid": 10_000,
        "first": "first",
    }
    assert receipt.alarms == ()
    [said] = receipt.requests
    assert (said["seq"], said["id"], said["status"]) == (1, "refund", 201)
    assert said["bytes"] == len(answer.body)
    [seen] = lab.upstream.seen
    assert seen.headers["authorization"] == f"Bearer {CANARY}"
    assert seen.headers["idempotency-key"] == order.idempotency_key
    assert seen.json == refund_body()


async def test_a_read_is_answered_and_stated_without_the_journal(lab) -> None:
    order = lab.order("orders.get")
    child = await lab.call(order)
    assert (await child.ask("GET", "/orders/W1")).status == 200
    receipt = await lab.receipt(order)
    assert receipt.state is SentState.ANSWERED
    assert receipt.values == {"owner": CUSTOMER, "paid": 10_000}
    assert lab.journal.last(order.warrant_id) is None
    assert "idempotency-key" not in lab.upstream.seen[0].headers


async def test_reads_and_the_effect_of_one_call_share_a_connection_to_the_edge(
    lab,
) -> None:
    order = lab.order()
    child = await lab.call(order)
    for _ in range(2):
        answer = await child.ask("GET", f"/orders/W1?customer={CUSTOMER}")
        assert answer.status == 200
    assert (await child.refund()).status == 201
    # The reads shared a connection; the refund dialled its own.
    assert lab.upstream.connections == 2
    receipt = await lab.receipt(order)
    assert [said["id"] for said in receipt.requests] == ["order", "order", "refund"]
    assert receipt.values["amount"] == 500


async def test_sent_is_in_the_journal_before_the_upstream_is_dialled(lab) -> None:
    order = lab.order()
    at_dial = []

    def answer(seen):
        at_dial.append(lab.journal.last(order.warrant_id))
        return Reply(201, {"amount": 500})

    lab.upstream.answer = answer
    await (await lab.call(order)).refund()
    assert at_dial[0]["k"] == "sent"
    assert at_dial[0]["a"] == ACTION
    assert at_dial[0]["key"] == order.idempotency_key


async def test_nothing_is_dialled_while_the_journal_cannot_be_written(lab) -> None:
    lab.disk.fails = True
    order = lab.order()
    child = await lab.call(order)
    answer = await child.refund()
    assert (answer.status, answer.json["code"]) == (503, "journal_unavailable")
    assert await child.hung_up()
    assert lab.upstream.connections == 0
    # Without the journal the edge promises nothing and greets nobody.
    said = await lab.control(op="receipt", warrant=order.warrant_id)
    assert said["error"]["code"] == "journal_unavailable"
    said = await lab.control(op="hello", nonce="n")
    assert said["error"]["code"] == "journal_unavailable"


async def test_an_upstream_that_refuses_is_an_answer(lab) -> None:
    lab.upstream.answer = lambda _: Reply(409, {"error": "exceeds_paid", "amount": 9})
    order = lab.order()
    answer = await (await lab.call(order)).refund()
    assert answer.status == 409
    receipt = await lab.receipt(order)
    assert (receipt.state, receipt.upstream_status) == (SentState.ANSWERED, 409)
    assert receipt.values == {}


async def test_an_upstream_that_cannot_be_reached_leaves_nothing_sent(lab) -> None:
    await lab.upstream.stop()
    order = lab.order()
    answer = await (await lab.call(order)).refund()
    assert (answer.status, answer.json["code"]) == (502, "upstream_unreachable")
    receipt = await lab.receipt(order)
    assert receipt.state is SentState.NOT_SENT
    assert lab.journal.last(order.warrant_id)["k"] == "void"


async def test_an_upstream_that_drops_the_line_leaves_it_sent(lab) -> None:
    lab.upstream.answer = lambda _: Reply(drop=True)
    order = lab.order()
    answer = await (await lab.call(order)).refund()
    assert (answer.status, answer.json["code"]) == (502, "upstream_broken")
    receipt = await lab.receipt(order)
    assert receipt.state is SentState.SENT
    assert receipt.upstream_status == 0
    assert receipt.alarms == ("upstream_broken",)
    assert lab.journal.last(order.warrant_id)["k"] == "sent"


async def test_a_child_that_leaves_does_not_cancel_what_was_sent(lab) -> None:
    lab.upstream.answer = lambda seen: Reply(201, {"amount": 500}, delay_s=0.3)
    order = lab.order()
    child = await lab.call(order)
    await child.send(plain("POST", "/orders/W1/refunds", refund_body()))
    await asyncio.sleep(0.1)
    child.close()
    # The receipt waits for the request that is under way.
    receipt = await lab.receipt(order)
    assert receipt.state is SentState.ANSWERED
    assert receipt.values["amount"] == 500


async def test_an_answer_after_the_deadline_leaves_it_sent(lab) -> None:
    lab.upstream.answer = lambda seen: Reply(201, {"amount": 500}, delay_s=30)
    order = lab.order(expires_at=lab.now() + timedelta(seconds=0.3))
    child = await lab.call(order)
    began = asyncio.get_running_loop().time()
    answer = await child.refund()
    # A warrant's rest and the tool's two seconds, less the time to note it.
    took = asyncio.get_running_loop().time() - began
    assert 2 - ANSWER_BEFORE_S < took < 3
    assert answer is None or answer.json["code"] == "upstream_timeout"
    receipt = await lab.receipt(order)
    assert receipt.state is SentState.SENT


async def test_no_request_starts_after_the_warrant_has_expired(lab) -> None:
    order = lab.order(expires_at=lab.now() + timedelta(seconds=0.2))
    child = await lab.call(order)
    await asyncio.sleep(0.3)
    answer = await child.refund()
    assert (answer.status, answer.json["code"]) == (403, "warrant_expired")
    assert await child.hung_up()
    assert lab.upstream.connections == 0
    assert (await lab.receipt(order)).state is SentState.NOT_SENT


async def test_a_connection_that_is_kept_is_ended_at_the_deadline(lab) -> None:
    order = lab.order(expires_at=lab.now() + timedelta(seconds=0.1))
    child = await lab.call(order)
    began = asyncio.get_running_loop().time()
    assert await child.hung_up()
    assert 2 < asyncio.get_running_loop().time() - began < 3
    assert lab.desk.live == 0


async def test_a_rule_that_is_broken_ends_the_call_and_raises_the_alarm(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    # The honest request behind it is not served any more.
    honest = plain("POST", "/orders/W1/refunds", refund_body())
    await child.send(plain("GET", "/customers/other") + honest)
    answer = await child.read()
    assert (answer.status, answer.json["code"]) == (403, "rule")
    assert answer.headers["connection"] == "close"
    assert await child.hung_up()
    receipt = await lab.receipt(order)
    assert receipt.alarms == ("rule_violation",)
    assert receipt.state is SentState.NOT_SENT
    assert lab.upstream.connections == 0


@pytest.mark.control("7.3")
async def test_a_revocation_between_accepting_and_sending_stops_the_request(
    lab,
) -> None:
    order = lab.order()
    child = await lab.call(order)
    lab.store.moved[f"agent:{AGENT}"] = 1
    await asyncio.sleep(EPOCHS_FRESH_S + 0.1)
    answer = await child.refund()
    assert (answer.status, answer.json["code"]) == (403, "revoked")
    assert lab.upstream.connections == 0
    assert (await lab.receipt(order)).state is SentState.NOT_SENT


async def test_epochs_that_aged_while_dialling_are_read_again_before_the_first_byte(
    lab,
) -> None:
    lab.disk.delay_s = EPOCHS_AGE_S_MAX + 0.1
    lab.disk.after = lambda: lab.store.moved.update({"global:dev": 1})
    order = lab.order()
    answer = await (await lab.call(order)).refund()
    assert (answer.status, answer.json["code"]) == (403, "revoked")
    assert lab.upstream.connections == 1
    assert lab.upstream.seen == []
    lab.disk.delay_s = 0
    assert (await lab.receipt(order)).state is SentState.NOT_SENT
    assert lab.journal.last(order.warrant_id)["k"] == "void"


async def test_whoever_asks_while_the_epochs_are_read_keeps_it_from_being_sent(
    lab,
) -> None:
    order = lab.order()
    child = await lab.call(order)
    await asyncio.sleep(EPOCHS_FRESH_S + 0.1)
    heard = []

    async def meanwhile() -> None:
        heard.append(await lab.ask(order))

    lab.store.before_epochs = meanwhile
    answer = await child.refund()
    assert heard[0].state is SentState.NOT_SENT
    assert answer.status == 403
    assert lab.upstream.connections == 0


async def test_fresh_epochs_are_not_read_twice(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    asked = lab.store.asked
    assert (await child.refund()).status == 201
    assert lab.store.asked - asked <= 1  # the sealed credential


async def test_without_the_database_nothing_leaves(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    lab.store.down = True
    await asyncio.sleep(EPOCHS_FRESH_S + 0.1)
    answer = await child.refund()
    assert (answer.status, answer.json["code"]) == (503, "epochs_unavailable")
    assert lab.upstream.connections == 0


async def test_a_database_that_goes_while_dialling_stops_the_first_byte(lab) -> None:
    lab.disk.delay_s = EPOCHS_AGE_S_MAX + 0.1
    lab.disk.after = lambda: setattr(lab.store, "down", True)
    order = lab.order()
    answer = await (await lab.call(order)).refund()
    assert (answer.status, answer.json["code"]) == (503, "epochs_unavailable")
    assert lab.upstream.seen == []
    lab.disk.delay_s = 0
    assert (await lab.receipt(order)).state is SentState.NOT_SENT


async def slow_credential(lab: Any) -> None:
    current = lab.rows.current

    async def later(connector: str) -> Any:
        await asyncio.sleep(0.4)
        return await current(connector)

    lab.rows.current = later


async def slow_disk(lab: Any) -> None:
    lab.disk.delay_s = 0.4


async def slow_epochs(lab: Any) -> None:
    async def meanwhile() -> None:
        await asyncio.sleep(0.4)

    lab.store.before_epochs = meanwhile
    await asyncio.sleep(EPOCHS_FRESH_S + 0.1)


@pytest.mark.parametrize("slow", [slow_credential, slow_disk, slow_epochs])
async def test_nothing_leaves_once_the_warrant_ran_out_on_the_way(lab, slow) -> None:
    lives_s = EPOCHS_FRESH_S + 0.4 if slow is slow_epochs else 0.3
    order = lab.order(expires_at=lab.now() + timedelta(seconds=lives_s))
    child = await lab.call(order)
    await slow(lab)
    answer = await child.refund()
    assert (answer.status, answer.json["code"]) == (403, "warrant_expired")
    assert lab.upstream.seen == []
    lab.disk.delay_s = 0
    receipt = await lab.receipt(order)
    assert receipt.state is SentState.NOT_SENT


async def test_a_credential_that_does_not_open_lets_nothing_out_and_is_said(
    lab, capsys
) -> None:
    order = lab.order()
    child = await lab.call(order)
    row = lab.rows.versions["retail", 1]
    bad = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
    lab.rows.change("retail", sealed=bad)
    answer = await child.refund()
    assert (answer.status, answer.json["code"]) == (503, "no_credential")
    assert lab.upstream.connections == 0
    printed = capsys.readouterr().out
    assert CANARY not in json.dumps(answer.json) + printed
    # The connector may keep the reason to itself; whoever runs the edge has it.
    (line,) = [one for one in printed.splitlines() if "refused" in one]
    assert all(word in line for word in ("no_credential", "retail", "orders.refund"))


async def test_receipt_values_come_from_the_raw_answer_with_their_types(lab) -> None:
    lab.upstream.answer = lambda _: Reply(
        201, b'{"customer": null, "amount": 500.0, "currency": true, "order": {}}'
    )
    order = lab.order()
    await (await lab.call(order)).refund()
    receipt = await lab.receipt(order)
    # A fraction is no amount, and a value that is not there is not invented.
    assert receipt.values == {"owner": None, "currency": True}
    assert receipt.alarms == ("value_unusable",)


@pytest.mark.parametrize(
    "body", [b'{"amount": 1, "amount": 500}', b"", b"<html>", b'{"amount": 500}x']
)
async def test_an_answer_with_two_meanings_gives_no_values(lab, body) -> None:
    lab.upstream.answer = lambda _: Reply(201, body)
    order = lab.order()
    answer = await (await lab.call(order)).refund()
    assert answer.body == body
    receipt = await lab.receipt(order)
    assert (receipt.state, receipt.upstream_status) == (SentState.ANSWERED, 201)
    assert receipt.values == {}
    assert receipt.alarms == ("not_json",)


async def test_an_answer_without_a_body_is_passed_on(lab) -> None:
    lab.upstream.answer = lambda _: Reply(204, None)
    child = await lab.call(lab.order("orders.get"))
    answer = await child.ask("GET", "/orders/W1")
    assert (answer.status, answer.headers, answer.body) == (204, {}, b"")
    assert (await child.ask("GET", "/orders/W1")).status == 204


async def test_the_store_failing_while_the_credential_is_read_is_a_refusal(lab) -> None:
    child = await lab.call(lab.order())

    async def broken(_):
        msg = "PostgreSQL: TimeoutError"
        raise StoreError(msg)

    lab.rows.current = broken
    answer = await child.refund()
    assert (answer.status, answer.json["code"]) == (503, "no_credential")
