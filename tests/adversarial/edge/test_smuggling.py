"""A hostile connector writes whatever bytes it likes; none of them reach the upstream.

Every attempt is sent on an accepted call. The effect is what counts: the upstream saw
nothing, the call ended, and the receipt carries the alarm.
"""

import json
import time

import pytest

from broker.core.words.warrant import SentState
from broker.edge.egress.rules import REQUEST_BYTES_MAX
from broker.edge.egress.wire import HEAD_BYTES_MAX, HEADERS_MAX
from tests.edge.child import plain, refund_body
from tests.edge.fake_upstream import CUSTOMER
from tests.edge.lab import Lab

BODY = json.dumps(refund_body()).encode()
SIZE = str(len(BODY)).encode()
POST = b"POST /orders/W1/refunds HTTP/1.1\r\nhost: edge\r\n"
JSON = b"content-type: application/json\r\n"
LENGTH = b"content-length: " + SIZE + b"\r\n"
SECOND = b"GET /admin HTTP/1.1\r\nhost: edge\r\n\r\n"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


async def attempt(lab: Lab, data: bytes) -> list[int]:
    """Send bytes on a fresh call; return the statuses that came back.

    Whatever they were: the upstream has seen nothing of them.
    """
    order = lab.order()
    child = await lab.call(order)
    await child.send(data)
    child.writer.write_eof()
    statuses = []
    while answer := await child.read():
        statuses.append(answer.status)
    receipt = await lab.receipt(order)
    assert lab.upstream.seen == []
    assert lab.upstream.connections == 0
    assert receipt.state is SentState.NOT_SENT
    assert receipt.alarms == ("rule_violation",)
    assert lab.desk.live == 0
    return statuses


