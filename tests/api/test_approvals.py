"""Approvals over HTTP: a person with a proof sees, signs and is told; nobody else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from fastapi import Request

from broker import flow
from broker.api.approvals import VoteBody
from broker.api.internal import worker
from broker.core.approvals.votes import VOTE_BYTES_MAX
from broker.core.words.action import ActionState
from broker.core.words.approval import VoteWord
from broker.core.words.errors import ForbiddenError
from tests.support.approvals.office import Office, open_office
from tests.support.approvals.voters import (
    LARGE,
    VERY_LARGE,
    change_row,
    large_refund,
    signed_vote,
    state_of,
    voter,
)
from tests.support.door import WORKER_ID
from tests.support.flow.house import AGENT_ID, House, open_house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from httpx import Response


@pytest_asyncio.fixture
async def house(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[House]:
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
        yield opened


@pytest_asyncio.fixture
async def office(house: House) -> AsyncIterator[Office]:
    async with open_office(house) as opened:
        yield opened


async def voted(
    office: Office, name: str, approval_id: str, word: VoteWord, **more: Any
) -> Response:
    path = f"/v1/approvals/{approval_id}"
    card = (await office.call(name, "GET", path)).json()
    vote = signed_vote(
        name,
        word,
        approval_id=approval_id,
        at=office.house.ports.clock.now(),
        **{"digest": card["asked"]["digest"], "shown": card["shown"]} | more,
    )
    return await office.call(name, "POST", f"{path}/votes", json={"vote": vote})


async def test_a_person_lists_looks_signs_and_the_state_follows(
    office: Office,
) -> None:
    record = await large_refund(office.house, VERY_LARGE)
    listed = (await office.call("alice", "GET", "/v1/approvals")).json()
    [one] = listed["approvals"]
    assert one["approval"] == record.approval_id
    assert one["amount"]["text"] == "1,100.00 USD"
    assert (one["may_approve"], one["why_not"]) == (True, None)
    assert 0 < one["expires_in_s"] <= 86_400
    first = await voted(office, "alice", record.approval_id, VoteWord.APPROVE)
    assert first.json() | {"vote": ""} == {
        "approval": record.approval_id,
        "vote": "",
        "state": "pending",
        "approved": 1,
        "approvers_min": 2,
    }
    second = await voted(office, "bob", record.approval_id, VoteWord.APPROVE)
    assert second.json()["state"] == "approved"
    assert await state_of(office.house, record) is ActionState.READY
    late = await voted(office, "bob", record.approval_id, VoteWord.REJECT)
    assert late.status_code == 409
    assert late.json()["code"] == "conflict"


async def test_fifty_clicks_that_send_one_vote_are_one_vote_and_one_refund(
    office: Office,
) -> None:
    record = await large_refund(office.house)
    path = f"/v1/approvals/{record.approval_id}"
    card = (await office.call("alice", "GET", path)).json()
    vote = signed_vote(
        "alice",
        VoteWord.APPROVE,
        approval_id=record.approval_id,
        at=office.house.ports.clock.now(),
        digest=card["asked"]["digest"],
        shown=card["shown"],
    )
    body = {"vote": vote}
    answers = await asyncio.gather(
        *(office.call("alice", "POST", f"{path}/votes", json=body) for _ in range(50))
    )
    assert {(one.status_code, one.json().get("state")) for one in answers} == {
        (200, "approved")
    }
    await flow.settle(office.house.ports, record.request.action_id)
    assert office.house.executor.amounts() == [LARGE]
    assert await office.house.database.value("SELECT count(*) FROM vote") == 1


async def test_a_signature_over_something_else_is_stale(office: Office) -> None:
    record = await large_refund(office.house)
    for change in ({"digest": "0" * 64}, {"shown": "0" * 64}):
        answer = await voted(
            office, "alice", record.approval_id, VoteWord.APPROVE, **change
        )
        assert answer.status_code == 409
        assert answer.json()["code"] == "approval-stale"
        assert "look at it again" in answer.json()["hint"]


@pytest.mark.parametrize("who", ["worker", "carol"])
async def test_the_worker_and_people_of_other_roles_cannot_look(
    office: Office, who: str
) -> None:
    record = await large_refund(office.house)
    for path in ("", f"/{record.approval_id}"):
        answer = await office.call(who, "GET", f"/v1/approvals{path}")
        expected = {"worker": {401, 403}, "carol": {404} if path else {200}}[who]
        assert answer.status_code in expected, answer.text
        assert record.approval_id not in answer.text


async def test_without_a_proof_nobody_gets_in(office: Office) -> None:
    token = await office.token("alice")
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        answer = await office.http.get("/v1/approvals", headers=headers)
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"vote": 1}', 422),
        (b'{"vote": ""}', 422),
        (b'{"vote": "x", "person": "bob"}', 422),
        (b'{"vote": "x", "vote": "y"}', 400),
        (b'{"vote": "a.b.c"}', 403),
        (b'{"vote": "%s"}' % (b"x" * (VOTE_BYTES_MAX + 1)), 422),
        (b'{"vote": "%s"}' % (b"x" * 70_000), 413),
    ],
)
async def test_a_body_of_another_form_is_refused_and_nothing_is_counted(
    office: Office, body: bytes, status: int
) -> None:
    record = await large_refund(office.house)
    answer = await office.call(
        "alice",
        "POST",
        f"/v1/approvals/{record.approval_id}/votes",
        content=body,
    )
    # Without the media type nothing is read at all.
    assert answer.status_code == 400
    token = await office.token("alice")
    path = f"/v1/approvals/{record.approval_id}/votes"
    me = office.identity("alice")
    proof = me.proof("POST", f"{me.issuer}{path}", token=token, nonce="")
    headers = {
        "Authorization": f"DPoP {token}",
        "DPoP": proof,
        "Content-Type": "application/json",
    }
    answer = await office.http.post(path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert await state_of(office.house, record) is ActionState.PENDING_APPROVAL


@pytest.mark.parametrize("approval_id", ["x", "..%2Fx", "0197a000", WORKER_ID])
async def test_what_does_not_exist_is_not_found(
    office: Office, approval_id: str
) -> None:
    path = f"/v1/approvals/{approval_id}"
    answer = await office.call("alice", "GET", path)
    assert answer.status_code == 404
    assert VoteBody.model_config["extra"] == "forbid"


# ------------------------------------------------------------- the internal endpoint


async def test_the_worker_settles_what_people_approved_and_nothing_else(
    office: Office,
) -> None:
    record = await large_refund(office.house)
    base = f"/internal/approvals/{record.approval_id}"
    early = (await office.call("worker", "POST", f"{base}/settle")).json()
    assert (early["approval"], early["action"]) == ("pending", "pending_approval")
    early = (await office.call("worker", "POST", f"{base}/expire")).json()
    assert early["approval"] == "pending"
    assert office.house.executor.amounts() == []
    await voted(office, "alice", record.approval_id, VoteWord.APPROVE)
    seen = (await office.call("worker", "GET", base)).json()
    assert (seen["approval"], seen["action"]) == ("approved", "ready")
    for _ in range(2):
        done = (await office.call("worker", "POST", f"{base}/settle")).json()
        assert (done["approval"], done["action"]) == ("approved", "done")
    assert office.house.executor.amounts() == [LARGE]


@pytest.mark.parametrize(
    ("method", "what"), [("GET", ""), ("POST", "/settle"), ("POST", "/expire")]
)
async def test_only_a_worker_gets_in(office: Office, method: str, what: str) -> None:
    record = await large_refund(office.house)
    path = f"/internal/approvals/{record.approval_id}{what}"
    answer = await office.call("alice", method, path)
    assert answer.status_code in {401, 403}
    assert (await office.http.request(method, path)).status_code == 401
    token = await office.token("worker")
    me = office.identity("worker")
    proof = me.proof(method, f"{me.issuer}{path}", token=token, nonce="")
    row = await office.house.registry.get("service", WORKER_ID)
    assert row is not None
    await change_row(office.house, row, purpose="reports")
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
    answer = await office.http.request(method, path, headers=headers)
    assert answer.status_code in {401, 403}
    assert office.house.executor.amounts() == []


@pytest.mark.parametrize("who", ["nobody", "agent"])
async def test_a_caller_without_a_workers_row_is_no_worker(
    office: Office, who: str
) -> None:
    rows = {"nobody": office.house.ports.ids.new(), "agent": AGENT_ID}
    request = Request({"type": "http", "app": office.app})
    with pytest.raises(ForbiddenError):
        await worker(
            request, replace(voter(office.house, "alice"), subject_id=rows[who])
        )
    row = replace(voter(office.house, "alice"), subject_id=WORKER_ID)
    assert await worker(request, row) is row


async def test_an_approval_that_does_not_exist_is_not_found_for_the_worker(
    office: Office,
) -> None:
    unknown = office.house.ports.ids.new()
    for method, path in (
        ("GET", f"/internal/approvals/{unknown}"),
        ("POST", f"/internal/approvals/{unknown}/settle"),
        ("POST", f"/internal/approvals/{unknown}/expire"),
        ("GET", "/internal/approvals/x"),
    ):
        answer = await office.call("worker", method, path)
        assert answer.status_code == 404, path


async def test_the_run_is_heard_once_it_has_asked(office: Office) -> None:
    record = await large_refund(office.house)
    heard = "SELECT started_at FROM approval"
    assert await office.house.database.value(heard) is None
    await office.call("worker", "GET", f"/internal/approvals/{record.approval_id}")
    first = await office.house.database.value(heard)
    assert first is not None
    await office.call("worker", "GET", f"/internal/approvals/{record.approval_id}")
    assert await office.house.database.value(heard) == first


async def test_settling_goes_on_although_the_worker_went_away(office: Office) -> None:
    record = await large_refund(office.house)
    await voted(office, "alice", record.approval_id, VoteWord.APPROVE)
    office.house.executor.down = True
    base = f"/internal/approvals/{record.approval_id}"
    answer = await office.call("worker", "POST", f"{base}/settle")
    assert answer.status_code == 503
    office.house.executor.down = False
    after = await flow.settle(office.house.ports, record.request.action_id)
    assert after is not None
    assert office.house.executor.amounts() == [LARGE]
