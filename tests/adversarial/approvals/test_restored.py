"""A database that was restored from a backup dispatches nothing that was sent since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio

from broker import flow
from broker.api.admin.restored import RESTORE_BYTES_MAX
from broker.core.words.action import ActionState
from broker.core.words.entry import EntryKind
from broker.core.words.errors import RestoredError
from broker.effects.keeping.restored import Restored
from broker.registry.emergency.restored import RESTORED_KIND, restored_id
from broker.unknown.reconcile import By, reconcile
from broker.unknown.restored import LOST, RESTORED, SENT_MAX
from tests.support.approvals.office import Office, open_office
from tests.support.approvals.voters import LARGE, approve, large_refund
from tests.support.flow.house import House, open_house
from tests.support.flow.template import pg_template
from tests.support.flow.unknowns import Declared, agree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from httpx import Response

__all__ = ["pg_template"]

PATH = "/v1/admin/restore"
ORIGIN = "log.example/1"
NOBODY = "0197a000-0000-7000-8000-0000000000ee"


@dataclass
class Renewed:
    """A keeper whose signer signs under a new origin since `audit recover`."""

    renewed: str = ""


@dataclass
class Scene:
    """A house, and what is shut after a restore."""

    house: House
    office: Office
    origins: Renewed

    async def go_on(self, who: str, *sent: dict[str, str], **more: Any) -> Response:
        body = {"reason": "restored from Tuesday", "sent": list(sent), **more}
        return await self.office.call(who, "POST", f"{PATH}/agree", json=body)


@pytest_asyncio.fixture
async def scene(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[Scene]:
    async with (
        open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
        open_office(house) as office,
    ):
        scribe: Any = house.ports.journal
        origins = Renewed()
        gate = Restored(house.database, house.registry, origins=origins, entries=scribe)
        scribe.gate = gate.require_agreed
        office.app.state.restored = gate
        yield Scene(house, office, origins)


def said(warrant: str, action: str) -> dict[str, str]:
    return {"warrant": warrant, "action": action, "tool": "orders.refund"}


async def test_nothing_is_decided_or_executed_until_a_person_has_agreed(
    scene: Scene,
) -> None:
    house = scene.house
    record = await large_refund(house)
    interaction = await house.interaction()
    await house.read_order(interaction)
    await approve(house, "alice", record.approval_id)
    scene.origins.renewed = ORIGIN
    with pytest.raises(RestoredError):
        await flow.settle(house.ports, record.request.action_id)
    with pytest.raises(RestoredError):
        await flow.submit(house.ports, house.refund(interaction, 100))
    assert house.executor.amounts() == []
    shown = await scene.office.call("carol", "GET", PATH)
    assert shown.json() == {"waits_for": ORIGIN}
    for who in ("alice", "olivia"):
        assert (await scene.go_on(who)).status_code == 403
    answer = await scene.go_on("carol")
    assert answer.json() == {"origin": ORIGIN, "known": 0, "held": [], "lost": []}
    done = await flow.settle(house.ports, record.request.action_id)
    assert done is not None
    assert done.state is ActionState.DONE
    assert (await scene.go_on("carol")).status_code == 409
    shown = await scene.office.call("carol", "GET", PATH)
    assert shown.json() == {"waits_for": None}


@pytest.mark.parametrize("voted", [False, True])
async def test_what_an_edge_sent_after_the_backup_is_never_sent_again(
    scene: Scene,
    voted: bool,  # noqa: FBT001
) -> None:
    house = scene.house
    record = await large_refund(house)
    action_id = record.request.action_id
    if voted:
        await approve(house, "alice", record.approval_id)
    # As it went on before the database was lost: the upstream has the refund, the edge
    # its journal, and the backup knows nothing of either.
    warrant = house.ports.ids.new()
    house.executor.moved.append(
        (str(record.request.arguments["order_id"]), LARGE, action_id)
    )
    scene.origins.renewed = ORIGIN
    answer = await scene.go_on("carol", said(warrant, action_id))
    assert answer.json()["held"] == [action_id]
    held = await house.ports.store.action(action_id)
    assert held is not None
    assert held.state is ActionState.UNKNOWN
    assert await house.held() == LARGE
    settled = await flow.settle(house.ports, action_id)
    assert settled is not None
    assert settled.state is ActionState.UNKNOWN
    Declared(house)
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.DONE, By.UPSTREAM)
    assert house.executor.amounts() == [LARGE]
    assert (await house.held(), await house.posted()) == (0, LARGE)
    entries = await house.entries(action_id)
    alarms = [e["detail"]["alarm"] for e in entries if e["kind"] == EntryKind.ALARM]
    assert RESTORED in alarms
    await agree(house)


async def test_what_the_database_does_not_know_is_named_and_what_it_knows_is_left(
    scene: Scene,
) -> None:
    house = scene.house
    interaction = await house.interaction()
    await house.read_order(interaction)
    done = await flow.submit(house.ports, house.refund(interaction, 100))
    assert done.record is not None
    known = said(done.record.warrant_id, done.record.request.action_id)
    scene.origins.renewed = ORIGIN
    answer = await scene.go_on("carol", known, said(house.ports.ids.new(), NOBODY))
    assert answer.json() == {
        "origin": ORIGIN,
        "known": 1,
        "held": [],
        "lost": [NOBODY],
    }
    left = await house.ports.store.action(known["action"])
    assert left is not None
    assert left.state is ActionState.DONE
    named = [e for e in await house.all_entries() if e["kind"] == EntryKind.ALARM]
    assert [e["detail"]["alarm"] for e in named] == [LOST]
    assert named[0]["action"]["action_id"] == NOBODY


async def test_what_somebody_wrote_into_the_database_opens_nothing(
    scene: Scene, pg_broker_dsn: str
) -> None:
    scene.origins.renewed = ORIGIN
    writer = await asyncpg.connect(pg_broker_dsn)
    await writer.execute(
        "INSERT INTO authority (kind, id, revision, jws) VALUES ($1, $2, 1, 'forged')",
        RESTORED_KIND,
        restored_id(ORIGIN),
    )
    await writer.close()
    with pytest.raises(RestoredError):
        await scene.house.ports.journal.ready()
    # Nor does what was signed for another origin.
    scene.origins.renewed = "log.example/0"
    assert (await scene.go_on("carol")).status_code == 200
    await scene.house.ports.journal.ready()
    scene.origins.renewed = ORIGIN
    with pytest.raises(RestoredError):
        await scene.house.ports.journal.ready()
    # What was forged is passed over, and stands in nobody's way.
    assert (await scene.go_on("carol")).status_code == 200
    await scene.house.ports.journal.ready()


async def test_another_replica_hears_that_somebody_agreed(scene: Scene) -> None:
    scene.origins.renewed = ORIGIN
    other = Restored(
        scene.house.database,
        scene.house.registry,
        origins=scene.origins,
        entries=scene.house.ports.journal,  # type: ignore[arg-type]
    )
    with pytest.raises(RestoredError):
        await other.require_agreed()
    assert (await scene.go_on("carol")).status_code == 200
    await other.require_agreed()


async def test_a_body_that_is_malformed_or_too_much_opens_nothing(scene: Scene) -> None:
    scene.origins.renewed = ORIGIN
    one = said(NOBODY, NOBODY)
    for more, status in (
        ({"sent": [one | {"action": "x"}]}, 422),
        ({"sent": [{**one, "more": 1}]}, 422),
        ({"reason": ""}, 422),
        ({"sent": [one] * (SENT_MAX + 1)}, 422),
        ({"reason": "x" * RESTORE_BYTES_MAX}, 413),
    ):
        answer = await scene.go_on("carol", **more)
        assert answer.status_code == status, answer.text[:200]
    shown = await scene.office.call("carol", "GET", PATH)
    assert shown.json() == {"waits_for": ORIGIN}