MALFORMED = {
    "length and chunked together": POST
    + JSON
    + LENGTH
    + b"transfer-encoding: chunked\r\n\r\n"
    + CHUNKED,
    "chunked and length together": POST
    + JSON
    + b"Transfer-Encoding: chunked\r\n"
    + LENGTH
    + b"\r\n"
    + CHUNKED,
    "chunked alone": POST + JSON + b"transfer-encoding: chunked\r\n\r\n" + CHUNKED,
    "an encoding hidden by case": POST + JSON + b"tRANSFER-eNCODING: x\r\n\r\n",
    "two lengths": POST + JSON + LENGTH + b"content-length: 0\r\n\r\n" + BODY,
    "one length twice": POST + JSON + LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": POST
    + JSON
    + b"content-length: %s, %s\r\n\r\n" % (SIZE, SIZE)
    + BODY,
    "a signed length": POST + JSON + b"content-length: +%s\r\n\r\n" % SIZE + BODY,
    "a hex length": POST + JSON + b"content-length: 0x10\r\n\r\n" + BODY,
    "a padded length": POST + JSON + b"content-length: 0%s\r\n\r\n" % SIZE + BODY,
    "a negative length": POST + JSON + b"content-length: -1\r\n\r\n" + BODY,
    "bare line feeds": (POST + JSON + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "a bare line feed": POST + b"accept: a\nx: b\r\n" + JSON + LENGTH + b"\r\n" + BODY,
    "a bare return": POST + b"accept: a\rx: b\r\n" + JSON + LENGTH + b"\r\n" + BODY,
    "a folded line": POST + b"accept: a\r\n b: c\r\n" + JSON + LENGTH + b"\r\n" + BODY,
    "a space before the colon": POST + b"accept : a\r\n" + JSON + LENGTH + b"\r\n",
    "an empty header name": POST + b": a\r\n" + JSON + LENGTH + b"\r\n" + BODY,
    "a zero byte": POST + b"accept: a\x00b\r\n" + JSON + LENGTH + b"\r\n" + BODY,
    "a byte beyond ASCII": POST + b"accept: \xff\r\n" + JSON + LENGTH + b"\r\n" + BODY,
    "two hosts": POST + b"host: other\r\n" + JSON + LENGTH + b"\r\n" + BODY,
    "no host": b"POST /orders/W1/refunds HTTP/1.1\r\n" + JSON + LENGTH + b"\r\n" + BODY,
    "an old version": (POST + JSON + LENGTH + b"\r\n").replace(b"1.1", b"1.0") + BODY,
    "version 2 of the protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /orders/W1\r\n\r\n",
    "a space in the target": b"GET /orders/W1 x HTTP/1.1\r\nhost: e\r\n\r\n",
    "a tab in the request line": b"GET\t/orders/W1\tHTTP/1.1\r\nhost: e\r\n\r\n",
    "a line break in the target": b"GET /a\r\nx: y HTTP/1.1\r\nhost: e\r\n\r\n",
    "an empty line first": b"\r\n" + POST + JSON + LENGTH + b"\r\n" + BODY,
    "a lower-case method": b"get /orders/W1 HTTP/1.1\r\nhost: e\r\n\r\n",
    "a warrant of one's own": b"\x00\x00\x00\x10" + b'{"op":"control"}\r\n\r\n',
    "a body cut off": POST + JSON + LENGTH + b"\r\n" + BODY[:-1],
    "a head cut off": POST + JSON,
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_request_with_two_readings_is_refused(lab, name) -> None:
    assert await attempt(lab, MALFORMED[name]) == [400]


FORBIDDEN = {
    "absolute form": b"POST http://evil.test/orders/W1/refunds HTTP/1.1\r\nhost: e\r\n",
    "absolute form of the upstream": b"POST http://127.0.0.1/orders/W1/refunds "
    b"HTTP/1.1\r\nhost: 127.0.0.1\r\n",
    "authority form": b"CONNECT evil.test:443 HTTP/1.1\r\nhost: evil.test\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nhost: e\r\n",
    "trace": b"TRACE /orders/W1/refunds HTTP/1.1\r\nhost: e\r\n",
    "head": b"HEAD /orders/W1 HTTP/1.1\r\nhost: e\r\n",
    "purge": b"PURGE /orders/W1 HTTP/1.1\r\nhost: e\r\n",
}


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_a_request_of_another_form_is_refused(lab, name) -> None:
    data = FORBIDDEN[name] + JSON + LENGTH + b"\r\n" + BODY
    assert await attempt(lab, data) == [403]


@pytest.mark.parametrize(
    "header",
    [
        "Authorization: Bearer stolen",
        "Proxy-Authorization: Basic eDp5",
        "Cookie: session=1",
        "X-Api-Key: k",
        "Idempotency-Key: another",
        "X-Forwarded-Host: evil.test",
        "X-Forwarded-For: 127.0.0.1",
        "Forwarded: host=evil.test",
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /admin",
        "Expect: 100-continue",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "TE: trailers",
        "Trailer: x",
        "Range: bytes=0-0",
        "If-None-Match: *",
        "Origin: https://evil.test",
        "Content-Encoding: gzip",
        "Location: https://evil.test",
        "Via: 1.1 evil",
        "Keep-Alive: timeout=1000",
    ],
)
async def test_a_header_that_is_not_on_the_list_is_refused(lab, header) -> None:
    data = POST + JSON + LENGTH + header.encode() + b"\r\n\r\n" + BODY
    assert await attempt(lab, data) == [403]


@pytest.mark.parametrize("host", ["evil.test", "169.254.169.254", "127.0.0.1:5432", ""])
async def test_the_host_that_a_connector_names_leads_nowhere(lab, host) -> None:
    child = await lab.call(lab.order())
    data = POST.replace(b"host: edge", b"host: " + host.encode())
    await child.send(data + JSON + LENGTH + b"\r\n" + BODY)
    answer = await child.read()
    assert answer is not None
    assert answer.status == 201
    [seen] = lab.upstream.seen
    assert seen.headers["host"] == lab.upstream.url.removeprefix("http://")


async def test_a_second_request_in_a_body_is_judged_as_a_body(lab) -> None:
    length = b"content-length: %d\r\n\r\n" % (len(BODY) + len(SECOND))
    assert await attempt(lab, POST + JSON + length + BODY + SECOND) == [403]


async def test_a_second_request_behind_a_short_body_is_judged_by_the_rules(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    await child.send(POST + JSON + LENGTH + b"\r\n" + BODY + SECOND)
    first, second = await child.read(), await child.read()
    assert first is not None
    assert second is not None
    assert (first.status, second.status) == (201, 403)
    assert await child.hung_up()
    assert [seen.target for seen in lab.upstream.seen] == ["/orders/W1/refunds"]
    assert (await lab.receipt(order)).alarms == ("rule_violation",)


async def test_pipelining_past_the_budget_sends_no_more_than_the_budget(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    read = plain("GET", f"/orders/W1?customer={CUSTOMER}")
    await child.send(read * 50)
    statuses = []
    while answer := await child.read():
        statuses.append(answer.status)
    assert statuses == [200, 200, 403]
    assert len(lab.upstream.seen) == 2


async def test_one_refund_is_sent_however_often_it_is_asked_for(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    await child.send(plain("POST", "/orders/W1/refunds", refund_body()) * 20)
    statuses = []
    while answer := await child.read():
        statuses.append(answer.status)
    assert statuses == [201, 403]
    assert len(lab.upstream.seen) == 1


async def test_a_head_of_the_largest_size_is_read_and_one_byte_more_is_not(lab) -> None:
    def sized(size: int) -> bytes:
        bare = POST + JSON + LENGTH + b"user-agent: \r\n\r\n"
        agent = b"user-agent: " + b"a" * (size - len(bare))
        return bare.replace(b"user-agent: ", agent) + BODY

    child = await lab.call(lab.order())
    await child.send(sized(HEAD_BYTES_MAX))
    answer = await child.read()
    assert answer is not None
    assert answer.status == 201
    child.close()
    lab.upstream.seen.clear()
    lab.upstream.connections = 0
    assert await attempt(lab, sized(HEAD_BYTES_MAX + 1)) == [431]
    assert await attempt(lab, POST + b"accept: " + b"a" * 40_000) == [431]


async def test_a_target_of_any_length_does_no_harm(lab) -> None:
    long = b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nhost: e\r\n\r\n"
    assert await attempt(lab, long) == [400]


async def test_more_headers_than_the_limit_are_refused(lab) -> None:
    head = POST + b"accept: a\r\n" * HEADERS_MAX + b"\r\n"
    assert await attempt(lab, head) == [431]


async def test_a_body_larger_than_the_limit_is_not_even_read(lab) -> None:
    length = b"content-length: %d\r\n\r\n" % (REQUEST_BYTES_MAX + 1)
    assert await attempt(lab, POST + JSON + length + BODY) == [413]
    length = b"content-length: %d\r\n\r\n" % 10**9
    assert await attempt(lab, POST + JSON + length) in ([400], [413])


async def test_padding_that_a_backtracking_reader_would_choke_on_is_quick(lab) -> None:
    spaces = b"accept:" + b" " * 15_000 + b"\x01\r\n"
    began = time.monotonic()
    assert await attempt(lab, POST + spaces + b"\r\n") == [400]
    assert time.monotonic() - began < 1
