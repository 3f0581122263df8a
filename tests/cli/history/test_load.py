"""A history that is loaded is there to be looked at, and decides nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from broker import flow, rehearsal
from broker.api.console.drawing import page
from broker.cli.app import make_app
from broker.cli.history import load as loading
from broker.cli.history.load import integrated, stored
from broker.cli.history.play import played
from broker.cli.stack.planning.production import require_demo
from broker.cli.stack.state import Stamp, StateError, open_state
from broker.core.jwk import Algorithm
from broker.core.transparency.entry_leaf import open_entry
from broker.core.transparency.merkle import leaf_hash, perfect_root
from broker.core.words.decision import Deny, Escalate
from broker.core.words.errors import ConflictError
from broker.effects.limits.books import Books
from broker.ports.queue import Listing
from broker.undo import undo
from broker.watch.replay import Tally
from tests.support.approvals.voters import voter
from tests.support.flow.executor import PAID
from tests.support.flow.house import House
from tests.support.identities import key_of

if TYPE_CHECKING:
    from pathlib import Path

    from broker.cli.history.play import History, World
    from broker.effects.database import Database
    from broker.effects.keys import KeyRing
    from broker.ports import OnDesk

DAYS = 2
AWAKE = "0197a000-0000-7000-8000-00000000ffff"
ONE = r"@approvers(\"1\")"
STAMPED = ("interaction", "turn", "action", "approval", "vote", "reservation", "budget")


@pytest_asyncio.fixture
async def history(
    house: House, owner: Database, world: World, keys: KeyRing
) -> History:
    """Return a short history that was loaded into the house."""
    made = await played(world, days=DAYS)
    await stored(owner, made, key=keys.entry)
    await integrated(house.database, keys.entry)
    return made


async def every(house: House, sql: str) -> list[Any]:
    return [row[0] for row in await house.database.rows(sql)]


async def test_every_row_and_every_entry_says_that_it_is_simulated(
    house: House, history: History
) -> None:
    for table in STAMPED:
        said = await every(house, f"SELECT simulated FROM {table}")  # noqa: S608
        assert said, table
        assert all(said), table
    public = {key.kid: key.public() for key in [key_of("entry", Algorithm.EDDSA)]}
    actions = await every(house, "SELECT action_id FROM action")
    assert len(actions) == len(history.kept.actions)
    leaves = await every(house, "SELECT leaf FROM audit_entry ORDER BY seq")
    entries = [open_entry(leaf, public) for leaf in leaves]
    ours = [one for one in entries if one["replica"] == "simulated"]
    assert len(ours) == len(history.kept.entries)
    assert all(one["detail"]["simulated"] is True for one in ours)
    votes = [one["detail"] for one in ours if one["kind"] == "approve.vote"]
    assert votes
    assert not any(one["vote_sha256"] or one["person_kid"] for one in votes)
    record = await house.ports.store.action(str(actions[0]))
    assert record is not None
    assert record.simulated


async def test_the_log_holds_every_entry_in_the_order_of_time(
    house: House, history: History
) -> None:
    assert await every(house, "SELECT count(*) FROM audit_stage") == [0]
    assert await every(house, "SELECT count(*) FROM audit_refused") == [0]
    leaves = await every(house, "SELECT leaf FROM audit_entry ORDER BY seq")
    size, root = await house.ledger.history.head()
    assert size == len(leaves)
    assert root == tree_root([leaf_hash(leaf) for leaf in leaves])
    times = [entry.at for entry in history.kept.entries]
    assert times == sorted(times)


def tree_root(hashes: list[bytes]) -> bytes:
    """Return the root by the definition: split at the largest power of two below."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return perfect_root([tree_root(hashes[:split]), tree_root(hashes[split:])])


async def test_what_has_a_limit_today_is_taken_by_nothing_simulated(
    house: House, history: History
) -> None:
    taken = await house.database.rows("SELECT span, window_start, posted FROM budget")
    assert sum(row["posted"] for row in taken) > 0
    now = house.ports.clock.now()
    for row in taken:
        assert row["span"] == "day"
        assert row["window_start"].date() < now.date()
    held = "SELECT count(*) FROM reservation WHERE state NOT IN ('posted', 'voided')"
    assert await every(house, held) == [0]
    assert await every(house, "SELECT count(*) FROM object_ceiling") == [0]
    assert await every(house, "SELECT count(*) FROM released_value") == [0]
    # The whole of an order can be paid back, whatever the history paid on it.
    interaction = await house.interaction()
    await house.read_order(interaction)
    answer = await flow.submit(house.ports, house.refund(interaction, PAID))
    assert isinstance(answer.decision, Escalate)
    books = Books(
        house.database,
        house.ledger,
        key=key_of("entry", Algorithm.EDDSA),
        keeper=house.keeper,  # type: ignore[arg-type]
    )
    entries, found = await books.compare()
    assert entries > len(history.kept.entries)
    assert found == []


