"""A hostile or broken upstream: nothing it answers leaks, hangs, or leads elsewhere."""

import asyncio
import base64
import gzip
import json
import zlib
from dataclasses import replace
from urllib.parse import quote

import pytest

from broker.core.words.warrant import SentState
from tests.edge.child import plain, refund_body
from tests.edge.fake_upstream import FakeUpstream, Reply
from tests.edge.lab import CANARY, Lab

SECRET = CANARY.encode()


async def refund(lab: Lab, reply: Reply):
    """Let the upstream answer a refund so; return answer and receipt."""
    lab.upstream.answer = lambda _: reply
    order = lab.order()
    child = await lab.call(order)
    answer = await child.refund()
    child.close()
    return answer, await lab.receipt(order)


def wrapped(text: bytes) -> bytes:
    return b'{"amount": 500, "debug": "' + text + b'"}'


ECHOES = {
    "plain": wrapped(SECRET),
    "with its scheme": wrapped(b"Authorization: Bearer " + SECRET),
    "base64": wrapped(base64.b64encode(SECRET)),
    "base64 of the header": wrapped(base64.b64encode(b"Bearer " + SECRET)),
    "base64 one byte off": wrapped(base64.b64encode(b"x" + SECRET + b"y")),
    "base64 two bytes off": wrapped(base64.b64encode(b"xy" + SECRET)),
    "url-safe base64": wrapped(base64.urlsafe_b64encode(b"Bearer " + SECRET)),
    "url-encoded": wrapped(quote(SECRET, safe="").encode()),
    "url-encoded to the last letter": wrapped(
        b"".join(b"%%%02X" % byte for byte in SECRET)
    ),
    "json escapes": wrapped(b"".join(b"\\u%04x" % byte for byte in SECRET)),
    "json escapes of url-encoding": wrapped(
        b"".join(b"\\u0025%02x" % byte for byte in SECRET)
    ),
    "hex": wrapped(SECRET.hex().encode()),
    "upper-case hex": wrapped(SECRET.hex().upper().encode()),
    "in a value of the receipt": b'{"amount": 500, "currency": "' + SECRET + b'"}',
    "as the whole body": SECRET,
}


@pytest.mark.parametrize("name", ECHOES)
@pytest.mark.parametrize("status", [201, 422, 500])
async def test_an_echoed_credential_does_not_reach_the_connector(
    lab, name, status
) -> None:
    answer, receipt = await refund(lab, Reply(status, ECHOES[name]))
    assert (answer.status, answer.json["code"]) == (502, "credential_echo")
    # The money may have moved: the status is stated, and nothing else of the answer.
    assert (receipt.state, receipt.upstream_status) == (SentState.ANSWERED, status)
    assert receipt.values == {}
    assert receipt.alarms == ("credential_echo",)
    for seen in (answer.body, json.dumps(dict(receipt.values)).encode()):
        assert SECRET not in seen


async def test_a_credential_in_a_header_reaches_nobody(lab) -> None:
    answer, receipt = await refund(
        lab, Reply(201, {"amount": 500}, {"x-debug": CANARY, "set-cookie": CANARY})
    )
    assert answer.status == 201
    assert CANARY not in str(answer.headers)
    assert receipt.values["amount"] == 500


async def test_a_credential_in_the_content_type_is_seen(lab) -> None:
    answer, _ = await refund(lab, Reply(201, b"{}", {"content-type": f"a/{CANARY}"}))
    assert answer.json["code"] == "credential_echo"


async def test_a_call_ends_when_the_credential_was_echoed(lab) -> None:
    lab.upstream.answer = lambda _: Reply(200, SECRET)
    child = await lab.call(lab.order("orders.get"))
    await child.send(plain("GET", "/orders/W1") * 2)
    answer = await child.read()
    assert (answer.status, answer.headers["connection"]) == (502, "close")
    assert await child.hung_up()
    assert len(lab.upstream.seen) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/iam",
        "http://127.0.0.1:5432/",
        "file:///etc/passwd",
        "//evil.test/",
        "/orders/W1/refunds",
    ],
)
async def test_a_redirect_leads_nowhere_and_its_target_is_not_told(
    lab, location
) -> None:
    answer, receipt = await refund(lab, Reply(307, b"", {"location": location}))
    assert (answer.status, answer.json["code"]) == (502, "redirect")
    assert "location" not in answer.headers
    assert location not in answer.body.decode()
    assert (receipt.state, receipt.upstream_status) == (SentState.ANSWERED, 307)
    assert receipt.alarms == ("redirect",)
    assert len(lab.upstream.seen) == 1


BOMB = b"0" * 10_000_000


