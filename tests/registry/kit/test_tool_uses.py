"""Uses are counted from actions for which a warrant was issued, in SQL."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import asyncpg

from broker.effects.clock import RandomIds
from broker.effects.database import Database
from broker.effects.identities import TOOL_USES_MAX, Identities
from broker.effects.registry import Registry
from tests.contracts.test_registry import Unsequenced
from tests.support.fake_registry import AUTHORITY_KEY, REALM

NOW = datetime.now(UTC)
IDS = RandomIds()
_BASE = """
INSERT INTO subject_key (subject, purpose, wrapped) VALUES ('s', 'p', '');
INSERT INTO payload
    (payload_id, subject, purpose, retention, data_class, sha256, sealed)
  VALUES ('{id}', 's', 'p', 'r', 'd', repeat('0', 64), '');
INSERT INTO interaction (interaction_id, tenant, environment, use_case, agent_id,
                         channel_id, verification, payload_id, opened_at)
  VALUES ('{id}', 't', 'dev', 'u', 'a', 'c', 0, '{id}', now());
"""
_ACTION = """
INSERT INTO action (
  action_id, tenant, environment, use_case, agent_id, instance_id, grant_id,
  interaction_id, customer_ref, release, kind, disposition, tool, manifest, effect,
  tier, state, decision, code, policy_version, standing_approval, digest,
  fingerprint, idempotency_key, warrant_id, request_payload, created_at, updated_at)
VALUES (
  $1::text::uuid, $2::text, $3::text, 'u', $4::text, '', '', $8::text::uuid, '', '',
  'request', '', $5::text, '', 'read', 1, 'done', 'permit', '', 1, '', '', 'f', 'k',
  $6::text::uuid, $8::text::uuid, $7::timestamptz, now())
"""


async def _act(owner: asyncpg.Connection, base: str, old: datetime) -> None:
    await owner.execute(_BASE.format(id=base))
    for tenant, environment, agent, tool, warrant, at in (
        ("t", "dev", "a", "orders.get", IDS.new(), NOW - timedelta(days=2)),
        ("t", "dev", "a", "orders.get", IDS.new(), NOW - timedelta(days=1)),
        ("t", "dev", "b", "orders.get", IDS.new(), NOW),
        ("t", "dev", "a", "orders.get", IDS.new(), old),
        # Denied: nobody used anything.
        ("t", "dev", "a", "orders.refund", None, NOW),
        ("other", "dev", "a", "orders.get", IDS.new(), NOW),
        ("t", "prod", "a", "orders.get", IDS.new(), NOW),
    ):
        await owner.execute(
            _ACTION, IDS.new(), tenant, environment, agent, tool, warrant, at, base
        )


async def test_uses_are_counted_per_agent_and_tool_since_a_day(pg_dsn, pg_broker_dsn):
    base, old = IDS.new(), NOW - timedelta(days=91)
    async with AsyncExitStack() as stack:
        owner = await asyncpg.connect(pg_dsn)
        stack.push_async_callback(owner.close)
        await _act(owner, base, old)
    database = Database(pg_broker_dsn, password="")
    registry = Registry(database, realm=REALM, key=AUTHORITY_KEY, entries=Unsequenced())
    identities = Identities(database, registry)
    found = await identities.tool_uses("t", "dev", since=NOW - timedelta(days=90))
    await database.close()
    assert {(one.agent_id, one.tool): one.uses for one in found} == {
        ("a", "orders.get"): 2,
        ("b", "orders.get"): 1,
    }
    last = {one.agent_id: one.last_used for one in found}
    assert last["a"] == NOW - timedelta(days=1)
    assert len(found) < TOOL_USES_MAX
