"""Mail leaves the edge by the same rules as everything else, and is told as well."""

import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from broker.core.words.warrant import SentState
from broker.edge.egress.mail import (
    ADDRESS_CHARS_MAX,
    REPLY_BYTES_MAX,
    SUBJECT_CHARS_MAX,
    TEXT_CHARS_MAX,
    Mail,
    MailUpstream,
    message,
    parse_mail,
)
from broker.edge.egress.route import Endpoint, Route
from broker.edge.egress.tls import Tls
from broker.edge.egress.upstream import Outgoing, UpstreamError
from broker.edge.vault.kinds import VaultError
from tests.edge.egress.fake_mail import FakeMail
from tests.edge.egress.test_tls import SERVER, STRANGER
from tests.edge.lab import CANARY
from tests.edge.vault.test_kinds import make

SENDER = b"no-reply@shop.test"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLAIN = {"to": "ann@shop.test", "subject": "An action waits", "text": "Decide.\n"}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeMail]:
    made = FakeMail()
    await made.start()
    yield made
    await made.stop()


def outgoing(**fields: Any) -> Outgoing:
    pair = b64encode(b"shop:" + CANARY.encode())
    return Outgoing(
        method="POST", target="/", body=json.dumps(PLAIN | fields).encode(),
        headers=((b"Authorization", b"Basic " + pair), (b"From", SENDER)),
        key_header="Message-Id", key="k" * 20, fresh=True, timeout_s=2,
        response_bytes_max=1_000,
    )  # fmt: skip


def upstream(port: int, tls: Tls | None = None, **more: Any) -> MailUpstream:
    scheme, host = ("smtps", "localhost") if tls else ("smtp", "127.0.0.1")
    route = Route(
        endpoint=Endpoint(scheme, host, port, ""),
        allow_private=more.pop("allow_private", True),
        tls=tls or Tls(),
    )
    return MailUpstream(route, now=lambda: NOW, **more)


async def go() -> None:
    pass


async def failure(server: FakeMail, **fields: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await upstream(server.port).send(outgoing(**fields), guard=go)
    return caught.value


async def test_a_mail_is_handed_over_as_it_was_decided(server) -> None:
    text = ".a line that begins with a dot\nümlaut\n..\n.\nend"
    answer = await upstream(server.port).send(
        outgoing(subject="Grüße: wait", text=text), guard=go
    )
    assert (answer.status, json.loads(answer.body)) == (202, {"accepted": True})
    assert server.logins == [(b"shop", CANARY.encode())]
    [mail] = server.mails
    assert (mail["to"], mail["from"]) == ("ann@shop.test", "no-reply@shop.test")
    assert mail["subject"] == "Grüße: wait"
    assert mail["message-id"] == f"<{'k' * 20}@shop.test>"
    assert mail["auto-submitted"] == "auto-generated"
    assert mail.get_content().replace("\r\n", "\n") == text + "\n"
    assert server.lines[2:4] == [
        b"MAIL FROM:<no-reply@shop.test>\r\n",
        b"RCPT TO:<ann@shop.test>\r\n",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "ann@shop.test, eve@evil.test"},
        {"to": "ann@shop.test>\r\nRCPT TO:<eve@evil.test"},
        {"to": "ann@shop.test\n"},
        {"to": "Ann <ann@shop.test>"},
        {"to": ""},
        {"to": "x" * ADDRESS_CHARS_MAX + "@shop.test"},
        {"subject": "hello\r\nBcc: eve@evil.test"},
        {"subject": "hello\u2028Bcc: eve@evil.test"},
        {"subject": ""},
        {"subject": "x" * (SUBJECT_CHARS_MAX + 1)},
        {"text": "x\r\n.\r\nMAIL FROM:<eve@evil.test>"},
        {"text": "x" * (TEXT_CHARS_MAX + 1)},
        {"text": 7},
        {"bcc": "eve@evil.test"},
    ],
)
async def test_a_mail_that_says_more_than_was_decided_is_not_sent(
    server, changes
) -> None:
    error = await failure(server, **changes)
    assert (error.code, error.sent) == ("mail_malformed", False)
    assert server.connections == 0


def test_limits_of_a_mail_hold_at_the_limit() -> None:
    longest = {
        "to": "x" * (ADDRESS_CHARS_MAX - 10) + "@shop.test",
        "subject": "s" * SUBJECT_CHARS_MAX,
        "text": "t" * TEXT_CHARS_MAX,
    }
    parsed = parse_mail(json.dumps(longest).encode())
    assert parsed == Mail(longest["to"], longest["subject"], longest["text"])
    lines = message(parsed, sender="a@b.test", key="k", now=NOW).split(b"\r\n")
    assert max(map(len, lines)) <= 998


