"""Notices over the real edge: web hook, chat and mail, exactly as they were signed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.core.jws import Algorithm, PrivateKey, private_from_seed, sign, verify
from broker.core.notices.bodies import body_of
from broker.core.notices.orders import order_claims, parse_receipt
from broker.core.words.notice import (
    NOTICE_RECEIPT_TYP,
    NOTICE_TYP,
    Carried,
    CarriedState,
    NoticeForm,
    NoticeOrder,
)
from broker.core.words.warrant import WARRANT_TYP
from broker.edge.identity import uuid7
from broker.edge.notices import (
    ANSWER_BYTES_MAX,
    CARRIED_MAX,
    NOTICE_S_MAX,
    Courier,
)
from broker.edge.warrants import RefusedError
from tests.edge.egress.fake_mail import FakeMail
from tests.edge.fake_upstream import Reply
from tests.edge.lab import ENVIRONMENT, ISSUER, TENANT, WARRANT_KEY, Lab
from tests.edge.manifests import TOOLS
from tests.support.notices.orders import notice, order
from tests.support.notices.receiver import SECRET, documented

CHAT = b"services/T0123456/B0123456/a-secret-part-of-the-path"
PASSWORD = b"the-mail-servers-password"


def made(lab: Lab, **changes: Any) -> NoticeOrder:
    now = lab.now()
    plain: dict[str, Any] = {
        "order_id": uuid7(now),
        "tenant": TENANT,
        "environment": ENVIRONMENT,
        "edge": lab.identity.edge,
        "boot": lab.identity.boot,
        "issued_at": now,
        "expires_at": now + timedelta(seconds=5),
    }
    return order(**(plain | changes))


def signed(one: NoticeOrder, *, key: PrivateKey = WARRANT_KEY, typ: str = NOTICE_TYP):
    return sign(order_claims(one, issuer=ISSUER), key=key, typ=typ)


async def carry(lab: Lab, one: NoticeOrder) -> Carried:
    answer = await lab.control(op="notice", order=signed(one))
    assert answer["ok"] is True, answer
    key = lab.identity.key.public()
    claims = verify(answer["receipt"], keys={key.kid: key}, typ=NOTICE_RECEIPT_TYP)
    return parse_receipt(claims, order_id=one.order_id)


async def refused(lab: Lab, token: str) -> str:
    answer = await lab.control(op="notice", order=token)
    assert answer["ok"] is False, answer
    return str(answer["error"]["code"])


async def hook(lab: Lab, *replies: Reply) -> None:
    """Put the web hook's credential into use; it answers these, then 204."""
    left = [*replies]
    lab.upstream.answer = lambda _: left.pop(0) if left else Reply(204)
    await lab.use(SECRET, connector="notify_ops", kind="webhook")


async def test_a_web_hook_arrives_exactly_as_it_was_signed(lab: Lab) -> None:
    await hook(lab)
    one = made(lab)
    assert await carry(lab, one) == Carried(CarriedState.TAKEN, 204)
    (seen,) = lab.upstream.seen
    assert (seen.method, seen.target) == ("POST", "/")
    assert seen.headers["content-type"] == "application/cloudevents+json"
    assert seen.json == body_of(one, source=ISSUER)
    assert seen.headers["webhook-id"] == one.notice.notice_id
    received: set[str] = set()
    for news in (True, False):
        assert news is documented()["receive"](
            SECRET.decode(),
            seen.headers,
            seen.body,
            now_s=int(time.time()),
            seen=received,
        )


@pytest.mark.parametrize("change", ["body", "id", "time", "old", "secret"])
async def test_the_documented_receiver_refuses_what_was_changed_or_kept(
    lab: Lab, change: str
) -> None:
    await hook(lab)
    await carry(lab, made(lab))
    (seen,) = lab.upstream.seen
    secret, headers, body, now_s = (
        SECRET.decode(),
        dict(seen.headers),
        seen.body,
        int(time.time()),
    )
    match change:
        case "body":
            body = body.replace(b"31000", b"31001")
        case "id":
            headers["webhook-id"] += "0"
        case "time":
            headers["webhook-timestamp"] = str(now_s - 7)
        case "old":
            now_s += documented()["TOLERANCE_S"] + 2
        case _:
            secret = secret[:-4] + "AAAA"
    with pytest.raises(ValueError, match=r"too old|not ours"):
        documented()["verify"](secret, headers, body, now_s=now_s)