async def test_a_replay_of_the_history_shows_flips_with_their_sums(
    house: House, history: History
) -> None:
    policy = await house.registry.get("policy", "main")
    assert policy is not None
    text = json.dumps(policy.body)
    # Two people for what one signs now.
    stricter = json.loads(text.replace(ONE, ONE.replace("1", "2")))
    candidate = rehearsal.candidate_of(stricter, house.ports)
    tally, after = Tally(), rehearsal.first_id(history.first)
    until = rehearsal.first_id(house.ports.clock.now())
    more = True
    while more:
        found = await rehearsal.replayed(
            house.ports, candidate, after=after, until=until
        )
        tally.add(found.tally)
        after, more = found.after, found.more
    assert tally.replayed == tally.simulated == len(history.kept.actions)
    refunds = [
        (flip, count, units)
        for flip, (count, units) in tally.flips.items()
        if flip.tool == "orders.refund"
    ]
    assert refunds
    for flip, count, units in refunds:
        assert flip.before == "escalate 1 supervisor"
        assert flip.after == "escalate 2 supervisor"
        assert units > count * 100


async def test_nothing_simulated_is_settled_or_goes_on(
    house: House, history: History
) -> None:
    before = await house.database.rows("SELECT * FROM action ORDER BY action_id")
    for action_id in list(history.kept.actions)[::7]:
        found = await flow.settle(house.ports, action_id)
        assert found is not None
    after = await house.database.rows("SELECT * FROM action ORDER BY action_id")
    assert before == after
    assert house.executor.runs == []
    assert not await house.ports.store.interrupted(limit=10)
    assert not await house.ports.desk.due(limit=10)
    wanted = Listing(roles=("supervisor",), limit=10)
    assert not await house.ports.queue.page(wanted)
    ended = await house.ports.desk.ended(roles=["supervisor"], limit=200)
    assert ended
    assert all(one.simulated for one in ended)
    words = "Simulated history."
    drawn = bytes(page("banner.html", shown_as(ended[0])).body).decode()
    assert words in drawn
    assert "It was executed once" not in drawn
    real = replace(ended[0], simulated=False)
    assert words not in bytes(page("banner.html", shown_as(real)).body).decode()
    [where] = await every(house, "SELECT interaction_id::text FROM interaction LIMIT 1")
    interaction = await house.ports.store.interaction(where)
    assert interaction is not None
    answer = await flow.submit(house.ports, house.ask("customers.get", interaction))
    assert isinstance(answer.decision, Deny)
    assert answer.decision.reasons[0].code == "interaction_closed"


def shown_as(desk: OnDesk) -> dict[str, Any]:
    """Return what a card's banner is drawn from once its approval has ended."""
    return {"desk": desk, "card": {}, "open": False, "error": None}


WAKING = (
    ("action", "state = 'executing'"),
    ("action", "simulated = false"),
    ("approval", "state = 'pending'"),
    ("interaction", "closed_at = NULL"),
    ("reservation", "state = 'held'"),
    ("vote", "word = 'reject'"),
)


async def test_nobody_wakes_a_simulated_row(house: House, history: History) -> None:
    async with house.admin() as owner:
        for table, change in WAKING:
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
                await owner.execute(f"UPDATE {table} SET {change}")  # noqa: S608
        change = f'{{"state": "ready", "action_id": "{AWAKE}"}}'
        copied = (
            "INSERT INTO action SELECT (jsonb_populate_record(a, $1::text::jsonb)).*"
            " FROM action a LIMIT 1"
        )
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(copied, change)


async def test_what_really_happens_cannot_be_called_simulated(house: House) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    async with house.admin() as owner:
        for table in ("action", "interaction"):
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
                await owner.execute(f"UPDATE {table} SET simulated = true")  # noqa: S608


async def test_nothing_simulated_is_taken_back(house: House, history: History) -> None:
    [refund, *_] = await every(
        house,
        "SELECT action_id::text FROM action"
        " WHERE state = 'done' AND tool = 'orders.refund'",
    )
    with pytest.raises(ConflictError, match="simulated history: it never happened"):
        await undo(house.ports, voter(house, "alice"), refund, reason="by mistake")
    assert not await house.ports.unknown.undos(refund)


async def test_a_history_is_loaded_once(
    house: House, owner: Database, world: World, keys: KeyRing, history: History
) -> None:
    before = await every(house, "SELECT count(*) FROM action")
    again = await played(world, days=1, seed=1)
    with pytest.raises(asyncpg.UniqueViolationError):
        await stored(owner, again, key=keys.entry)
    assert await every(house, "SELECT count(*) FROM action") == before


async def test_the_broker_can_write_no_history(house: House) -> None:
    for table in ("action", "approval", "vote", "simulation"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await house.database.value(f"INSERT INTO {table} DEFAULT VALUES")


def test_production_takes_no_simulated_history(tmp_path: Path) -> None:
    words = ["up", "--history", "--production", "--state", str(tmp_path / "s")]
    done = CliRunner().invoke(make_app("up"), words)
    assert done.exit_code == 2
    assert "production takes no simulated history" in done.output
    assert not (tmp_path / "s").exists()
    state = open_state(tmp_path / "p", stamp=Stamp.PRODUCTION)
    with pytest.raises(StateError, match="takes no simulated history"):
        require_demo(state)
    for stamp in ({}, {"COUNTERFOIL_STAMP": "production"}):
        with pytest.raises(SystemExit, match="takes no simulated history"):
            loading.load(stamp)
