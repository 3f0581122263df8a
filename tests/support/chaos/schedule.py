"""What agents and people want, and which parts die when: derived from a seed alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

RUNS_MAX = 260
"""So many runs fit into what the demo's policy lets one agent move in a day."""

CUSTOMERS = 40
"""Customers, each with one order, among whom the runs go round."""

TURNED_EVERY, TURNED_AT = 100, 20
"""In one run of so many the key of what goes to Temporal is rotated."""

ALONE, PAIR = 0.6, 0.9
"""Below the first one part dies, below the second two do, above it none."""

SMALL, LARGE = 1, 5_001
"""The least amount of its kind: above the second a person signs."""

PARTS = (
    "postgres",
    "valkey",
    "temporal",
    "edge",
    "runner",
    "signer",
    "democrm",
    "broker-0",
    "broker-1",
    "worker-0",
    "worker-1",
)


class Step(StrEnum):
    """When parts die, named after the steps of an action."""

    BEFORE_SUBMIT = "before submit"
    IN_SUBMIT = "in submit"
    AFTER_SUBMIT = "after submit"
    BEFORE_VOTE = "before vote"
    IN_VOTE = "in vote"
    AFTER_VOTE = "after vote"
    BEFORE_COMMIT = "sent, before the upstream commits"
    AFTER_COMMIT = "after the upstream committed"


class Upstream(StrEnum):
    """What the upstream does to refunds of the run, beside the parts that die."""

    WELL = "well"
    DROPS_BEFORE = "drop_before_commit"
    DROPS_AFTER = "drop_after_commit"
    FAILS_AFTER = "error_500"


class Kind(StrEnum):
    """What is wanted, and what people will say of it."""

    SMALL = "small"
    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Want:
    """One refund; its amount is the only one of its kind on its customer's order.

    ``clicks`` is how often the agent asks and the person votes, at the same time.
    """

    key: str
    kind: Kind
    customer: int
    amount: int
    clicks: int


@dataclass(frozen=True, slots=True)
class Run:
    """What is wanted, and what goes wrong meanwhile."""

    number: int
    wants: tuple[Want, ...]
    step: Step
    parts: tuple[str, ...]
    delay_ms: int
    upstream: Upstream

    @property
    def turns_key(self) -> bool:
        """Return whether the codec's key is rotated while its approvals wait."""
        return self.number % TURNED_EVERY == TURNED_AT

    def line(self) -> str:
        """Return it as one line of the schedule."""
        wants = " ".join(f"{one.kind}:{one.amount}x{one.clicks}" for one in self.wants)
        parts = "+".join(self.parts) or "nothing"
        at = f"{self.step} +{self.delay_ms} ms"
        turn = " codec key rotated" if self.turns_key else ""
        said = f"{self.number:>3}  {parts:<20} {at:<42} {self.upstream:<18} {wants}"
        return said + turn


def schedule(seed: int, runs: int) -> tuple[Run, ...]:
    """Return the runs of a seed; more runs of it begin with the same ones."""
    if not 1 <= runs <= RUNS_MAX:
        msg = f"1 to {RUNS_MAX} runs, not {runs}"
        raise ValueError(msg)
    chance = random.Random(seed)
    return tuple(_run(seed, number, chance) for number in range(runs))


def _run(seed: int, number: int, chance: random.Random) -> Run:
    die = chance.random()
    count = 1 if die < ALONE else 2 if die < PAIR else 0
    customer, turn = number % CUSTOMERS, number // CUSTOMERS
    last = Kind.CANCELLED if number % 4 == 3 else Kind.REJECTED
    kinds = [Kind.SMALL, Kind.SMALL, last]
    # Three of four: so many of them fit into what an agent may move in a day.
    kinds += [Kind.APPROVED] * (number % 4 != 3)
    wants = tuple(
        Want(
            key=f"chaos-{seed}-{number}-{place}",
            kind=kind,
            customer=customer,
            amount=(SMALL if kind is Kind.SMALL else LARGE) + turn * 4 + place,
            clicks=chance.choice((1, 1, 2, 5)),
        )
        for place, kind in enumerate(kinds)
    )
    return Run(
        number=number,
        wants=wants,
        step=chance.choice(list(Step)),
        parts=tuple(sorted(chance.sample(PARTS, count))),
        delay_ms=chance.randrange(0, 300),
        upstream=chance.choice([Upstream.WELL] * 3 + list(Upstream)[1:]),
    )
