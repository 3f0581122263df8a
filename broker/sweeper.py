"""The sweeper: every replica finishes what another one, or a crash, left behind.

Claims whose lease has lapsed, approvals past their expiry, pending actions of revoked
agents, what an earlier policy decided and outcomes that nobody knows are found in SQL,
so that nothing depends on the memory of a process or on Temporal being there.
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
REVOKED_BATCHES_MAX = 20
"""Batches of one sweep: others wait behind it, and the next one goes on."""
INTERRUPTED_BESIDE_MAX = 8
REFUSED_BESIDE_MAX = 8
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
    """Settle claims whose lease has lapsed, side by side: one may be a slow call."""
    slots = asyncio.Semaphore(INTERRUPTED_BESIDE_MAX)

    async def settle(action_id: str) -> None:
        async with slots:
            await _undisturbed(flow.settle(ports, action_id))

    found = await ports.store.interrupted(limit=SWEEP_MAX)
    await asyncio.gather(*map(settle, found))


async def revoked(ports: Ports) -> None:
    """Refuse the waiting actions of identities that were revoked meanwhile.

    Nothing of them can be claimed any more, whenever this comes to them: it frees what
    they hold, and tells people. Side by side, so that they share the commits of the
    log; batch by batch as long as each one ends something.
    """
    slots = asyncio.Semaphore(REFUSED_BESIDE_MAX)
    for _ in range(REVOKED_BATCHES_MAX):
        found = await ports.store.revoked(limit=SWEEP_MAX)
        works = (_refuse(ports, action_id, slots) for action_id in found)
        ended = await asyncio.gather(*works)
        if len(found) < SWEEP_MAX or not any(ended):
            return


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
    if found.by is reconcile.By.PERSON:
        # Told with every round until it is resolved; the rounds grow apart.
        _log.error("alarm", alarm=reconcile.NEEDS_PERSON, action=action_id)


async def _decide_again(ports: Ports, action_id: str, slots: asyncio.Semaphore) -> None:
    async with slots:
        record = await ports.store.action(action_id)
        if record is not None:
            await republish.again(ports, record)


async def _refuse(ports: Ports, action_id: str, slots: asyncio.Semaphore) -> bool:
    """Return whether an action of a revoked identity was ended."""
    reason, ended = Reason("revoked", "this identity was revoked"), []

    async def refuse() -> None:
        record = await ports.store.action(action_id)
        if record is not None:
            state = ActionState.REFUSED
            ended.append(await evidence.keep_unexecuted(ports, record, reason, state))

    async with slots:
        await _undisturbed(refuse())
    return any(ended)


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
