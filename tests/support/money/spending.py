"""Random refunds with retries, faults and crashes, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker import flow
from broker.core.words.action import ActionState
from broker.core.words.errors import BrokerError
from tests.support.money.provider import Payer, Provider

if TYPE_CHECKING:
    from broker.case import Ask
    from broker.core.words.action import ActionRecord
    from tests.support.money.till import Till

ENDS = {
    ActionState.DONE,
    ActionState.FAILED,
    ActionState.REFUSED,
    ActionState.UNKNOWN,
}
TRIES_MAX = 4
SETTLED_S_MAX = 60.0
CHARGE_MIN, CHARGE_MAX = 1_000, 6_000
CHARGES_PER_PAYER = 4


@dataclass(frozen=True)
class Plan:
    """How much is asked for, how often twice, and how often the runner is killed."""

    refunds: int
    seed: int
    at_once: int = 6
    twice: float = 0.2
    crashes: int = 5

    @property
    def payers(self) -> int:
        """Return how many people are charged: about three refunds on each charge."""
        return max(1, self.refunds // (3 * CHARGES_PER_PAYER))


@dataclass
class Wish:
    """One refund that an agent wants once, however often it asks for it."""

    key: str
    charge: str
    amount: int
    actions: set[str] = field(default_factory=set)


@dataclass
class Report:
    """What happened, by the broker's word and by the provider's."""

    asked: int = 0
    errors: int = 0
    crashes: int = 0
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    refunds: int = 0
    refunded_minor_units: int = 0
    over_refunded: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Return whether nothing was refunded that should not have been."""
        return not (self.over_refunded or self.twice or self.wrong or self.open)


async def spend(till: Till, provider: Provider, plan: Plan) -> Report:
    """Refund at random, and compare both books afterwards."""
    chance = random.Random(plan.seed)
    payers = [
        provider.payer(
            *(chance.randint(CHARGE_MIN, CHARGE_MAX) for _ in range(CHARGES_PER_PAYER))
        )
        for _ in range(plan.payers)
    ]
    report, slots = Report(), asyncio.Semaphore(plan.at_once)
    for payer in payers:
        await till.known(payer)
    wishes: list[Wish] = []
    work = []
    for number in range(plan.refunds):
        payer = chance.choice(payers)
        charge = chance.choice(sorted(payer.charges))
        # Some ask for more than half of it: the next one on this charge is too much.
        amount = chance.randint(1, payer.charges[charge] * 2 // 3)
        wish = Wish(f"wish-{plan.seed}-{number}", charge, amount)
        wishes.append(wish)
        again = chance.random() < plan.twice
        work.append(_fulfil(till, payer, wish, report, slots, twice=again))
    killing = asyncio.create_task(_kill(till, report, plan))
    await asyncio.gather(*work)
    killing.cancel()
    records = await _settled(till, wishes)
    _compare(provider, payers, wishes, records, report)
    return report


async def _fulfil(
    till: Till,
    payer: Payer,
    wish: Wish,
    report: Report,
    slots: asyncio.Semaphore,
    *,
    twice: bool,
) -> None:
    async with slots:
        interaction = await till.known(payer)
        ask = till.refund(interaction, wish.charge, wish.amount, key=wish.key)
        if twice:
            await asyncio.gather(
                _insist(till, ask, wish, report), _insist(till, ask, wish, report)
            )
        else:
            await _insist(till, ask, wish, report)


async def _insist(till: Till, ask: Ask, wish: Wish, report: Report) -> None:
    """Ask until there is an answer, as an agent does that knows no better."""
    for attempt in range(TRIES_MAX):
        report.asked += 1
        try:
            answer = await flow.submit(till.house.ports, ask)
        except BrokerError:
            report.errors += 1
            await asyncio.sleep(0.3 * (attempt + 1))
            continue
        if answer.record is None:
            reasons = answer.decision.reasons if answer.decision else ()
            report.reasons.update(one.code for one in reasons)
            return
        wish.actions.add(answer.record.request.action_id)
        if answer.record.state is not ActionState.FAILED:
            return


async def _kill(till: Till, report: Report, plan: Plan) -> None:
    """Kill the runner again and again, spread evenly over what is asked for."""
    for number in range(plan.crashes):
        due = plan.refunds * (number + 1) // (plan.crashes + 1)
        while report.asked < due:  # noqa: ASYNC110 others count
            await asyncio.sleep(0.05)
        await till.runner.crash()
        report.crashes += 1


async def _settled(till: Till, wishes: list[Wish]) -> dict[str, ActionRecord]:
    """Wait until every action has ended, and return them."""
    found: dict[str, ActionRecord] = {}
    deadline = asyncio.get_running_loop().time() + SETTLED_S_MAX
    waiting = {one for wish in wishes for one in wish.actions}
    while waiting and asyncio.get_running_loop().time() < deadline:
        for action_id in sorted(waiting):
            record = await till.house.ports.store.action(action_id)
            if record is not None:
                found[action_id] = record
                if record.state in ENDS:
                    waiting.discard(action_id)
        await asyncio.sleep(0.2)
    return found


def _compare(
    provider: Provider,
    payers: list[Payer],
    wishes: list[Wish],
    records: dict[str, ActionRecord],
    report: Report,
) -> None:
    """Hold the broker's word against the provider's books, refund by refund."""
    done: Counter[str] = Counter()
    for payer in payers:
        for charge, paid in payer.charges.items():
            refunds = provider.refunds(charge)
            total = sum(one["amount"] for one in refunds)
            report.refunds += len(refunds)
            report.refunded_minor_units += total
            if total > paid:
                report.over_refunded.append(f"{charge}: {total} of {paid}")
            done.update(one["metadata"]["action"] for one in refunds)
    for wish in wishes:
        moved = sum(done[one] for one in wish.actions)
        if moved > 1:
            report.twice.append(f"{wish.key}: {moved} times")
        for one in wish.actions:
            state = records[one].state
            report.states[state.value] += 1
            if state is ActionState.REFUSED:
                report.reasons.update(why.code for why in records[one].reasons)
            if state not in ENDS:
                report.open.append(f"{wish.key}: {state.value}")
            if not _agree(state, done[one]):
                report.wrong.append(f"{wish.key}: {state.value}, {done[one]} done")
    strangers = set(done) - {one for wish in wishes for one in wish.actions}
    report.wrong += [f"{one}: nobody knows of it" for one in sorted(strangers)]


def _agree(state: ActionState, refunds: int) -> bool:
    """Return whether the broker's word and the provider's books can both be true."""
    match state:
        case ActionState.DONE:
            return refunds == 1
        case ActionState.FAILED | ActionState.REFUSED:
            return refunds == 0
        case _:
            return refunds <= 1
