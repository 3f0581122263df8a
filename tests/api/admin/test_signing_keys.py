"""Signing keys over HTTP: rotated with nothing failing, dropped with all failing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import pytest_asyncio

from broker.api.identity import signing
from broker.core.identity.signing_keys import Pace
from broker.core.jws import sign
from broker.core.words.entry import EntryKind
from broker.core.words.identity import ACCESS_TOKEN_TYP
from broker.effects.signing import SigningRing
from broker.registry.keys.ages import OWN_KEY_AGE_DAYS_MAX, OwnKey
from tests.contracts.test_registry import entry
from tests.support.door import Door, application, claims_in
from tests.support.identities import ISSUER, NOW, TOKEN_KEY, key_of
from tests.support.identity.halves import Drawer

TOOLS = "/v1/tools"


def replica(door: Door, drawer: Drawer) -> SigningRing:
    return SigningRing(
        door.registry, drawer, clock=door.times, nonce_secret=b"n" * 32, pace=Pace()
    )


def use(door: Door, ring: SigningRing) -> None:
    """Let the next calls reach the replica that has this ring."""
    door.desk = replace(door.desk, keys=ring)
    application().state.desk = door.desk


@pytest_asyncio.fixture
async def rings(door: Door) -> tuple[SigningRing, SigningRing]:
    """Return two replicas that know the ring; the door stands at the first."""
    drawer = Drawer()
    one, two = replica(door, drawer), replica(door, drawer)
    await one.found(TOKEN_KEY, entry())
    for ring in (one, two):
        await ring.refresh()
    use(door, one)
    door.registry.entries.clear()
    return one, two


async def change(door: Door, what: str, who: str = "carol", **body: str):
    token = await door.token(who)
    return await door.call("POST", f"/v1/admin/keys/{what}", token, json=body)


async def works(door: Door, token: str) -> int:
    return (await door.call("GET", TOOLS, token)).status_code


async def test_a_rotation_ends_no_token_and_the_next_ones_have_another_key(door, rings):
    door.times.pass_(900)
    await rings[0].refresh()
    token = await door.token()
    answer = await change(door, "rotate", reason="a drill")
    assert answer.status_code == 200, answer.text
    assert [key["state"] for key in answer.json()["keys"]] == [
        "retiring",
        "active",
        "pending",
    ]
    later = await door.token()
    assert rings[0].token.kid != TOKEN_KEY.kid
    assert await works(door, token) == await works(door, later) == 200
    # The other replica has not read the ring yet, and takes both.
    use(door, rings[1])
    assert await works(door, token) == await works(door, later) == 200


async def test_a_rotation_is_logged_with_the_person_and_both_keys(door, rings):
    await change(door, "rotate", reason="a drill")
    [logged] = [
        one
        for one in door.logged(EntryKind.AUTHORITY)
        if one.detail.get("what") == "signing_key.rotate"
    ]
    assert logged.detail["kid"] == TOKEN_KEY.kid
    assert logged.detail["published"] in rings[0].tokens
    assert logged.detail["by"].startswith("person:")
    assert logged.detail["reason"] == "a drill"


async def test_a_key_that_is_known_just_now_waits_before_it_signs(door, rings):
    answer = await change(door, "rotate")
    states = {key["kid"]: key["state"] for key in answer.json()["keys"]}
    assert states[TOKEN_KEY.kid] == "active"
    assert rings[0].token.kid == TOKEN_KEY.kid
    second = await change(door, "rotate")
    assert second.status_code == 409
    assert "under way" in second.json()["detail"]


async def test_a_retired_key_verifies_nothing(door, rings):
    door.times.pass_(900)
    await rings[0].refresh()
    await change(door, "rotate")
    door.times.pass_(Pace().tail.total_seconds())
    await rings[0].refresh()
    token = await door.token()
    claims = claims_in(token)
    assert await works(door, sign(claims, key=TOKEN_KEY, typ=ACCESS_TOKEN_TYP)) == 401
    assert TOKEN_KEY.kid not in str((await door.http.get("/oauth/jwks")).json())


@pytest.mark.control("7.3")
async def test_a_compromised_key_ends_all_its_tokens_on_every_replica_at_once(
    door, rings
):
    token = await door.token()
    answer = await change(
        door, f"{TOKEN_KEY.kid}/compromised", reason="found in a paste"
    )
    assert answer.status_code == 200, answer.text
    for ring in rings:
        use(door, ring)
        assert await works(door, token) == 401
    # The replica that was asked signs with the next key; nobody had to do anything.
    use(door, rings[0])
    assert await works(door, await door.token()) == 200


async def test_who_has_a_compromised_key_forges_nothing_however_it_is_dated(
    door, rings
):
    token = await door.token()
    await change(door, f"{TOKEN_KEY.kid}/compromised", reason="found in a paste")
    # The thief writes the epochs of now, and that of the key, whatever it is.
    claims = claims_in(await door.token())
    claims["epochs"] |= {f"key:{TOKEN_KEY.kid}": 9}
    forged = sign(claims, key=TOKEN_KEY, typ=ACCESS_TOKEN_TYP)
    use(door, rings[1])
    # This replica still publishes the key: it has not read the ring since.
    assert TOKEN_KEY.kid in rings[1].tokens
    assert await works(door, forged) == 401
    assert await works(door, token) == 401


async def test_dropping_a_key_is_logged_and_deletes_its_private_half(door, rings):
    await change(door, f"{TOKEN_KEY.kid}/compromised", reason="found in a paste")
    [logged] = [
        one
        for one in door.logged(EntryKind.AUTHORITY)
        if one.detail.get("what") == "signing_key.compromised"
    ]
    assert logged.detail["kid"] == TOKEN_KEY.kid
    assert f"key:{TOKEN_KEY.kid}" in logged.detail["scopes"]
    assert any(scope.startswith("global:") for scope in logged.detail["scopes"])


@pytest.mark.parametrize("who", ["alice", "dave"])
async def test_only_security_and_administrators_change_keys(door, rings, who):
    for what in ("rotate", f"{TOKEN_KEY.kid}/compromised"):
        assert (await change(door, what, who, reason="x")).status_code == 403
    assert rings[0].token.kid == TOKEN_KEY.kid


async def test_dropping_a_key_needs_a_reason_and_a_key_that_is_published(door, rings):
    answer = await change(door, f"{TOKEN_KEY.kid}/compromised", reason=" ")
    assert answer.status_code == 422
    other = key_of("nobody").kid
    answer = await change(door, f"{other}/compromised", reason="x")
    assert answer.status_code == 404
    assert await works(door, await door.token()) == 200


async def test_a_rotation_comes_when_it_is_due_and_only_once(door, rings):
    assert not await signing.rotate_if_due(door.desk)
    door.times.pass_(Pace().rotate_s)
    await rings[0].refresh()
    assert await signing.rotate_if_due(door.desk)
    # The other replica finds it due in the same moment, and the row says otherwise.
    use(door, rings[1])
    assert not await signing.rotate_if_due(door.desk)
    [logged] = door.logged(EntryKind.AUTHORITY)
    assert logged.detail["by"] == "schedule"


async def test_the_worker_has_it_looked_at_and_nobody_else_does(door, rings):
    path = "/internal/keys/rotate-if-due"
    answer = await door.call("POST", path, await door.token("worker"))
    assert answer.json() == {"rotated": False}
    door.times.pass_(Pace().rotate_s)
    await rings[0].refresh()
    answer = await door.call("POST", path, await door.token("worker"))
    assert answer.json() == {"rotated": True}
    for who in ("agent", "carol"):
        answer = await door.call("POST", path, await door.token(who))
        assert answer.status_code == 401


async def test_the_list_shows_states_and_other_keys_past_their_age(door, rings):
    old = NOW.replace(year=NOW.year - 2)
    door.desk = replace(
        door.desk,
        own_keys=lambda: (
            OwnKey("entry", "kid-1", "EdDSA", NOW),
            OwnKey("warrant", "kid-2", "EdDSA", old),
        ),
    )
    application().state.desk = door.desk
    token = await door.token("dave")
    found = (await door.call("GET", "/v1/admin/keys", token)).json()
    assert [key["state"] for key in found["keys"]] == ["active", "pending"]
    assert [one["too_old"] for one in found["own"]] == [False, True]
    assert found["own"][1]["age_days"] > OWN_KEY_AGE_DAYS_MAX


async def test_the_published_set_says_how_long_it_may_be_kept(door, rings):
    answer = await door.http.get(f"{ISSUER}/oauth/jwks")
    assert f"max-age={Pace().cache_s}" in answer.headers["cache-control"]
    assert len(answer.json()["keys"]) == 2
