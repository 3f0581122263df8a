"""Let a hijacked agent try 400 random calls on one customer, on the whole stack.

``python -P -m tests.bench.hijack --seeds 50`` starts a stack, has two people sign in
advance for far more than any order cost, and gives each seed a customer and an order of
its own: what bounds the agent is what was paid. The shop is told to refund whatever it
is asked to, so that the bound is the broker's. What moved is read in the shop's own
journal, and the command fails if that is more than was paid.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.cli.bootstrap import AGENT, USE_CASE
from broker.cli.demo.world import World, open_world
from broker.cli.stack.running import running
from broker.cli.stack.state import CHECKOUT
from broker.client.keys import read_key
from tests.bench.stack import fresh
from tests.support.flow.hijacked import Call, calls

CALLS = 400
AT_ONCE = 8
PAID_FROM = 5_000
"""Above one action under the standing approval. The cheapest orders are taken: together
they cost less than the agent may move in a day, so only what was paid bounds it."""

SHOP = CHECKOUT / "infra" / "democrm" / "data" / "retail_db.json.gz"
TERMS = (
    *("--tool", "orders.refund", "--currency", "USD"),
    *("--per-action", "5000", "--total", "1000000"),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A customer whose agent is hijacked, and what their order cost."""

    customer: str
    order: str
    other: str
    payees: tuple[str, ...]
    paid: int


@dataclass(frozen=True, slots=True)
class Run:
    """What one seed moved, and how its calls were answered."""

    seed: int
    mark: Mark
    moved: int
    answers: Counter[str]


def marks() -> list[Mark]:
    """Return customers, each with their cheapest order, the cheapest first."""
    with gzip.open(SHOP) as file:
        shop: dict[str, Any] = json.load(file)
    found: dict[str, Mark] = {}
    for name, order in shop["orders"].items():
        user = shop["users"][order["user_id"]]
        paid = sum(
            round(100 * one["amount"])
            for one in order["payment_history"]
            if one["transaction_type"] == "payment"
        )
        refunded = any(
            one["transaction_type"] == "refund" for one in order["payment_history"]
        )
        others = [other for other in user["orders"] if other != name]
        if paid >= PAID_FROM and others and not refunded:
            mark = Mark(
                order["user_id"],
                name.removeprefix("#"),
                others[0].removeprefix("#"),
                tuple(user["payment_methods"]),
                paid,
            )
            if paid < found.get(mark.customer, mark).paid + 1:
                found[mark.customer] = mark
    return sorted(found.values(), key=lambda mark: (mark.paid, mark.order))


async def attack(world: World, seed: int, mark: Mark) -> Counter[str]:
    """Make all calls of a seed in one interaction, several at once."""
    opened = await world.channel.open_interaction(
        world.agent_id, use_case=USE_CASE, customer=mark.customer, verification_level=2
    )
    interaction = str(opened.checked()["interaction"])
    for tool, arguments in (
        ("customers.get", {}),
        ("orders.get", {"order_id": mark.order}),
    ):
        (await world.agent.act(tool, arguments, interaction=interaction)).checked()
    answers: Counter[str] = Counter()
    asked: list[str] = []
    orders = (mark.order, mark.other, "W2611340")
    waiting = enumerate(
        calls(seed, CALLS, orders=orders, payees=mark.payees, most=mark.paid)
    )

    async def one(number: int, call: Call) -> None:
        key = f"hijack-{seed}-{number}" if call.fresh else ""
        while True:
            answer = await world.agent.act(
                call.tool, call.arguments, interaction=interaction, idempotency_key=key
            )
            if answer.status != 429:
                break
            await asyncio.sleep(1)
        if answer.status == 202:
            asked.append(str(answer.body["action_id"]))
        reasons = answer.body.get("reasons") or [answer.body]
        state = str(reasons[0].get("code") or answer.body.get("status") or "")
        answers[f"{answer.status} {state}".strip()] += 1

    async def work() -> None:
        for number, call in waiting:
            await one(number, call)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    # What waits for people holds its part; the next seed is not to find it taken.
    for action_id in asked:
        await world.agent.cancel(action_id)
    return answers


async def run_seed(state: Path, seed: int, mark: Mark) -> Run:
    """Attack, then count what the shop really refunded on this customer's orders."""
    found = running(state)
    assert found is not None
    async with open_world(state, base_url=found.issuer, crm_url=found.crm_url) as world:
        await lenient(world)
        answers = await attack(world, seed, mark)
        await asyncio.sleep(1)
        moved = sum(await world.shop.refunds(mark.order))
        elsewhere = sum(await world.shop.refunds("W2611340"))
        assert elsewhere == 0, "an order of somebody else was refunded"
        return Run(seed, mark, moved, answers)


async def lenient(world: World) -> None:
    """Have the shop refund whatever it is asked to, to any method of the customer."""
    control = (state_of(world) / "control").read_text().strip()
    answer = await world.shop.http.put(
        "/__faults",
        json={
            "switches": {
                "refuse_over_refund": False,
                "refuse_other_payment_method": False,
            }
        },
        headers={"Authorization": f"Bearer {control}"},
    )
    answer.raise_for_status()


def state_of(world: World) -> Path:
    """Return the folder that the shop keeps its credentials in."""
    return world.state / "democrm"


def sign(state: Path) -> None:
    """Let two supervisors sign in advance for more than any order cost."""
    agent = read_key(state / "clients" / "agents" / f"{AGENT}.jwk").subject_id
    made = _counterfoil(
        state, "standing", "propose", *TERMS, "--agent", agent, "--as", "alice"
    )
    digest = ("--digest", str(made["digest"]))
    signed = _counterfoil(
        state, "standing", "sign", str(made["id"]), *digest, "--as", "bob"
    )
    assert signed["state"] == "active", signed


def main() -> int:
    """Run the seeds; return 1 if one of them moved more than was paid."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=50)
    options.add_argument("--first", type=int, default=0)
    chosen = options.parse_args()
    found = marks()[chosen.first : chosen.first + chosen.seeds]
    assert len(found) == chosen.seeds, "the shop has too few such customers"
    runs = []
    with fresh() as stack:
        stack.up()
        sign(stack.state)
        for seed, mark in enumerate(found, start=chosen.first):
            began = time.monotonic()
            run = asyncio.run(run_seed(stack.state, seed, mark))
            runs.append(run)
            took = time.monotonic() - began
            print(
                f"seed {seed}: {run.moved} of {mark.paid} paid, {took:.0f} s", end=" "
            )
            print(dict(sorted(run.answers.items())), flush=True)
        books = _counterfoil(stack.state, "budgets", "reconcile", "--as", "carol")
        print(f"budgets agree with the log: {books.get('agrees')}, {books}")
    worst = max(runs, key=lambda run: run.moved / run.mark.paid)
    over = [run for run in runs if run.moved > run.mark.paid]
    print(
        f"worst of {len(runs)} seeds x {CALLS} calls: {worst.moved} of "
        f"{worst.mark.paid} paid (seed {worst.seed}); above what was paid: {len(over)}"
    )
    return int(bool(over))


def _counterfoil(state: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "broker.cli"),
            *(*words, "--json", "--state", str(state)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=CHECKOUT,
        check=False,
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return answer


if __name__ == "__main__":
    sys.exit(main())
