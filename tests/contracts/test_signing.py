"""The ring as replicas know it, on fakes and on real tables: one suite."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker.core.identity.signing_keys import Pace, compromised, rotated
from broker.core.jwk import Algorithm, PrivateKey, public_from_jwk
from broker.core.jws import sign, verify
from broker.core.words.errors import StoreUnavailableError
from broker.effects.database import Database
from broker.effects.keyfiles import make_key, write_secret
from broker.effects.signing import SealedKeys, SigningRing, Where, key_provider
from broker.registry.keys.signing import RING_ID, RING_KIND, parse_ring, ring_body
from broker.registry.records import Change
from broker.sealing import FileKek, SealError, read_transit
from tests.contracts.test_registry import RealRegistry, Unsequenced, entry
from tests.edge.vault.fake_transit import TOKEN, FakeTransit
from tests.support.fake_registry import (
    AUTHORITY_KEY,
    REALM,
    FakeRegistry,
    signed_row,
)
from tests.support.identities import ENVIRONMENT, NOW, TENANT, key_of
from tests.support.identity.doorstep import Times
from tests.support.identity.halves import Drawer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from broker.core.identity.signing_keys import Ring

KEK = FileKek(b"k" * 32, random=secrets.token_bytes, whose="signing")
HERE = Where(TENANT, ENVIRONMENT)


@dataclass
class House:
    """Two replicas over one table."""

    rows: Any
    halves: Any
    times: Times = field(default_factory=Times)

    def replica(self, halves: Any = None) -> SigningRing:
        return SigningRing(
            self.rows,
            halves or self.halves,
            clock=self.times,
            nonce_secret=b"n" * 32,
            pace=Pace(),
        )

    async def ring(self) -> tuple[int, Ring]:
        row = await self.rows.get(RING_KIND, RING_ID)
        return row.revision, parse_ring(row)

    async def save(self, ring: Ring, after: int) -> None:
        change = Change(RING_KIND, RING_ID, ring_body(ring), ("schedule",), NOW, after)
        await self.rows.put(change, entry())

    async def rotate(self) -> None:
        revision, ring = await self.ring()
        fresh = await self.halves.make()
        now = self.times.now()
        await self.save(rotated(ring, fresh, now=now, pace=Pace()), revision)


@pytest.fixture(params=["fake", "real"])
def place(request: pytest.FixtureRequest) -> str:
    """Return where the real one's tables are; nothing for the fake."""
    if request.param == "fake":
        return ""
    return str(request.getfixturevalue("pg_broker_dsn"))


@pytest_asyncio.fixture
async def house(place: str) -> AsyncIterator[House]:
    if not place:
        yield House(FakeRegistry(), Drawer())
        return
    database = Database(place, password="")
    rows = RealRegistry(database, realm=REALM, key=AUTHORITY_KEY, entries=Unsequenced())
    yield House(rows, SealedKeys(database, kek=KEK, where=HERE))
    await database.close()


async def test_the_first_replica_makes_the_ring_and_the_second_one_finds_it(house):
    one, two = house.replica(), house.replica()
    assert await one.found(None, entry())
    assert not await two.found(None, entry())
    for replica in (one, two):
        await replica.refresh()
    assert one.token.kid == two.token.kid
    assert one.token.algorithm is Algorithm.ES256
    assert len(one.tokens) == 2


async def test_a_key_that_was_a_file_signs_on_in_the_ring(house):
    key = make_key(Algorithm.ES256)
    replica = house.replica()
    await replica.found(key, entry())
    await replica.refresh()
    assert replica.token.kid == key.kid


async def test_what_a_replica_signs_the_keys_verify_that_another_one_publishes(house):
    one, two = house.replica(), house.replica()
    await one.found(None, entry())
    for replica in (one, two):
        await replica.refresh()
    token = sign({"a": 1}, key=one.token, typ="at+jwt")
    published = {key["kid"]: public_from_jwk(key) for key in two.jwks()["keys"]}
    assert verify(token, keys=published, typ="at+jwt") == {"a": 1}
    assert published.keys() == two.tokens.keys()
    assert all("d" not in key for key in two.jwks()["keys"])


async def test_another_replica_goes_over_without_a_restart(house):
    one = house.replica()
    await one.found(None, entry())
    await one.refresh()
    before = one.token
    house.times.pass_(3_600)
    await house.rotate()
    await one.refresh()
    assert one.token.kid != before.kid
    assert before.kid in one.tokens
    house.times.pass_(Pace().tail.total_seconds())
    await one.refresh()
    assert before.kid not in one.tokens


async def test_a_change_that_is_planned_comes_by_itself(house):
    one = house.replica()
    await one.found(None, entry())
    await house.rotate()
    await one.refresh()
    before = one.token
    house.times.pass_(Pace().lead.total_seconds() - 10)
    await one.refresh()
    assert one.token.kid == before.kid
    house.times.pass_(11)
    # Nobody wrote anything, and nothing is read: the time alone does it.
    assert one.token.kid != before.kid


async def test_a_replica_that_does_not_know_what_holds_signs_nothing(house):
    one = house.replica()
    with pytest.raises(StoreUnavailableError):
        _ = one.tokens
    await one.found(None, entry())
    await one.refresh()
    house.times.pass_(Pace().known_s)
    assert one.token
    house.times.pass_(1)
    with pytest.raises(StoreUnavailableError):
        _ = one.token
    await one.refresh()
    assert one.token


