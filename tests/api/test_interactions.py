"""Interactions over HTTP: the channel's assertion is the whole credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from broker.api import interactions
from broker.api.interactions import ASSERTION_CHARS_MAX
from broker.client.channel import ChannelClient
from broker.core.words.action import ActionState
from broker.core.words.moment import read_moment, write_moment
from tests.support.approvals.customers import asks_the_customer, said
from tests.support.approvals.office import application
from tests.support.approvals.voters import approve, state_of
from tests.support.channels import asking, ending, opening, turn
from tests.support.flow.executor import CUSTOMER
from tests.support.flow.house import (
    AGENT_ID,
    CHANNEL_ID,
    ISSUER,
    House,
    open_house,
)
from tests.support.identities import key_of
from tests.support.identity.shown import compared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

URL = "/v1/interactions"


@pytest_asyncio.fixture
async def house(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[House]:
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
        yield opened


@pytest_asyncio.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    app = application(house)
    app.include_router(interactions.router)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url=ISSUER, event_hooks={"response": [compared]}
    ) as client:
        yield client


def claims(house: House) -> dict[str, Any]:
    stamp = int(house.ports.clock.now().timestamp())
    return {"iat": stamp, "exp": stamp + 60, "jti": house.ports.ids.new()}


def opened(house: House, **changes: Any) -> str:
    base = {
        "customer": CUSTOMER,
        "ai_disclosed_at": write_moment(house.ports.clock.now()),
    }
    return opening(**claims(house) | base | changes)


async def test_a_channel_opens_an_interaction_and_reports_what_was_said(
    house, http
) -> None:
    answer = await http.post(URL, json={"assertion": opened(house)})
    assert answer.status_code == 201
    made = answer.json()
    assert made["agent"] == AGENT_ID
    assert (made["customer_bound"], made["verification_level"]) == (True, 2)
    assert CUSTOMER not in answer.text
    said = turn(
        interaction=made["interaction"],
        at=write_moment(house.ports.clock.now()),
        **claims(house),
    )
    path = f"{URL}/{made['interaction']}/turns"
    reported = await http.post(path, json={"assertion": said})
    assert reported.status_code == 201
    assert reported.json()["turn"]


async def test_a_channel_ends_what_it_opened_and_nothing_more_is_said_there(
    house, http
) -> None:
    where = (await house.interaction()).interaction_id
    path = f"{URL}/{where}"
    over = ending(interaction=where, **claims(house))
    answer = await http.post(f"{path}/end", json={"assertion": over})
    assert answer.status_code == 200
    assert answer.json()["interaction"] == where
    assert read_moment(answer.json()["ended_at"]) <= house.ports.clock.now()
    now = write_moment(house.ports.clock.now())
    late = turn(interaction=where, at=now, **claims(house))
    answer = await http.post(f"{path}/turns", json={"assertion": late})
    assert (answer.status_code, answer.json()["code"]) == (409, "interaction-ended")
    assert answer.json()["hint"]


async def test_a_forged_assertion_is_answered_401_with_a_challenge(house, http) -> None:
    forged = opened(house, key=key_of("agent"))
    answer = await http.post(URL, json={"assertion": forged})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"]


async def test_a_level_above_the_channels_own_is_answered_403(house, http) -> None:
    token = opened(house, verification_level=3)
    answer = await http.post(URL, json={"assertion": token})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_channel_learns_what_waits_and_reports_what_the_customer_said(
    house, http
) -> None:
    record = await asks_the_customer(house)
    where = record.request.interaction_id
    path = f"{URL}/{where}/confirmations"
    body = {"assertion": asking(interaction=where, **claims(house))}
    told = await http.post(f"{path}/waiting", json=body)
    assert told.status_code == 200
    [one] = told.json()["waiting"]
    assert one["digest"] == record.digest
    body = {"assertion": said(house, record, digest="0" * 64)}
    stale = await http.post(path, json=body)
    assert (stale.status_code, stale.json()["code"]) == (409, "approval-stale")
    body = {"assertion": said(house, record, customer="somebody")}
    other = await http.post(path, json=body)
    assert (other.status_code, other.json()["code"]) == (403, "forbidden")
    counted = await http.post(path, json={"assertion": said(house, record)})
    assert counted.status_code == 201
    assert counted.json()["approval"] == record.approval_id
    assert counted.json()["state"] == "pending"


async def test_a_channels_client_asks_what_waits_and_confirms_it_in_one_word(
    house, http
) -> None:
    record = await asks_the_customer(house)
    where = record.request.interaction_id
    channel = ChannelClient(
        ISSUER, channel_id=CHANNEL_ID, key=key_of("channel"), http=http
    )
    [one] = (await channel.waiting(where)).checked()["waiting"]
    assert (one["approval"], one["digest"]) == (record.approval_id, record.digest)
    answered = {"approval": one["approval"], "verification_level": 2}
    answered |= {"customer": CUSTOMER, "verdict": "approve"}
    stale = await channel.confirm(where, digest="0" * 64, **answered)
    assert (stale.status, stale.body["code"]) == (409, "approval-stale")
    weak = answered | {"verification_level": 1}
    assert (await channel.confirm(where, digest=one["digest"], **weak)).status == 403
    counted = await channel.confirm(where, digest=one["digest"], **answered)
    assert (counted.status, counted.body["state"]) == (201, "pending")
    await approve(house, "alice", record.approval_id)
    assert await state_of(house, record) is ActionState.READY
    assert (await channel.waiting(where)).checked()["waiting"] == []


async def test_a_channels_client_brings_a_customers_no(house, http) -> None:
    record = await asks_the_customer(house)
    where = record.request.interaction_id
    channel = ChannelClient(
        ISSUER, channel_id=CHANNEL_ID, key=key_of("channel"), http=http
    )
    counted = await channel.confirm(
        where,
        record.approval_id,
        digest=record.digest,
        customer=CUSTOMER,
        verdict="reject",
        verification_level=2,
    )
    assert counted.body["state"] == "rejected"
    assert await state_of(house, record) is ActionState.REFUSED


async def test_what_is_no_interaction_is_not_found(house, http) -> None:
    real = (await house.interaction()).interaction_id
    for where in ("x", "%00", "0" * 36, f"{real}%00", real.upper()):
        body = {"assertion": turn(interaction=where, **claims(house))}
        for what in ("turns", "end", "confirmations", "confirmations/waiting"):
            answer = await http.post(f"{URL}/{where}/{what}", json=body)
            said = (answer.status_code, answer.json()["code"])
            assert said == (404, "not-found"), (where, what)


@pytest.mark.parametrize(
    "path",
    [URL]
    + [
        f"{URL}/{'0' * 36}/{what}"
        for what in ("turns", "end", "confirmations", "confirmations/waiting")
    ],
)
async def test_an_assertion_is_as_long_as_the_limit_and_not_longer(http, path) -> None:
    longest = await http.post(path, json={"assertion": "x" * ASSERTION_CHARS_MAX})
    assert (longest.status_code, longest.json()["code"]) == (401, "unauthenticated")
    longer = await http.post(path, json={"assertion": "x" * (ASSERTION_CHARS_MAX + 1)})
    assert (longer.status_code, longer.json()["code"]) == (422, "invalid")
    assert longer.json()["pointer"] == "/assertion"