@pytest.mark.parametrize(
    ("coding", "data"),
    [("gzip", gzip.compress(BOMB)), ("deflate", zlib.compress(BOMB))],
)
async def test_a_bomb_is_not_unpacked(lab, coding, data) -> None:
    answer, receipt = await refund(lab, Reply(201, data, {"content-encoding": coding}))
    assert (answer.status, answer.json["code"]) == (502, "encoding")
    assert receipt.alarms == ("encoding",)
    assert len(answer.body) < 1_000


async def test_a_bomb_that_is_not_called_one_is_passed_on_as_it_is(lab) -> None:
    data = gzip.compress(b"0" * 100_000)
    answer, receipt = await refund(lab, Reply(201, data))
    assert answer.body == data
    assert receipt.alarms == ("not_json",)


async def test_a_huge_answer_is_cut_off_and_the_status_kept(lab) -> None:
    answer, receipt = await refund(lab, Reply(201, b"x" * 8_000_000))
    assert (answer.status, answer.json["code"]) == (502, "oversized")
    assert (receipt.state, receipt.upstream_status) == (SentState.ANSWERED, 201)
    assert receipt.alarms == ("oversized",)


async def test_an_endless_answer_does_not_fill_the_memory(lab) -> None:
    raw = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n\r\n"
    answer, _ = await refund(lab, Reply(raw=raw + b"x" * 50_000_000))
    assert answer.json["code"] == "oversized"


async def test_an_answer_that_drips_ends_with_the_call(lab) -> None:
    lab.upstream.answer = lambda _: Reply(201, b"x" * 500, drip_s=0.2)
    order = lab.order()
    child = await lab.call(order)
    began = asyncio.get_running_loop().time()
    answer = await child.refund()
    assert asyncio.get_running_loop().time() - began < 8
    assert answer is None or answer.json["code"] == "upstream_timeout"
    receipt = await lab.receipt(order)
    # The status came, so it is known that the upstream answered; not what it did.
    assert receipt.upstream_status in {0, 201}
    assert receipt.values == {}


async def test_an_upstream_cannot_add_headers_to_what_the_child_reads(lab) -> None:
    raw = (
        b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n"
        b"content-type: text/html\r\nset-cookie: a=b\r\nlink: <x>\r\n"
        b"www-authenticate: Basic\r\naccess-control-allow-origin: *\r\n\r\n{}"
    )
    answer, _ = await refund(lab, Reply(raw=raw))
    assert set(answer.headers) == {"content-length", "content-type"}


async def test_an_answer_to_somebody_else_is_not_taken_for_the_next_one(lab) -> None:
    two = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
        b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"paid": 99999}'
    )
    replies = [Reply(raw=two), Reply(200, {"paid": 1})]
    lab.upstream.answer = lambda _: replies.pop(0)
    order = lab.order("orders.get")
    child = await lab.call(order)
    first = await child.ask("GET", "/orders/W1")
    assert first.body == b"{}"
    await asyncio.sleep(0.05)
    second = await child.ask("GET", "/orders/W1")
    assert second.json == {"paid": 1} or second.status == 502


async def test_an_upstream_that_reports_more_than_was_asked_is_quoted_exactly(
    edge, crm
) -> None:
    customer = crm.get("/customers/sofia_li_9219").json()
    order_id, found = next(
        (order_id, order)
        for order_id in customer["order_ids"]
        if (order := crm.order(order_id))["paid_minor_units"]
        - order["refunded_minor_units"]
        > 1_000
    )
    crm.fault("overreport", extra_minor_units=25, path_regex="/refunds$")
    arguments = {
        "order_id": order_id,
        "amount_minor_units": 500,
        "currency": "USD",
        "payment_method_id": found["payments"][0]["payment_method_id"],
    }
    order = edge.order("orders.refund", arguments, customer_id="sofia_li_9219")
    body = {**arguments, "reference": order.action_id}
    del body["order_id"]
    child = await edge.call(order)
    await child.ask("POST", f"/orders/{order_id}/refunds", body)
    assert (await edge.receipt(order)).values["amount"] == 525


async def test_a_credential_is_sent_only_to_the_upstream_that_it_belongs_to(
    lab,
) -> None:
    other = FakeUpstream()
    await other.start()
    # Somebody edits the row in the database so that it names another host.
    row = lab.rows.versions["retail", 1]
    lab.rows.change("retail", credential=replace(row.credential, base_url=other.url))
    order = lab.order()
    child = await lab.call(order)
    await child.send(plain("POST", "/orders/W1/refunds", refund_body()))
    answer = await child.read()
    assert (answer.status, answer.json["code"]) == (503, "no_credential")
    assert other.connections == lab.upstream.connections == 0
    await other.stop()
