"""The Authority port on real tables: what the flow is told, and what it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from broker.core.words.errors import RowHiddenError, StoreUnavailableError
from broker.core.words.identity import RegisteredKey
from broker.core.words.moment import write_moment
from broker.effects.registry import FORGED_MAX, LIST_MAX
from broker.registry.limits.beside import limit_id
from broker.registry.reading import write_keys
from tests.contracts.test_registry import entry
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    CHANNEL_ID,
    OTHER_AGENT_ID,
    key_of,
)
from tests.support.identity.rows import AGENT_BODY
from tests.support.identity.town import PEOPLE, STANDING_ID, Counting, Town

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture
async def town(pg_broker_dsn: str) -> AsyncIterator[Town]:
    database = Counting(pg_broker_dsn, password="")
    town = Town(database)
    for name, person_id in PEOPLE.items():
        body = {
            "name": name,
            "roles": ["owner" if name == "olivia" else "supervisor"],
            "approval_limits": {"USD": 200_000},
            "keys": write_keys([RegisteredKey(key_of(name).public())]),
            "status": "active",
        }
        await town.put("person", person_id, body)
    await town.put("agent", AGENT_ID, AGENT_BODY | {"owner": PEOPLE["olivia"]})
    await town.put("policy", "main", {"book": "first"})
    yield town
    await database.close()


async def test_a_view_says_what_the_signed_rows_say(town):
    await town.standing("alice", "bob")
    await town.registry.revoke([AGENT], entry())
    view = await town.authority.view(AGENT_ID, [AGENT, "global:dev"])
    assert view.agent.agent_id == AGENT_ID
    assert view.agent.owner == PEOPLE["olivia"]
    assert view.epochs == {AGENT: 1}
    assert view.policy == "first"
    assert [one.approval_id for one in view.standing] == [STANDING_ID]


async def test_a_view_is_one_statement_once_its_rows_are_known(town):
    await town.standing("alice", "bob")
    await town.authority.view(AGENT_ID, [AGENT])
    before = Counting.statements
    for _ in range(3):
        view = await town.authority.view(AGENT_ID, [AGENT])
        assert view.standing
    assert Counting.statements - before == 3


@pytest.mark.parametrize("status", ["suspended", "revoked"])
async def test_an_agent_that_is_not_active_is_nobody_at_the_very_next_view(
    town, status
):
    assert (await town.authority.view(AGENT_ID, [])).agent is not None
    await town.put("agent", AGENT_ID, {}, status=status)
    view = await town.authority.view(AGENT_ID, [])
    assert view.agent is None
    assert view.standing == ()
    assert (await town.authority.view(OTHER_AGENT_ID, [])).agent is None


async def test_a_newer_policy_counts_at_once_and_an_unusable_one_stops_everything(town):
    await town.authority.view(AGENT_ID, [])
    await town.put("policy", "main", {"book": "second"})
    assert (await town.authority.view(AGENT_ID, [])).policy == "second"
    await town.put("policy", "main", {"cedar": "permit(principal, action, resource);"})
    with pytest.raises(StoreUnavailableError, match="policy"):
        await town.authority.view(AGENT_ID, [])


@pytest.mark.parametrize("signers", [("alice", "olivia"), ("olivia", "bob")])
async def test_a_standing_approval_that_the_owner_signed_does_not_hold(town, signers):
    await town.put("person", PEOPLE["olivia"], {}, roles=["supervisor"])
    await town.standing(*signers)
    assert (await town.authority.view(AGENT_ID, [])).standing == ()


async def test_a_standing_approval_ends_with_its_signers_its_row_or_its_terms(town):
    await town.standing("alice", "bob")
    assert (await town.authority.view(AGENT_ID, [])).standing
    await town.put("person", PEOPLE["bob"], {}, status="suspended")
    assert (await town.authority.view(AGENT_ID, [])).standing == ()
    await town.put("person", PEOPLE["bob"], {}, status="active")
    assert (await town.authority.view(AGENT_ID, [])).standing
    await town.put("standing_approval", STANDING_ID, {}, per_action_minor_units=9_999)
    assert (await town.authority.view(AGENT_ID, [])).standing == ()
    await town.standing("alice", "bob", status="revoked")
    assert (await town.authority.view(AGENT_ID, [])).standing == ()


async def test_a_standing_approval_rests_while_a_signers_right_is_suspended(town):
    await town.standing("alice", "bob")
    assert (await town.authority.view(AGENT_ID, [])).standing
    body = {"status": "suspended", "missed": 3, "seen": 4, "asked_by": ""}
    await town.put("approval_right", PEOPLE["bob"], body)
    assert (await town.authority.view(AGENT_ID, [])).standing == ()
    # A replica that meets them for the first time says so as well.
    fresh = Town(town.database)
    assert (await fresh.authority.view(AGENT_ID, [])).standing == ()
    await town.put("approval_right", PEOPLE["bob"], {}, status="given_back")
    assert (await town.authority.view(AGENT_ID, [])).standing
    assert (await fresh.authority.view(AGENT_ID, [])).standing


async def heads(town: Town, agent_id: str = AGENT_ID) -> set[str]:
    """Return which standing approvals a decision of this agent looks at."""
    found = await town.database.value(
        "SELECT authority_view($1, $2, $3)", [agent_id], [], []
    )
    return {row_id for kind, row_id, _ in found["heads"] if kind == "standing_approval"}


async def test_a_view_looks_at_no_standing_approval_that_cannot_cover_it(town):
    await town.standing("alice", "bob")
    assert await heads(town) == {STANDING_ID}
    assert await heads(town, OTHER_AGENT_ID) == set()
    others: tuple[dict[str, Any], ...] = (
        {"expires_at": write_moment(datetime.now(UTC) - timedelta(hours=1))},
        {"agents": [OTHER_AGENT_ID]},
        {"status": "proposed"},
        {"status": "revoked"},
    )
    for number, changes in enumerate(others):
        await town.standing("alice", "bob", row_id=f"other-{number}", **changes)
    assert await heads(town) == {STANDING_ID}
    # What was taken back is looked at, so that the revision before does not count.
    await town.standing("alice", "bob", status="revoked")
    assert await heads(town) == {STANDING_ID}
    assert (await town.authority.view(AGENT_ID, [])).standing == ()


async def test_the_epoch_of_a_standing_approval_comes_with_it(town):
    scopes = [f"standing_approval:{one}" for one in (STANDING_ID, "another")]
    await town.standing("alice", "bob")
    await town.registry.revoke(scopes, entry())
    epochs = (await town.authority.view(AGENT_ID, [AGENT])).epochs
    assert epochs == {scopes[0]: 1}


async def test_a_hint_that_was_made_up_makes_nothing_hold(town, pg_broker_dsn):
    await town.standing("alice", "bob", status="revoked", agents=[OTHER_AGENT_ID])
    writer = await asyncpg.connect(pg_broker_dsn)
    await writer.execute(
        "INSERT INTO authority (kind, id, revision, jws, about, until) "
        "VALUES ('standing_approval', $1, 9, 'forged', $2, 'infinity')",
        STANDING_ID,
        [AGENT_ID],
    )
    await writer.close()
    assert await heads(town) == {STANDING_ID}
    assert (await town.authority.view(AGENT_ID, [])).standing == ()


async def test_approvers_are_everybody_with_their_roles_and_limits(town):
    approvers = await town.authority.approvers()
    assert {*approvers} == {*PEOPLE.values()}
    assert approvers[PEOPLE["alice"]].roles == {"supervisor"}
    await town.put("person", PEOPLE["alice"], {}, status="suspended")
    assert not (await town.authority.approvers())[PEOPLE["alice"]].active


async def test_a_channel_speaks_while_it_is_active(town):
    body = {
        "name": "webchat",
        "keys": write_keys([RegisteredKey(key_of("channel").public())]),
        "use_cases": ["retail-care"],
        "verification_max": 2,
        "status": "active",
    }
    assert await town.authority.channel(CHANNEL_ID) is None
    await town.put("channel", CHANNEL_ID, body)
    facts = await town.authority.channel(CHANNEL_ID)
    assert facts.verification_max == 2
    await town.put("channel", CHANNEL_ID, body, status="suspended")
    assert await town.authority.channel(CHANNEL_ID) is None


async def buried(dsn: str, kind: str, row_id: str) -> None:
    """Put more newer rows that do not verify than are looked through."""
    writer = await asyncpg.connect(dsn)
    await writer.execute(
        "INSERT INTO authority (kind, id, revision, jws) "
        "SELECT $1, $2, n, 'forged' FROM generate_series(100, $3::int) AS n",
        kind,
        row_id,
        99 + FORGED_MAX,
    )
    await writer.close()


RESTRICTIONS = {
    "kill_switch": {"on": True, "asked_by": "", "asked_for_security": False},
    "limit": {"rule": "day", "limit": 1, "proposed": None},
}


@pytest.mark.parametrize("kind", RESTRICTIONS)
async def test_forged_rows_on_top_of_a_restriction_do_not_lift_it(
    town, kind, pg_broker_dsn
):
    row_id = {"kill_switch": "main", "limit": limit_id("day")}[kind]
    await town.put(kind, row_id, RESTRICTIONS[kind])
    await buried(pg_broker_dsn, kind, row_id)
    with capture_logs() as logs, pytest.raises(RowHiddenError, match=kind):
        await town.authority.view(AGENT_ID, [])
    assert {"alarm": "authority_hidden", "kind": kind, "id": row_id}.items() <= (
        logs[0].items()
    )


async def test_a_limit_that_verifies_and_says_nothing_is_not_the_policys_own(town):
    await town.put("limit", limit_id("day"), {"rule": "day", "narrower": 1})
    with pytest.raises(StoreUnavailableError, match="limit"):
        await town.authority.view(AGENT_ID, [])


async def test_forged_rows_on_top_of_a_suspended_right_do_not_give_it_back(
    town, pg_broker_dsn
):
    body = {"status": "suspended", "missed": 3, "seen": 4, "asked_by": ""}
    await town.put("approval_right", PEOPLE["alice"], body)
    assert (await town.authority.approvers())[PEOPLE["alice"]].suspended
    await buried(pg_broker_dsn, "approval_right", PEOPLE["alice"])
    with pytest.raises(RowHiddenError):
        await town.authority.approvers()


async def test_forged_rights_of_nobody_do_not_push_a_suspended_one_out_of_sight(
    town, pg_broker_dsn
):
    body = {"status": "suspended", "missed": 3, "seen": 4, "asked_by": ""}
    await town.put("approval_right", PEOPLE["alice"], body)
    writer = await asyncpg.connect(pg_broker_dsn)
    await writer.execute(
        "INSERT INTO authority (kind, id, revision, jws) "
        "SELECT 'approval_right', '00' || n, 1, 'forged' "
        "FROM generate_series(1, $1::int) AS n",
        LIST_MAX,
    )
    await writer.close()
    assert (await town.authority.approvers())[PEOPLE["alice"]].suspended


async def test_a_hidden_grant_stops_its_holder_and_nobody_else(town, pg_broker_dsn):
    await town.put("agent", OTHER_AGENT_ID, AGENT_BODY | {"owner": PEOPLE["olivia"]})
    await buried(pg_broker_dsn, "agent", AGENT_ID)
    with pytest.raises(RowHiddenError):
        await town.authority.view(AGENT_ID, [])
    assert (await town.authority.view(OTHER_AGENT_ID, [])).agent is not None


async def test_the_brokers_role_can_change_no_row_and_set_no_epoch(
    town, pg_broker_dsn, pg_dsn
):

    broker = await asyncpg.connect(pg_broker_dsn)
    owner = await asyncpg.connect(pg_dsn)
    await town.registry.revoke([AGENT], entry())
    for statement in (
        "UPDATE authority SET jws = 'x'",
        "DELETE FROM authority",
        "TRUNCATE authority",
        "UPDATE revocation_epoch SET epoch = 0",
        "DELETE FROM revocation_epoch",
        "INSERT INTO revocation_epoch VALUES ('x:y', 1)",
        "DELETE FROM seen_once",
        "DELETE FROM replay_epoch",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await broker.execute(statement)
    # Not even the owner does so by accident.
    for statement in (
        "UPDATE authority SET jws = 'x'",
        "DELETE FROM authority",
        "TRUNCATE authority",
        "UPDATE revocation_epoch SET epoch = epoch",
        "UPDATE revocation_epoch SET epoch = 0",
        "DELETE FROM revocation_epoch",
        "TRUNCATE revocation_epoch",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute(statement)
    await broker.close()
    await owner.close()


async def test_the_edges_role_reads_epochs_and_nothing_else_of_this(pg_edge_dsn):

    edge = await asyncpg.connect(pg_edge_dsn)
    assert await edge.fetch("SELECT * FROM revocation_epoch") == []
    for table in ("authority", "instance", "key_use", "seen_once", "replay_epoch"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await edge.fetch(f"SELECT * FROM {table}")  # noqa: S608  (a constant)
    for call in ("revoke_scopes(ARRAY['x:y'])", "authority_revoke(ARRAY['x'], '[]')"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await edge.execute(f"SELECT {call}")
    await edge.close()
