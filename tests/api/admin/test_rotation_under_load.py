"""A thousand calls at two replicas while keys rotate three times: none fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.core.identity.signing_keys import RING_AGE_S_MAX, Pace
from broker.core.jws import sign
from broker.core.words.identity import ACCESS_TOKEN_TYP
from broker.effects.signing import SigningRing
from tests.contracts.test_registry import entry
from tests.support.door import Door, application, claims_in
from tests.support.identities import TOKEN_KEY
from tests.support.identity.halves import Drawer

CALLS = 1_000
STEP_S = 3
LAG_CALLS = 8
"""Each replica reads the ring only so often: it is up to 24 s behind the other one."""

TOKEN_SPARE_S = 30
ROTATE_AT = (300, 600, 900)


def at_replica(door: Door, ring: SigningRing) -> None:
    door.desk = replace(door.desk, keys=ring)
    application().state.desk = door.desk


async def change(door: Door, what: str, **body: str) -> None:
    token = await door.token("carol")
    answer = await door.call("POST", f"/v1/admin/keys/{what}", token, json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.control("7.3")
async def test_no_call_fails_while_keys_rotate_three_times(door: Door) -> None:
    drawer = Drawer()
    rings = [
        SigningRing(
            door.registry, drawer, clock=door.times, nonce_secret=b"n" * 32, pace=Pace()
        )
        for _ in range(2)
    ]
    await rings[0].found(TOKEN_KEY, entry())
    for ring in rings:
        await ring.refresh()
    assert LAG_CALLS * STEP_S < RING_AGE_S_MAX
    token, until, signers, failed = "", door.times.now(), set(), []
    for number in range(CALLS):
        door.times.pass_(STEP_S)
        ring = rings[number % 2]
        at_replica(door, ring)
        if number % LAG_CALLS < 2:
            await ring.refresh()
        if number in ROTATE_AT:
            await change(door, "rotate", reason="a drill")
        if door.times.now() + timedelta(seconds=TOKEN_SPARE_S) > until:
            token = await door.token()
            until = door.times.now() + timedelta(seconds=300)
            signers.add(ring.token.kid)
        answer = await door.call("GET", "/v1/tools", token)
        if answer.status_code != 200:
            failed.append((number, answer.text))
    assert failed == []
    assert len(signers) == 1 + len(ROTATE_AT)

    # A key that has retired verifies nothing any more.
    claims = claims_in(token)
    retired = sign(claims, key=TOKEN_KEY, typ=ACCESS_TOKEN_TYP)
    assert (await door.call("GET", "/v1/tools", retired)).status_code == 401

    # A compromised one fails at once, also where nobody has read the ring since.
    assert (await door.call("GET", "/v1/tools", token)).status_code == 200
    ring = rings[0]
    await ring.refresh()
    at_replica(door, ring)
    await change(door, f"{ring.token.kid}/compromised", reason="found in a paste")
    for ring in rings:
        at_replica(door, ring)
        assert (await door.call("GET", "/v1/tools", token)).status_code == 401
