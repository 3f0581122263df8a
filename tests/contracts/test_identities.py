"""Callers as the registry knows them: fake and real, one suite."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker.core.authenticate import ClientId, instance_id
from broker.core.words.identity import OneUse, RegisteredKey
from broker.core.words.subject import SubjectKind
from broker.effects.clock import RandomIds
from broker.effects.database import Database
from broker.effects.identities import (
    INSTANCES_LISTED_MAX,
    INSTANCES_MAX,
    Identities,
)
from broker.effects.registry import Registry
from broker.registry.reading import write_keys
from broker.registry.records import Arrival, Change
from tests.contracts.test_registry import Unsequenced, entry
from tests.support.fake_registry import (
    AUTHORITY_KEY,
    REALM,
    FakeIdentities,
    FakeRegistry,
)
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    AGENT_KEY,
    INSTANCE_KEY,
    PERSON_ID,
    access_token,
    key_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IDS = RandomIds()
SLOTS = write_keys([RegisteredKey(AGENT_KEY.public())])
CLIENT = ClientId(SubjectKind.AGENT, AGENT_ID)


@pytest.fixture(params=["fake", "real"])
def dsn(request: pytest.FixtureRequest) -> str:
    """Return where the real one's tables are; nothing for the fake."""
    if request.param == "fake":
        return ""
    return str(request.getfixturevalue("pg_broker_dsn"))


@pytest_asyncio.fixture
async def identities(dsn: str) -> AsyncIterator[Any]:
    if not dsn:
        yield FakeIdentities(FakeRegistry())
        return
    database = Database(dsn, password="")
    registry = Registry(database, realm=REALM, key=AUTHORITY_KEY, entries=Unsequenced())
    yield Identities(database, registry)
    await database.close()


def registry_of(identities: Any) -> Any:
    fake = isinstance(identities, FakeIdentities)
    return identities.registry if fake else identities._registry  # noqa: SLF001


async def put(
    identities: Any, kind: str, row_id: str, body: Any, after: int = 0
) -> None:
    change = Change(
        kind=kind,
        row_id=row_id,
        body=body,
        by=("bootstrap",),
        at=datetime.now(UTC),
        after=after,
    )
    await registry_of(identities).put(change, entry())


def agent_body(status: str = "active", **changes: Any) -> dict[str, Any]:
    return {
        "name": "care-agent",
        "owner": PERSON_ID,
        "use_case": "retail-care",
        "tier_max": 3,
        "tools": ["orders.get"],
        "keys": SLOTS,
        "status": status,
    } | changes


def arrival(*, jkt: str = INSTANCE_KEY.kid, name: bytes | None = None) -> Arrival:
    until = datetime.now(UTC) + timedelta(seconds=60)
    return Arrival(
        subject=AGENT,
        kid=AGENT_KEY.kid,
        instance_id=instance_id(AGENT, jkt=jkt),
        jkt=jkt,
        one_use=OneUse(name or os.urandom(32), until),
        scopes=("global:dev", AGENT),
    )


async def test_a_client_is_known_by_its_row_and_a_stranger_is_not(identities):
    assert await identities.client(CLIENT) is None
    await put(identities, "agent", AGENT_ID, agent_body())
    client = await identities.client(CLIENT)
    assert client.kids == {AGENT_KEY.kid}
    assert client.tools == {"orders.get"}
    assert await identities.client(ClientId(SubjectKind.PERSON, AGENT_ID)) is None


@pytest.mark.parametrize("status", ["suspended", "revoked"])
async def test_a_client_that_is_not_active_has_no_keys_from_now_on(identities, status):
    await put(identities, "agent", AGENT_ID, agent_body())
    token = access_token()
    assert await identities.standing(token) == ({AGENT_KEY.kid}, {})
    await put(identities, "agent", AGENT_ID, agent_body(status), after=1)
    assert await identities.standing(token) == (frozenset(), {})
    assert (await identities.client(CLIENT)).keys == ()


async def test_a_revocation_is_seen_by_the_very_next_question(identities):
    await put(identities, "agent", AGENT_ID, agent_body())
    token = access_token()
    scope = f"instance:{token.instance_id}"
    await registry_of(identities).revoke([scope], entry())
    assert await identities.standing(token) == ({AGENT_KEY.kid}, {scope: 1})


async def test_a_row_that_cannot_be_read_is_nobody(identities):
    await put(identities, "agent", AGENT_ID, agent_body(tier_max=9))
    assert await identities.client(CLIENT) is None
    assert await identities.standing(access_token()) == (frozenset(), {})


async def test_a_person_is_found_by_id(identities):
    body = {
        "name": "alice",
        "roles": ["supervisor"],
        "approval_limits": {"USD": 200_000},
        "keys": SLOTS,
        "status": "active",
    }
    assert await identities.person(PERSON_ID) is None
    await put(identities, "person", PERSON_ID, body)
    assert (await identities.person(PERSON_ID)).limits == {"USD": 200_000}


async def test_an_assertion_is_admitted_once(identities):
    one = arrival()
    assert (await identities.admit(one)).word == "ok"
    assert (await identities.admit(one)).word == "replayed"


async def test_of_fifty_equal_assertions_at_once_one_is_admitted(identities):
    one = arrival()
    words = await asyncio.gather(*(identities.admit(one) for _ in range(50)))
    assert sorted(admission.word for admission in words) == ["ok"] + ["replayed"] * 49


async def test_an_admission_tells_the_epochs_of_its_scopes(identities):
    await registry_of(identities).revoke([AGENT], entry())
    assert (await identities.admit(arrival())).epochs == {AGENT: 1}


async def test_instances_and_key_uses_are_counted(identities):
    for jkt in (INSTANCE_KEY.kid, INSTANCE_KEY.kid, key_of("second").kid):
        await identities.admit(arrival(jkt=jkt))
    running = {one.jkt: one.tokens for one in await identities.instances(AGENT)}
    assert running == {INSTANCE_KEY.kid: 2, key_of("second").kid: 1}
    uses = await identities.key_uses(AGENT)
    assert uses[AGENT_KEY.kid].uses == 3
    assert await identities.instances("agent:nobody") == []
    assert INSTANCES_LISTED_MAX <= INSTANCES_MAX


async def test_as_many_keys_as_the_limit_may_be_proved_and_one_more_may_not(identities):
    if isinstance(identities, FakeIdentities):
        identities.instances_max = 3
        first = 0
    else:
        # All but three have been there within the hour.
        await identities._database.value(  # noqa: SLF001
            """
            INSERT INTO instance (instance_id, subject, jkt)
            SELECT gen_random_uuid(), $1, repeat('x', 43)
              FROM generate_series(1, $2 - 3)
            """,
            AGENT,
            INSTANCES_MAX,
        )
        first = 10
    for number in range(3):
        jkt = key_of(f"instance {first + number}").kid
        assert (await identities.admit(arrival(jkt=jkt))).word == "ok"
    late = arrival(jkt=key_of("one too many").kid)
    assert (await identities.admit(late)).word == "crowded"
    known = arrival(jkt=key_of(f"instance {first}").kid)
    assert (await identities.admit(known)).word == "ok"


async def test_without_a_policy_its_version_is_zero(identities):
    assert await identities.policy_version() == 0
    await put(identities, "policy", "main", {})
    assert await identities.policy_version() == 1
