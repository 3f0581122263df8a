"""The registry: fake and real, one suite. Writing to the table grants nothing."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker.core.jwk import Algorithm, JwsError
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.errors import (
    ConflictError,
    LedgerUnavailableError,
    RowHiddenError,
)
from broker.core.words.moment import write_moment
from broker.effects.clock import RandomIds
from broker.effects.database import Database
from broker.effects.registry import (
    FORGED_MAX,
    LIST_MAX,
    ROWS_KEPT_MAX,
    Registry,
)
from broker.registry.authority import REVISION_MAX, ROW_BYTES_MAX, AuthorityRow
from broker.registry.records import Change
from tests.support.fake_registry import (
    AUTHORITY_KEY,
    REALM,
    FakeRegistry,
    signed_row,
)
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    ENVIRONMENT,
    OTHER_AGENT_ID,
    TENANT,
    key_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IDS = RandomIds()
BODY = {"name": "care-agent"}


def entry() -> AuditEntry:
    return AuditEntry(
        entry_id=IDS.new(),
        kind=EntryKind.AUTHORITY,
        at=datetime.now(UTC),
        tenant=TENANT,
        environment=ENVIRONMENT,
    )


class Unsequenced:
    """Stages entries; the log cannot take them just now."""

    def signed(self, entries: Any) -> list[dict[str, str]]:
        leaf = b64encode(b"leaf").decode()
        return [{"entry_id": one.entry_id, "leaf": leaf} for one in entries]

    async def integrated(self, entries: Any) -> None:
        msg = "the signer is away"
        raise LedgerUnavailableError(msg)


class RealRegistry(Registry):
    """The adapter, and what a test does to its tables."""

    async def insert(self, kind: str, row_id: str, revision: int, signed: str) -> None:
        await self._database.value(
            "INSERT INTO authority (kind, id, revision, jws) VALUES ($1, $2, $3, $4)",
            kind,
            row_id,
            revision,
            signed,
        )

    async def bury(self, kind: str, row_id: str, *, below: int) -> None:
        await self._database.value(
            "INSERT INTO authority (kind, id, revision, jws) "
            "SELECT $1, $2, n, 'forged' FROM generate_series(2, $3::int - 1) AS n",
            kind,
            row_id,
            below,
        )

    async def staged(self) -> int:
        return int(await self._database.value("SELECT count(*) FROM audit_stage"))


@pytest.fixture(params=["fake", "real"])
def dsn(request: pytest.FixtureRequest) -> str:
    """Return where the real one's tables are; nothing for the fake."""
    if request.param == "fake":
        return ""
    return str(request.getfixturevalue("pg_broker_dsn"))


@pytest_asyncio.fixture
async def registry(dsn: str) -> AsyncIterator[FakeRegistry | RealRegistry]:
    if not dsn:
        yield FakeRegistry()
        return
    database = Database(dsn, password="")
    yield RealRegistry(database, realm=REALM, key=AUTHORITY_KEY, entries=Unsequenced())
    await database.close()


def row(**changes: Any) -> AuthorityRow:
    base = AuthorityRow(
        kind="agent",
        row_id=AGENT_ID,
        revision=1,
        at=datetime.now(UTC),
        by=("bootstrap",),
        tenant=TENANT,
        environment=ENVIRONMENT,
        body=BODY,
    )
    return replace(base, **changes)


def change(**changes: Any) -> Change:
    base = Change(
        kind="agent",
        row_id=AGENT_ID,
        body=BODY,
        by=("bootstrap",),
        at=datetime.now(UTC),
        after=0,
    )
    return replace(base, **changes)


async def test_a_row_that_was_put_is_in_force_with_its_entry(registry):
    put = await registry.put(change(), entry())
    assert put.revision == 1
    assert await registry.get("agent", AGENT_ID) == put
    assert await registry.staged() == 1


async def test_there_is_nothing_where_nothing_was_put(registry):
    assert await registry.get("agent", AGENT_ID) is None
    assert await registry.list("agent") == []


