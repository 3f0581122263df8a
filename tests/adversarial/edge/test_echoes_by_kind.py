"""Whatever kind a credential is of, an answer that holds it goes nowhere."""

import json
from base64 import b64encode
from urllib.parse import quote

import pytest

from broker.core.canonical import canonical
from tests.edge.fake_upstream import Reply, Seen
from tests.edge.lab import CANARY
from tests.edge.vault.provider import CLIENT, CLIENT_SECRET, FIRST, Provider

SECRET = CANARY.encode()


@pytest.mark.control("7.6")
@pytest.mark.parametrize(
    ("kind", "settings", "echo"),
    [
        ("bearer", {}, SECRET),
        ("basic", {"user": "shop"}, SECRET),
        ("basic", {"user": "shop"}, b64encode(b"shop:" + SECRET)),
        ("basic", {"user": "a"}, b"Authorization: Basic " + b64encode(b"a:" + SECRET)),
        ("header", {"header": "X-Api-Key"}, b"X-Api-Key: " + SECRET),
        ("query", {"parameter": "key"}, b"/orders?key=" + quote(SECRET).encode()),
        ("path", {}, b"no_such_hook: /" + SECRET + b"/orders"),
        ("query", {"parameter": "key"}, SECRET.replace(b"-", b"%2D")),
        ("query", {"parameter": "key"}, SECRET.replace(b"-", b"%252D")),
    ],
)  # fmt: skip
async def test_an_answer_that_holds_the_secret_is_not_passed_on(
    lab, kind, settings, echo
) -> None:
    await lab.use(SECRET, kind=kind, settings=settings)
    lab.upstream.answer = lambda _: Reply(201, b'{"debug": "' + echo + b'"}')
    order = lab.order()
    answer = await (await lab.call(order)).refund()
    assert (answer.status, answer.json["code"]) == (502, "credential_echo")
    receipt = await lab.receipt(order)
    assert receipt.alarms == ("credential_echo",)
    assert CANARY not in str(receipt)
    # It was the credential that was used, in the way of its kind.
    [seen] = lab.upstream.seen
    sent = seen.target + json.dumps(seen.headers)
    assert any(form in sent for form in (CANARY, b64encode(b"shop:" + SECRET).decode(),
               b64encode(b"a:" + SECRET).decode()))  # fmt: skip


@pytest.mark.control("7.6")
@pytest.mark.parametrize("which", ["access", "client", "given", "replaced"])
async def test_an_answer_that_holds_what_a_token_was_got_with_is_not_passed_on(
    lab, which
) -> None:
    provider = Provider(auth="post")
    held = {
        "access": lambda: provider.tokens[-1],
        "client": lambda: CLIENT_SECRET,
        "given": lambda: FIRST,
        "replaced": lambda: provider.current,
    }[which]

    def answer(seen: Seen) -> Reply:
        if seen.target == "/token":
            return provider.answer(seen)
        return Reply(201, {"debug": held()})

    lab.upstream.answer = answer
    settings = {
        "token_url": f"{lab.upstream.url}/token",
        "client_id": CLIENT,
        "client_auth": "post",
    }
    both = canonical({"client_secret": CLIENT_SECRET, "refresh_token": FIRST})
    await lab.use(both, kind="oauth_refresh", settings=settings)
    order = lab.order()
    child = await lab.call(order)
    refused = await child.refund()
    assert (refused.status, refused.json["code"]) == (502, "credential_echo")
    assert held() not in str(refused.json)
    assert held() not in str(await lab.receipt(order))


async def test_a_connector_cannot_reach_the_token_endpoint(lab) -> None:
    provider = Provider(auth="post")
    lab.upstream.answer = provider.answer
    settings = {
        "token_url": f"{lab.upstream.url}/token",
        "client_id": CLIENT,
        "client_auth": "post",
    }
    await lab.use(CLIENT_SECRET.encode(), kind="oauth_client", settings=settings)
    child = await lab.call(lab.order())
    answer = await child.ask("POST", "/token", {"grant_type": "client_credentials"})
    assert (answer.status, answer.json["code"]) == (403, "rule")
    assert lab.upstream.seen == []


async def test_without_a_token_nothing_is_journalled_or_sent(lab) -> None:
    settings = {
        "token_url": f"{lab.upstream.url}/token",
        "client_id": CLIENT,
        "client_auth": "post",
    }
    await lab.use(CLIENT_SECRET.encode(), kind="oauth_client", settings=settings)
    lab.upstream.answer = lambda _: Reply(500, {"error": "server_error"})
    order = lab.order()
    answer = await (await lab.call(order)).refund()
    assert (answer.status, answer.json["code"]) == (503, "no_credential")
    assert [seen.target for seen in lab.upstream.seen] == ["/token"]
    receipt = await lab.receipt(order)
    assert (receipt.state, receipt.requests) == ("not_sent", ())


async def test_a_token_that_was_taken_back_costs_one_call_and_is_not_sent_again(
    lab,
) -> None:
    provider = Provider(auth="post")
    lab.upstream.answer = provider.answer
    settings = {
        "token_url": f"{lab.upstream.url}/token",
        "client_id": CLIENT,
        "client_auth": "post",
    }
    await lab.use(CLIENT_SECRET.encode(), kind="oauth_client", settings=settings)

    async def read() -> int:
        child = await lab.call(lab.order("orders.get"))
        answer = await child.ask("GET", "/orders/W1")
        child.close()
        return int(answer.status)

    assert await read() == 200
    provider.tokens.append("nobody-has-this-one")
    assert [await read(), await read()] == [401, 200]
    assert len(provider.forms) == 2
    assert [seen.method for seen in lab.upstream.seen].count("GET") == 3
