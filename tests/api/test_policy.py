"""Versions of the policy over the API: two people, their own keys, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker.api.policy import BODY_BYTES_MAX, REASON_CHARS_MAX
from broker.cli.seed_policy import demo_policy
from broker.core.canonical import digest
from broker.core.jws import sign
from broker.core.words.entry import EntryKind
from broker.registry.policy.versions import (
    POLICY_TYP,
    VERSIONS_SHOWN_MAX,
    content_of,
    policy_claims,
)
from tests.support.door import PEOPLE, put
from tests.support.identities import key_of
from tests.support.policies import LIMIT, made_of

if TYPE_CHECKING:
    import httpx

    from tests.support.door import Door

SEED = demo_policy(author=PEOPLE["carol"][0], approver=PEOPLE["dave"][0])
CONTENT = content_of(SEED)
NARROW = made_of("limits.toml", LIMIT, "limit = 900_000")
WIDE = made_of("limits.toml", LIMIT, "limit = 2_000_000")
PATH = "/v1/policy"


@pytest.fixture
async def door(door: Door) -> Door:
    """Return the door of the room, with a policy in force."""
    await put(door.registry, "policy", "main", SEED)
    door.registry.entries.clear()
    return door


def signature(
    who: str, content: dict[str, Any], *, word: str = "propose", version: int = 2
) -> str:
    claims = policy_claims(
        PEOPLE[who][0], word=word, version=version, digest=digest(content)
    )
    return sign(claims, key=key_of(who), typ=POLICY_TYP)


async def call(
    door: Door, who: str, method: str, path: str, body: Any = None
) -> httpx.Response:
    more = {} if body is None else {"json": body}
    return await door.call(method, PATH + path, await door.token(who), **more)


async def propose(
    door: Door, who: str, content: dict[str, Any], **changes: Any
) -> httpx.Response:
    version = changes.get("version", 2)
    body = {
        "policy": content,
        "version": version,
        "signature": signature(who, content, version=version),
        "reason": "because",
    }
    return await call(door, who, "POST", "/proposal", body | changes)


async def approve(
    door: Door, who: str, content: dict[str, Any], **changes: Any
) -> httpx.Response:
    version = changes.get("version", 2)
    signed = signature(who, content, word="approve", version=version)
    body = {"version": version, "signature": signed}
    return await call(door, who, "POST", "/proposal/approval", body | changes)


async def in_force(door: Door) -> int:
    row = await door.registry.get("policy", "main")
    assert row is not None
    return int(row.body["version"])


async def test_a_version_counts_once_a_second_person_signed_it(door: Door) -> None:
    answer = await propose(door, "carol", WIDE)
    assert (answer.status_code, answer.json()["state"]) == (201, "proposed")
    assert await in_force(door) == 1
    shown = (await call(door, "dave", "GET", "/proposal")).json()
    assert shown["policy"] == WIDE
    assert shown["changes"]["budgets"]["changed"] == ["agent-day"]
    assert not shown["narrows"]
    answer = await approve(door, "dave", shown["policy"])
    assert (answer.status_code, answer.json()["state"]) == (200, "published")
    assert await in_force(door) == 2
    row = await door.registry.get("policy", "main")
    assert row is not None
    assert row.by == tuple(f"person:{PEOPLE[who][0]}" for who in ("carol", "dave"))
    assert len(row.body["signatures"]) == 2
    entries = door.logged(EntryKind.AUTHORITY)
    assert [e.detail["what"] for e in entries] == ["policy.propose", "policy.publish"]
    last = entries[-1].detail
    assert (last["version_before"], last["version"]) == (1, 2)
    assert last["changed"]["budgets"]["changed"] == ["agent-day"]
    listed = (await call(door, "carol", "GET", "/versions")).json()
    assert [one["version"] for one in listed["versions"]] == [2, 1]
    assert listed["proposal"] is None
    assert (await call(door, "carol", "GET", "/proposal")).status_code == 404


@pytest.mark.parametrize(
    ("author", "approver"),
    # Their own; two of security without compliance; no role at all.
    [("carol", "carol"), ("dave", "dave"), ("carol", "olivia"), ("carol", "alice")],
)
async def test_nobody_approves_their_own_or_without_the_role(
    door: Door, author: str, approver: str
) -> None:
    await propose(door, author, WIDE)
    answer = await approve(door, approver, WIDE)
    assert answer.status_code == 403
    assert await in_force(door) == 1


async def test_a_person_without_a_role_neither_proposes_nor_looks(door: Door) -> None:
    assert (await propose(door, "alice", WIDE)).status_code == 403
    for path in ("/versions", "/versions/1", "/proposal"):
        assert (await call(door, "alice", "GET", path)).status_code == 403
    assert door.registry.entries == []


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": signature("carol", CONTENT)},
        {"signature": signature("dave", WIDE)},
        {"signature": signature("carol", WIDE, word="approve")},
        {"signature": signature("carol", WIDE, version=3)},
        {"signature": "e30.e30.AA"},
    ],
)
async def test_a_proposal_that_its_author_did_not_sign_is_refused(
    door: Door, changes: dict[str, Any]
) -> None:
    answer = await propose(door, "carol", WIDE, **changes)
    assert answer.status_code == 403, answer.text
    assert door.registry.entries == []


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": signature("dave", NARROW, word="approve")},
        {"signature": signature("carol", WIDE, word="approve")},
        {"signature": signature("dave", WIDE)},
    ],
)
async def test_an_approval_of_something_else_is_refused(
    door: Door, changes: dict[str, Any]
) -> None:
    await propose(door, "carol", WIDE)
    assert (await approve(door, "dave", WIDE, **changes)).status_code == 403
    assert await in_force(door) == 1


async def test_one_proposal_waits_at_a_time_until_it_is_withdrawn(door: Door) -> None:
    await propose(door, "carol", WIDE)
    assert (await propose(door, "dave", NARROW)).status_code == 409
    answer = await call(door, "dave", "POST", "/proposal/withdrawal", {"reason": "no"})
    assert answer.json()["state"] == "withdrawn"
    assert (await approve(door, "dave", WIDE)).status_code == 404
    assert (await propose(door, "dave", NARROW)).status_code == 201
    assert (await approve(door, "carol", NARROW)).status_code == 200
    assert await in_force(door) == 2


async def test_what_only_narrows_is_published_by_one_person_at_once(
    door: Door,
) -> None:
    answer = await propose(door, "carol", WIDE, now=True)
    assert answer.status_code == 403
    assert "provably" in answer.json()["detail"]
    assert await in_force(door) == 1
    answer = await propose(door, "carol", NARROW, now=True)
    assert answer.json()["state"] == "published"
    assert await in_force(door) == 2
    row = await door.registry.get("policy", "main")
    assert row is not None
    assert (row.body["approver"], len(row.body["signatures"])) == ("", 1)


async def test_a_rollback_is_a_new_version_with_an_earlier_content(door: Door) -> None:
    await propose(door, "carol", NARROW, now=True)
    more = {"version": 3, "rollback_of": 1}
    # Back to what permits more: one person is not enough.
    assert (await propose(door, "carol", CONTENT, now=True, **more)).status_code == 403
    # What is called a rollback is that content and no other.
    assert (await propose(door, "carol", WIDE, **more)).status_code == 422
    assert (await propose(door, "carol", CONTENT, **more)).status_code == 201
    assert (await approve(door, "dave", CONTENT, version=3)).status_code == 200
    row = await door.registry.get("policy", "main")
    assert row is not None
    assert (row.body["version"], row.body["rollback_of"]) == (3, 1)
    assert content_of(row.body) == CONTENT


async def test_a_policy_that_does_not_validate_is_refused_with_the_reason(
    door: Door,
) -> None:
    wrong = made_of("rules.cedar", "context.tier", "context.tear")
    for content, why in (
        (wrong, "rules.cedar"),
        (CONTENT | {"cedar": CONTENT["cedar"] + " "}, "do not compile"),
        (CONTENT | {"sources": {}}, "appetite.toml"),
        ({"cedar": 1}, "made from"),
        (made_of("appetite.toml", 'amount_upto = "1000.00"', ""), "own test"),
    ):
        answer = await propose(door, "carol", content)
        assert answer.status_code == 422, answer.text
        assert why in answer.json()["detail"]
    assert door.registry.entries == []


async def test_a_reason_and_a_body_have_their_limits(door: Door) -> None:
    longest = "r" * REASON_CHARS_MAX
    answer = await propose(door, "carol", WIDE, reason=longest + "r")
    assert answer.status_code == 422
    answer = await propose(door, "carol", WIDE, reason=longest)
    assert answer.status_code == 201
    large = {"sources": {}, "cedar": "x" * BODY_BYTES_MAX}
    assert (await propose(door, "carol", large)).status_code == 413


async def test_a_proposal_from_an_older_look_is_refused(door: Door) -> None:
    assert (await propose(door, "carol", WIDE, version=3)).status_code == 409
    assert (await propose(door, "carol", CONTENT)).status_code == 409
    assert (await call(door, "carol", "GET", "/versions/7")).status_code == 404


async def test_an_author_who_lost_the_role_proposes_nothing(door: Door) -> None:
    await propose(door, "carol", WIDE)
    await door.change("person", PEOPLE["carol"][0], roles=["supervisor"])
    assert (await approve(door, "dave", WIDE)).status_code == 403
    assert await in_force(door) == 1


async def test_versions_past_the_limit_are_not_looked_through(door: Door) -> None:
    for number in range(1, VERSIONS_SHOWN_MAX + 1):
        body = SEED | {"version": number + 1}
        await put(door.registry, "policy", "main", body, after=number)
    found = (await call(door, "carol", "GET", "/versions")).json()["versions"]
    assert len(found) == VERSIONS_SHOWN_MAX
    assert found[-1]["version"] == 2