async def test_the_highest_revision_counts(registry):
    await registry.put(change(), entry())
    await registry.put(change(body={"name": "second"}, after=1), entry())
    found = await registry.get("agent", AGENT_ID)
    assert (found.revision, found.body) == (2, {"name": "second"})
    assert [one.revision for one in await registry.list("agent")] == [2]


@pytest.mark.parametrize("forgery", ["by another key", "no signature", "no row"])
async def test_a_row_inserted_by_hand_does_not_exist(registry, forgery):
    intruder = key_of("intruder", Algorithm.EDDSA)
    signed = {
        "by another key": signed_row(row(), key=intruder),
        "no signature": signed_row(row()).rpartition(".")[0] + ".",
        "no row": "x",
    }[forgery]
    await registry.insert("agent", AGENT_ID, 1, signed)
    assert await registry.get("agent", AGENT_ID) is None
    assert await registry.list("agent") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "person"},
        {"row_id": AGENT_ID.replace("a001", "a002")},
        {"revision": 2},
        {"tenant": "other"},
        {"environment": "prod"},
    ],
)
async def test_a_row_that_was_signed_for_another_place_does_not_exist(
    registry, changes
):
    await registry.insert("agent", AGENT_ID, 1, signed_row(row(**changes)))
    assert await registry.get("agent", AGENT_ID) is None


async def test_forged_newer_rows_are_passed_over_and_block_no_change(registry):
    first = await registry.put(change(), entry())
    for revision in (2, 3, 5, REVISION_MAX):
        forged = row(revision=revision, body={"name": "forged"})
        signed = signed_row(forged, key=key_of("intruder", Algorithm.EDDSA))
        await registry.insert("agent", AGENT_ID, revision, signed)
    assert await registry.get("agent", AGENT_ID) == first
    second = await registry.put(change(body={"name": "second"}, after=1), entry())
    assert second.revision == 4
    assert await registry.get("agent", AGENT_ID) == second


async def test_history_holds_what_was_signed_newest_first(registry):
    await registry.put(change(body={"name": "first"}), entry())
    forged = row(revision=2, body={"name": "forged"})
    signed = signed_row(forged, key=key_of("intruder", Algorithm.EDDSA))
    await registry.insert("agent", AGENT_ID, 2, signed)
    await registry.put(change(body={"name": "third"}, after=1), entry())
    found = await registry.history("agent", AGENT_ID, limit=9)
    assert [one.body["name"] for one in found] == ["third", "first"]
    found = await registry.history("agent", AGENT_ID, limit=1)
    assert [one.body["name"] for one in found] == ["third"]