async def test_a_dropped_key_is_neither_signed_with_nor_published(house):
    one = house.replica()
    await one.found(None, entry())
    await one.refresh()
    lost = one.token.kid
    revision, ring = await house.ring()
    fresh = await house.halves.make()
    dropped = compromised(ring, lost, fresh, now=house.times.now(), pace=Pace())
    await house.save(dropped, revision)
    await one.refresh()
    assert one.token.kid != lost
    assert lost not in one.tokens
    assert lost not in str(one.jwks())
    await one.drop(lost)
    with pytest.raises(SealError):
        await house.halves.open(lost)


async def test_a_ring_that_is_written_into_the_table_adds_no_key(house):
    one = house.replica()
    await one.found(None, entry())
    await one.refresh()
    kids = {*one.tokens}
    revision, ring = await house.ring()
    intruder = make_key(Algorithm.ES256)
    await house.halves.keep(intruder)
    forged = replace(ring.keys[0], key=intruder.public())
    row = await house.rows.get(RING_KIND, RING_ID)
    body = ring_body(replace(ring, keys=(forged, *ring.keys)))
    signed = signed_row(
        replace(row, revision=revision + 1, body=body),
        key=key_of("intruder", Algorithm.EDDSA),
    )
    await house.rows.insert(RING_KIND, RING_ID, revision + 1, signed)
    await one.refresh()
    assert {*one.tokens} == kids
    # And the genuine ring goes on beside it.
    house.times.pass_(3_600)
    await house.rotate()
    await one.refresh()
    assert intruder.kid not in one.tokens


async def test_a_half_that_does_not_open_signs_nothing_and_verifies_on(house):
    await house.replica().found(None, entry())
    other = house.replica(Locked())
    await other.refresh()
    assert len(other.tokens) == 2
    with pytest.raises(StoreUnavailableError, match="signing key"):
        _ = other.token


class Locked:
    """A key provider that does not answer."""

    async def open(self, kid: str) -> PrivateKey:
        msg = "the transit server did not answer in time"
        raise SealError(msg)


@pytest_asyncio.fixture
async def table(pg_broker_dsn: str) -> AsyncIterator[Database]:
    database = Database(pg_broker_dsn, password="")
    yield database
    await database.close()


@pytest.fixture
def sealed(table: Database) -> SealedKeys:
    return SealedKeys(table, kek=KEK, where=HERE)


async def test_a_sealed_key_opens_for_its_place_and_name_alone(sealed, table):
    key = make_key(Algorithm.ES256)
    await sealed.keep(key)
    assert (await sealed.open(key.kid)).kid == key.kid
    stored = await table.row("SELECT * FROM signing_key")
    assert key.kid not in stored["wrapped"].decode("latin-1")
    for where in (Where(TENANT, "prod"), Where("other", ENVIRONMENT)):
        elsewhere = SealedKeys(table, kek=KEK, where=where)
        with pytest.raises(SealError, match="no private half"):
            await elsewhere.open(key.kid)
        # Neither does it open where somebody has copied the row to.
        await table.value(
            "INSERT INTO signing_key SELECT $1, $2, kid, kek_id, wrapped "
            "FROM signing_key WHERE tenant = $3 AND environment = $4 AND kid = $5",
            where.tenant,
            where.environment,
            TENANT,
            ENVIRONMENT,
            key.kid,
        )
        with pytest.raises(SealError, match="not as it was sealed"):
            await elsewhere.open(key.kid)


async def test_a_key_of_another_provider_does_not_open_and_says_so(sealed, table):
    key = await sealed.make()
    stranger = FileKek(b"x" * 32, random=secrets.token_bytes, whose="signing")
    other = SealedKeys(table, kek=stranger, where=HERE)
    with pytest.raises(SealError, match="has not"):
        await other.open(key.kid)


async def test_halves_of_keys_that_do_not_count_are_deleted(sealed, table):
    keys = [await sealed.make() for _ in range(3)]
    keep: Collection[str] = {keys[0].kid}
    await sealed.forget(keep)
    # One that was made just now may be published in a moment.
    assert await sealed.open(keys[1].kid)
    for key in keys[1:]:
        await sealed.drop(key.kid)
        with pytest.raises(SealError):
            await sealed.open(key.kid)
    assert (await sealed.open(keys[0].kid)).kid == keys[0].kid


async def test_a_transit_engine_wraps_keys_and_the_broker_holds_no_wrapping_key(
    table, tmp_path
):
    token = tmp_path / "token"
    write_secret(token, TOKEN.encode())
    with FakeTransit() as engine:
        transit = read_transit(
            {
                "X_URL": engine.url,
                "X_KEY": "edge-dev",
                "X_TOKEN_FILE": str(token),
            },
            "X",
        )
        kek = key_provider(tmp_path / "no such file", transit)
        assert kek.kek_id.startswith("transit:")
        sealed = SealedKeys(table, kek=kek, where=HERE)
        key = await sealed.make()
        assert (await sealed.open(key.kid)).kid == key.kid
        # A token that is revoked there ends this broker's access at once.
        engine.token = "another"
        with pytest.raises(SealError, match="Forbidden"):
            await sealed.open(key.kid)
        with pytest.raises(SealError, match="Forbidden"):
            await sealed.make()
        # The signing broker goes on with what it has open, and says so when asked.
        ring = SigningRing(
            FakeRegistry(), sealed, clock=Times(), nonce_secret=b"n" * 32
        )
        with pytest.raises(StoreUnavailableError, match="key provider"):
            await ring.fresh()