async def test_a_base_url_with_a_path_gets_no_slash_behind_it(lab: Lab) -> None:
    await lab.use(
        SECRET,
        connector="notify_ops",
        kind="webhook",
        base_url=f"{lab.upstream.url}/hooks/cf",
    )
    lab.upstream.answer = lambda _: Reply(200)
    await carry(lab, made(lab))
    assert [seen.target for seen in lab.upstream.seen] == ["/hooks/cf"]


async def test_a_chat_gets_one_line_at_its_secret_address(lab: Lab) -> None:
    await lab.use(CHAT, connector="notify_chat", kind="path")
    lab.upstream.answer = lambda _: Reply(200, b"ok", {"content-type": "text/plain"})
    one = made(lab, connector="notify_chat", form=NoticeForm.CHAT)
    assert (await carry(lab, one)).state is CarriedState.TAKEN
    (seen,) = lab.upstream.seen
    assert seen.target == "/" + CHAT.decode()
    assert seen.json == body_of(one, source=ISSUER)
    assert not any(name.startswith("webhook") for name in seen.headers)


async def test_a_mail_is_handed_to_a_real_server_by_smtp(lab: Lab) -> None:
    server = FakeMail()
    await server.start()
    try:
        await lab.use(
            PASSWORD,
            connector="notify_mail",
            kind="basic",
            base_url=f"smtp://127.0.0.1:{server.port}",
            settings={"user": "shop", "sender": "no-reply@shop.test"},
        )
        one = made(
            lab, connector="notify_mail", form=NoticeForm.MAIL, to="ann@shop.test"
        )
        assert await carry(lab, one) == Carried(CarriedState.TAKEN, 202)
        server.says["RCPT"] = b"550 no such user\r\n"
        again = replace(one, order_id=uuid7(lab.now()))
        assert (await carry(lab, again)).state is CarriedState.REFUSED
    finally:
        await server.stop()
    (mail,) = server.mails
    body = body_of(one, source=ISSUER)
    assert (mail["To"], mail["Subject"]) == (body["to"], body["subject"])
    assert mail["Message-ID"] == f"<{one.notice.notice_id}@shop.test>"
    text = mail.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().replace("\r\n", "\n") == body["text"]
    assert server.logins[0] == (b"shop", PASSWORD)


@pytest.mark.parametrize(
    ("reply", "state", "status"),
    [
        (Reply(500), CarriedState.LATER, 500),
        (Reply(429), CarriedState.LATER, 429),
        (Reply(302, headers={"location": "/"}), CarriedState.LATER, 302),
        (Reply(drop=True), CarriedState.LATER, 0),
        (Reply(raw=b"HTTP/1.1 2"), CarriedState.LATER, 0),
        (Reply(410), CarriedState.REFUSED, 410),
        (Reply(200, b"x" * ANSWER_BYTES_MAX), CarriedState.TAKEN, 200),
        (Reply(200, b"x" * (ANSWER_BYTES_MAX + 1)), CarriedState.LATER, 200),
    ],
)
async def test_what_was_not_taken_is_told_apart_and_the_next_order_has_the_same_id(
    lab: Lab, reply: Reply, state: CarriedState, status: int
) -> None:
    await hook(lab, reply)
    one = made(lab)
    carried = await carry(lab, one)
    assert (carried.state, carried.status) == (state, status)
    second = await carry(lab, replace(one, order_id=uuid7(lab.now())))
    assert second.state is CarriedState.TAKEN
    ids = {seen.headers["webhook-id"] for seen in lab.upstream.seen}
    assert ids == {one.notice.notice_id}


async def test_a_receiver_that_does_not_answer_in_time_is_tried_later(
    lab: Lab,
) -> None:
    await hook(lab, Reply(200, delay_s=NOTICE_S_MAX + 5))
    carried = await carry(lab, made(lab))
    assert carried == Carried(CarriedState.LATER, 0, "upstream_timeout")


