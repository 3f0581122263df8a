"""The sweeper: every replica finishes what another one, or a crash, left behind.

Permits that nobody claimed, claims whose lease has lapsed, approvals past their expiry,
pending actions of revoked agents, what an earlier policy decided and outcomes that
nobody knows are found in SQL, so that nothing depends on the memory of a process or on
Temporal being there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker import evidence, flow, rehearsal, republish
from broker.approving import ending
from broker.core.words.action import ActionState
from broker.core.words.decision import Reason
from broker.core.words.errors import BrokerError
from broker.unknown import again, reconcile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.ports import Ports

SWEEP_EVERY_S = 1.0
SWEEP_MAX = 100
REPUBLISHED_BESIDE_MAX = 8
"""Waiting actions that one replica decides again at the same time."""

_log = structlog.get_logger("sweeper")


async def sweep_for_ever(
    ports: Ports, beside: Sequence[Callable[[], Awaitable[object]]] = ()
) -> None:
    """Sweep until cancelled; a part that is down only delays it.

    Args:
        ports: The world.
        beside: What else is left behind, with its own way to be finished.
    """
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        for work in WORKS:
            await _undisturbed(work(ports))
        for more in beside:
            await _undisturbed(more())


async def interrupted(ports: Ports) -> None:
    """Settle permits that wait and claims whose lease has lapsed."""
    for action_id in await ports.store.interrupted(limit=SWEEP_MAX):
        await _undisturbed(flow.settle(ports, action_id))


async def revoked(ports: Ports) -> None:
    """Refuse the waiting actions of identities that were revoked meanwhile."""
    for action_id in await ports.store.revoked(limit=SWEEP_MAX):
        await _undisturbed(_refuse(ports, action_id))


async def outdated(ports: Ports) -> None:
    """Decide again what waits, after a policy was published; a batch at a time."""
    policy = await ports.authority.policy()
    found = await ports.policies.waiting.outdated(
        version=policy.book.version,
        replica=ports.replica,
        limit=republish.REPUBLISHED_AT_ONCE_MAX,
    )
    # Side by side, so that they share the commits of the log.
    slots = asyncio.Semaphore(REPUBLISHED_BESIDE_MAX)
    works = (_decide_again(ports, action_id, slots) for action_id in found)
    await asyncio.gather(*(_undisturbed(work) for work in works))


async def unclear(ports: Ports) -> None:
    """Reconcile outcomes that nobody knows; a small batch at a time."""
    works = (_reconcile(ports, action_id) for action_id in await again.due(ports))
    # Side by side: an edge that is slow to say delays the sweep once, not for each.
    await asyncio.gather(*(_undisturbed(work) for work in works))


async def _reconcile(ports: Ports, action_id: str) -> None:
    found = await reconcile.reconcile(ports, action_id)
    for alarm in found.alarms:
        _log.error("alarm", alarm=alarm, action=action_id)


async def _decide_again(ports: Ports, action_id: str, slots: asyncio.Semaphore) -> None:
    async with slots:
        record = await ports.store.action(action_id)
        if record is not None:
            await republish.again(ports, record)


async def _refuse(ports: Ports, action_id: str) -> None:
    reason = Reason("revoked", "this identity was revoked")
    record = await ports.store.action(action_id)
    if record is not None:
        await evidence.keep_unexecuted(ports, record, reason, ActionState.REFUSED)


async def _undisturbed(work: Awaitable[object]) -> None:
    """Let one failing piece of work not keep the others from being done."""
    try:
        await work
    except BrokerError as error:
        _log.info("sweep_waits", code=error.code, detail=error.detail)
    except Exception:  # noqa: BLE001  (logged; the others must still be done)
        _log.exception("sweep_failed")


WORKS = (
    interrupted,
    revoked,
    ending.expire_due,
    outdated,
    rehearsal.follow,
    unclear,
)