async def test_a_row_at_the_longest_is_stored_and_a_longer_one_is_not(registry):
    body = {"text": "x" * (ROW_BYTES_MAX * 3 // 4 - 1_000)}
    await registry.put(change(body=body), entry())
    assert (await registry.get("agent", AGENT_ID)).body == body
    longer = change(body={"text": "x" * (ROW_BYTES_MAX * 3 // 4)}, after=1)
    with pytest.raises(JwsError):
        await registry.put(longer, entry())


async def test_a_change_of_what_somebody_else_changed_meanwhile_is_refused(registry):
    await registry.put(change(), entry())
    await registry.put(change(after=1), entry())
    for after in (0, 1, 3):
        with pytest.raises(ConflictError):
            await registry.put(change(after=after), entry())
    assert await registry.staged() == 2


async def test_of_many_changes_at_once_one_is_made(registry):
    await registry.put(change(), entry())
    answers = await asyncio.gather(
        *(
            registry.put(change(body={"name": f"n{number}"}, after=1), entry())
            for number in range(8)
        ),
        return_exceptions=True,
    )
    made = [answer for answer in answers if isinstance(answer, AuthorityRow)]
    assert len(made) == 1
    assert all(isinstance(answer, AuthorityRow | ConflictError) for answer in answers)
    assert await registry.get("agent", AGENT_ID) == made[0]
    assert await registry.staged() == 2


async def test_what_a_change_narrows_is_revoked_with_it(registry):
    await registry.put(change(), entry())
    assert await registry.epochs([AGENT]) == {}
    await registry.put(change(after=1, revokes=(AGENT, "instance:i")), entry())
    assert await registry.epochs([AGENT, "instance:i", "grant:g"]) == {
        AGENT: 1,
        "instance:i": 1,
    }


async def test_a_change_that_is_refused_revokes_nothing(registry):
    await registry.put(change(), entry())
    with pytest.raises(ConflictError):
        await registry.put(change(after=0, revokes=(AGENT,)), entry())
    assert await registry.epochs([AGENT]) == {}


async def test_an_epoch_grows_by_one_with_each_revocation(registry):
    for epoch in (1, 2, 3):
        assert await registry.revoke(["grant:g", "grant:h"], entry()) == {
            "grant:g": epoch,
            "grant:h": epoch,
        }
    assert await registry.staged() == 3


async def test_revocations_of_the_same_scopes_at_once_do_not_deadlock(registry):
    scopes = [f"grant:{number}" for number in range(20)]
    await asyncio.gather(
        *(
            registry.revoke(scopes if number % 2 else scopes[::-1], entry())
            for number in range(10)
        )
    )
    assert await registry.epochs(scopes) == dict.fromkeys(scopes, 10)


async def test_a_row_and_its_epochs_are_read_together(registry):
    put = await registry.put(change(), entry())
    await registry.revoke([AGENT], entry())
    assert await registry.now("agent", AGENT_ID, [AGENT, "global:dev"]) == (
        put,
        {AGENT: 1},
    )


async def test_more_forged_rows_than_are_looked_through_hide_the_row_and_say_so(
    registry,
):
    """Whoever writes to the database can deny; they can neither grant nor permit."""
    await registry.put(change(), entry())
    await registry.bury("agent", AGENT_ID, below=FORGED_MAX + 1)
    found = await registry.get("agent", AGENT_ID)
    assert found is not None
    assert found.revision == 1
    await registry.insert("agent", AGENT_ID, FORGED_MAX + 1, "forged")
    for _ in range(2):
        with pytest.raises(RowHiddenError, match="agent"):
            await registry.get("agent", AGENT_ID)
    with pytest.raises(RowHiddenError, match="agent"):
        await registry.list("agent")
    with pytest.raises(RowHiddenError, match="agent"):
        await registry.put(change(after=1), entry())
    assert await registry.get("agent", OTHER_AGENT_ID) is None


async def test_what_waits_is_counted_by_whom_it_is_about_until_it_moves_on(registry):
    terms = {"agents": [AGENT_ID], "signed_by": ["alice"]}

    async def put(row_id: str, status: str, *, after: int = 0, hours: int = 1) -> None:
        ends = write_moment(datetime.now(UTC) + timedelta(hours=hours))
        body = terms | {"status": status, "expires_at": ends}
        kind = "standing_approval"
        await registry.put(
            change(kind=kind, row_id=row_id, body=body, after=after), entry()
        )

    for row_id in ("one", "two", "three"):
        await put(row_id, "proposed")
    await put("ended", "proposed", hours=-1)
    assert await registry.waiting("standing_approval", "alice") == 3
    assert await registry.waiting("standing_approval", "bob") == 0
    await put("one", "active", after=1)
    await put("two", "revoked", after=1)
    assert await registry.waiting("standing_approval", "alice") == 1


async def test_the_rows_that_are_kept_are_the_latest_used(dsn):
    if not dsn:
        return
    database = Database(dsn, password="")
    registry = RealRegistry(
        database, realm=REALM, key=AUTHORITY_KEY, entries=Unsequenced()
    )
    first = await registry.put(change(), entry())
    for number in range(ROWS_KEPT_MAX):
        registry._keep(row(row_id=f"n{number}"))  # noqa: SLF001
    assert len(registry._rows) == ROWS_KEPT_MAX  # noqa: SLF001
    assert await registry.get("agent", AGENT_ID) == first
    assert LIST_MAX < ROWS_KEPT_MAX
    await database.close()
