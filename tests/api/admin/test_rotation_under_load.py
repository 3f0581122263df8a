"""A thousand calls at two replicas on one database while keys rotate three times."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from broker.core.identity.signing_keys import RING_AGE_S_MAX, Pace
from broker.core.jws import sign
from broker.core.words.identity import ACCESS_TOKEN_TYP
from broker.effects.clock import RandomIds
from broker.effects.database import Database
from broker.effects.identities import Identities
from broker.effects.signing import SealedKeys, SigningRing
from tests.contracts.test_registry import RealRegistry, Unsequenced, entry
from tests.contracts.test_signing import HERE, KEK
from tests.support.door import Door, application, claims_in
from tests.support.fake_registry import AUTHORITY_KEY, REALM
from tests.support.identities import TOKEN_KEY
from tests.support.identity.doorstep import put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.api.identity.desk import Desk

CALLS = 1_000
STEP_S = 3
LAG_CALLS = 8
"""Each replica reads the ring only so often: it is up to 24 s behind the other one."""

TOKEN_SPARE_S = 30
ROTATE_AT = (300, 600, 900)


class Staged(Unsequenced):
    """Entries with ids of their own; what becomes of them is another test's matter."""

    def signed(self, entries: Any) -> list[dict[str, str]]:
        ids = RandomIds()
        return [{**one, "entry_id": ids.new()} for one in super().signed(entries)]


@asynccontextmanager
async def two_replicas(door: Door, dsn: str) -> AsyncIterator[list[Desk]]:
    """Give two replicas with connections, rows and rings of their own; one database."""
    desks = []
    async with AsyncExitStack() as stack:
        for _ in range(2):
            database = Database(dsn, password="")
            stack.push_async_callback(database.close)
            rows = RealRegistry(
                database, realm=REALM, key=AUTHORITY_KEY, entries=Staged()
            )
            ring = SigningRing(
                rows,
                SealedKeys(database, kek=KEK, where=HERE),
                clock=door.times,
                nonce_secret=b"n" * 32,
                pace=Pace(),
            )
            known = Identities(database, rows)
            desks.append(replace(door.desk, keys=ring, registry=rows, identities=known))
        shared = desks[0].registry
        for kind in ("agent", "person"):
            for row in await door.registry.list(kind):
                there = await shared.get(kind, row.row_id)
                after = there.revision if there else 0
                await put(shared, kind, row.row_id, row.body, after=after)
        yield desks


def at_replica(door: Door, desk: Desk) -> None:
    door.desk = desk
    application().state.desk = desk


async def change(door: Door, what: str, **body: str) -> None:
    token = await door.token("carol")
    answer = await door.call("POST", f"/v1/admin/keys/{what}", token, json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.control("7.3")
async def test_no_call_fails_while_keys_rotate_three_times(
    door: Door, pg_broker_dsn: str
) -> None:
    async with two_replicas(door, pg_broker_dsn) as desks:
        await rotated_thrice(door, desks)


async def rotated_thrice(door: Door, desks: list[Desk]) -> None:
    rings = [cast("SigningRing", desk.keys) for desk in desks]
    await rings[0].found(TOKEN_KEY, entry())
    for ring in rings:
        await ring.refresh()
    assert LAG_CALLS * STEP_S < RING_AGE_S_MAX
    token, until, signers, failed = "", door.times.now(), set(), []
    for number in range(CALLS):
        door.times.pass_(STEP_S)
        ring = rings[number % 2]
        at_replica(door, desks[number % 2])
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
    at_replica(door, desks[0])
    await change(door, f"{ring.token.kid}/compromised", reason="found in a paste")
    for desk in desks:
        at_replica(door, desk)
        assert (await door.call("GET", "/v1/tools", token)).status_code == 401