@pytest.mark.parametrize(
    ("word", "said", "status"),
    [
        ("MAIL", b"550 not you\r\n", 422),
        ("RCPT", b"550 no such mailbox\r\n", 422),
        ("RCPT", b"450 try later\r\n", 503),
        ("DATA", b"554 no\r\n", 422),
        ("END", b"552 too much\r\n", 422),
        ("END", b"451 try later\r\n", 503),
    ],
)
async def test_a_server_that_surely_did_not_take_it_is_an_answer(
    server, word, said, status
) -> None:
    server.says[word] = said
    answer = await upstream(server.port).send(outgoing(), guard=go)
    assert (answer.status, json.loads(answer.body)) == (status, {"accepted": False})


@pytest.mark.parametrize(
    ("word", "said", "code", "sent"),
    [
        ("BANNER", b"554 go away\r\n", "upstream_unreachable", False),
        ("AUTH", b"535 " + CANARY.encode() + b"\r\n", "upstream_unreachable", False),
        ("EHLO", b"250 " + b"x" * REPLY_BYTES_MAX, "upstream_broken", False),
        ("MAIL", b"hello\r\n", "upstream_broken", False),
        ("MAIL", b"250 fine\r\n250 fine\r\n", "upstream_broken", False),
        ("RCPT", None, "upstream_broken", False),
        ("END", None, "upstream_broken", True),
        ("END", b"", "upstream_timeout", True),
    ],
)  # fmt: skip
async def test_what_may_have_been_taken_is_told_apart_from_what_was_not(
    server, word, said, code, sent
) -> None:
    server.says[word] = said
    error = await failure(server)
    assert (error.code, error.sent) == (code, sent)
    assert CANARY not in str(error)


async def test_the_guard_runs_before_the_server_hears_of_the_mail(server) -> None:
    async def stop() -> None:
        code = "revoked"
        raise UpstreamError(code, "", sent=False)

    with pytest.raises(UpstreamError, match="revoked"):
        await upstream(server.port).send(outgoing(), guard=stop)
    assert not any(line.startswith(b"MAIL") for line in server.lines)


async def test_a_private_mail_server_that_was_not_declared_is_not_dialled(
    server,
) -> None:
    with pytest.raises(UpstreamError, match="address_refused"):
        await upstream(server.port, allow_private=False).send(outgoing(), guard=go)
    assert server.connections == 0


async def test_a_password_is_not_shown_to_a_server_that_is_not_trusted(
    tmp_path,
) -> None:
    for name, data in (("c.pem", SERVER.pem.encode()), ("k.pem", SERVER.key_pem)):
        (tmp_path / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    server = FakeMail()
    await server.start(context)
    good = Tls(ca=SERVER.pem, pins=frozenset({SERVER.pin}))
    answer = await upstream(server.port, good).send(outgoing(), guard=go)
    assert answer.status == 202
    for tls, code in (
        (Tls(ca=STRANGER.pem), "upstream_unreachable"),
        (Tls(ca=SERVER.pem, pins=frozenset({STRANGER.pin})), "pin_refused"),
    ):
        with pytest.raises(UpstreamError, match=code):
            await upstream(server.port, tls).send(outgoing(), guard=go)
    assert len(server.logins) == 1
    await server.stop()


NOTICE = {"to": "ann@shop.test", "action": "W2378156"}


async def test_a_notice_is_journalled_bound_to_its_warrant_and_sent_once(lab) -> None:
    server = FakeMail()
    await server.start()
    await lab.use(
        CANARY.encode(), connector="mail", kind="basic",
        base_url=f"smtp://127.0.0.1:{server.port}",
        settings={"user": "shop", "sender": "no-reply@shop.test"},
    )  # fmt: skip
    body = {
        "to": "ann@shop.test",
        "subject": "An action waits for you",
        "text": "Please decide about W2378156.",
    }
    other = await lab.call(lab.order("notices.send", arguments=NOTICE))
    refused = await other.ask("POST", "/", body | {"to": "eve@evil.test"})
    assert (refused.status, refused.json["code"]) == (403, "rule")
    assert server.connections == 0
    order = lab.order("notices.send", arguments=NOTICE)
    lab.disk.after = lambda: journalled.append(server.connections)
    journalled: list[int] = []
    child = await lab.call(order)
    answer = await child.ask("POST", "/", body)
    assert (answer.status, answer.json) == (202, {"accepted": True})
    assert journalled[0] == 0
    again = await child.ask("POST", "/", body)
    assert again is None or again.json["code"] == "budget"
    receipt = await lab.receipt(order)
    assert (receipt.state, receipt.upstream_status) == (SentState.ANSWERED, 202)
    [mail] = server.mails
    assert mail["message-id"] == f"<{order.idempotency_key}@shop.test>"
    await server.stop()


def test_a_mail_credential_names_its_sender_and_speaks_tls() -> None:
    good = {"user": "shop", "sender": "no-reply@shop.test"}
    make("basic", base_url="smtps://mail.test", **good)
    for base_url, settings in (
        ("smtp://mail.test", good),
        ("smtps://mail.test", good | {"sender": None}),
        ("smtps://mail.test/path", good),
        ("https://crm.test", good),
        ("smtps://mail.test", good | {"sender": "a@b.test>\r\nX"}),
    ):
        with pytest.raises(VaultError):
            make("basic", base_url=base_url, **settings)