async def test_an_order_is_spent_once_also_when_it_comes_many_times_at_once(
    lab: Lab,
) -> None:
    await hook(lab)
    token = signed(made(lab))
    answers = await asyncio.gather(
        *(lab.control(op="notice", order=token) for _ in range(8))
    )
    assert sorted(one["ok"] for one in answers) == [False] * 7 + [True]
    assert {one["error"]["code"] for one in answers if not one["ok"]} == {
        "warrant_spent"
    }
    assert len(lab.upstream.seen) == 1


async def test_what_is_no_order_for_here_and_now_sends_nothing(lab: Lab) -> None:
    await hook(lab)
    stranger = private_from_seed(b"x" * 48, algorithm=Algorithm.EDDSA)
    past = lab.now() - timedelta(minutes=1)
    cases = {
        "warrant_invalid": [
            signed(made(lab), key=stranger),
            signed(made(lab), typ=WARRANT_TYP),
            signed(made(lab, connector="retail")),
            signed(
                made(
                    lab,
                    issued_at=lab.now() + timedelta(minutes=1),
                    expires_at=lab.now() + timedelta(seconds=65),
                )
            ),
        ],
        "wrong_edge": [
            signed(made(lab, boot="another")),
            signed(made(lab, tenant="another")),
        ],
        "warrant_expired": [
            signed(made(lab, issued_at=past, expires_at=past + timedelta(seconds=5)))
        ],
        "no_credential": [
            signed(made(lab, connector="notify_nobody")),
            # A mail to a web hook's address, a chat line in place of a signed event.
            signed(made(lab, form=NoticeForm.MAIL, to="ann@shop.test")),
            signed(made(lab, form=NoticeForm.CHAT)),
        ],
    }
    for code, tokens in cases.items():
        for token in tokens:
            assert await refused(lab, token) == code
    assert lab.upstream.seen == []


async def test_a_connector_that_a_tool_has_carries_no_notice(lab: Lab) -> None:
    await hook(lab)
    digest, tool = next(iter(TOOLS.items()))
    theirs = replace(tool, connector="notify_ops")
    post = replace(lab.desk._post, tools={digest: theirs})  # noqa: SLF001
    courier = Courier(post, lab.desk, lab.means)
    with pytest.raises(RefusedError, match="belongs to a tool"):
        await courier.carry(signed(made(lab)))
    assert lab.upstream.seen == []


async def test_a_notice_order_opens_no_call_and_a_warrant_sends_no_notice(
    lab: Lab,
) -> None:
    await hook(lab)
    assert await lab.refused(signed(made(lab))) == "warrant_invalid"
    from tests.edge.lab import signed as warrant  # noqa: PLC0415  (the other one)

    assert await refused(lab, warrant(lab.order())) == "warrant_invalid"
    assert lab.upstream.seen == []


async def test_a_removed_channel_and_a_silent_database_send_nothing(lab: Lab) -> None:
    await hook(lab)
    lab.store.moved["subscription:ops"] = 1
    assert await refused(lab, signed(made(lab))) == "revoked"
    lab.store.down = True
    assert await refused(lab, signed(made(lab))) == "epochs_unavailable"
    assert lab.upstream.seen == []


async def test_a_receiver_that_gives_the_secret_back_is_not_called_again(
    lab: Lab,
) -> None:
    await hook(lab, Reply(200, SECRET.removeprefix(b"whsec_")))
    carried = await carry(lab, made(lab))
    assert carried == Carried(CarriedState.REFUSED, 200, "credential_echo")


async def test_only_so_many_notices_are_at_work_at_once(lab: Lab) -> None:
    gate = asyncio.Event()
    await hook(lab, *(Reply(204, delay_s=0.5) for _ in range(CARRIED_MAX)))
    gate.set()
    answers = await asyncio.gather(
        *(
            lab.control(op="notice", order=signed(made(lab)))
            for _ in range(CARRIED_MAX + 1)
        )
    )
    busy = [one for one in answers if not one["ok"]]
    assert [one["error"]["code"] for one in busy] == ["too_busy"]


async def test_the_edges_log_holds_no_secret_address_or_link(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    await hook(lab, Reply(500))
    told = notice(reject_link=f"{ISSUER}/console/reject?t=a-token")
    one = made(lab, notice=told)
    await carry(lab, one)
    printed = capsys.readouterr().out
    assert one.notice.notice_id in printed
    for secret in (SECRET.decode(), "a-token", "console"):
        assert secret not in printed
