"""Kill parts of a real stack while agents act and people vote: python -m tests.chaos.

Two brokers and two workers. The seed alone gives what is wanted, which parts die (kill
-9, singly and in pairs), at which step, and what the upstream does. Afterwards the
CRM's journal, the budgets and the exported log must agree. Exit 0 only if they do.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from broker.cli.demo.command import Teller, fresh_stack
from tests.support.chaos import killing
from tests.support.chaos.acting import Cast, Wish, open_cast
from tests.support.chaos.schedule import RUNS_MAX, Kind, Run, Step, Upstream, schedule
from tests.support.chaos.verdict import Verdict, judge, turn_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REST_S_MAX = 300.0
UPSTREAM_S = 1.5
"""How long the upstream takes around its commit while a part dies."""

_UPSTREAM = {Step.BEFORE_COMMIT, Step.AFTER_COMMIT}
ASKED_MAX = 4
"""How often an agent asks again for what was not sent."""


def main(words: Sequence[str] | None = None) -> int:
    """Run it, print schedule and table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help=f"1 to {RUNS_MAX}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only-print", action="store_true", help="the schedule alone")
    asked = parser.parse_args(words)
    try:
        runs = schedule(asked.seed, asked.runs)
    except ValueError as error:
        parser.error(str(error))
    for run in runs:
        print(run.line())
    if asked.only_print:
        return 0
    began = time.monotonic()
    with fresh_stack(Teller(slow=False, as_json=True), brokers=2, workers=2) as state:
        verdict = asyncio.run(_play(state, runs))
    print(f"\nseed {asked.seed}, {len(runs)} runs, {time.monotonic() - began:.0f} s")
    print(verdict.table())
    print("held" if verdict.held else "DID NOT HOLD")
    return 0 if verdict.held else 1


async def _play(state: Path, runs: Sequence[Run]) -> Verdict:
    wishes: list[Wish] = []
    async with open_cast(state) as cast:
        await cast.introduce()
        for run in runs:
            began = time.monotonic()
            mine = [Wish(want, cast.people[want.customer]) for want in run.wants]
            wishes += mine
            before = killing.restarts(state)
            await _run(state, cast, run, mine)
            wanted = {part: before[part] + 1 for part in run.parts}
            await killing.back(state, restarted=wanted)
            states = " ".join(str(one.last.get("status", "-")) for one in mine)
            took_s = time.monotonic() - began
            print(f"run {run.number}: {took_s:.1f} s, {states}", flush=True)
        await _rest(cast, wishes)
        verdict = await judge(cast, wishes, state)
    verdict.kills = _killed(runs)
    verdict.turned = sum(run.turns_key for run in runs)
    return verdict


async def _run(state: Path, cast: Cast, run: Run, wishes: Sequence[Wish]) -> None:
    """Play one run, and let the parts of it die at its step."""

    async def strike(after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        killing.kill(state, run.parts)

    delay_s, deaths = run.delay_ms / 1_000, []
    await _upstream(cast, run)
    if run.step is Step.BEFORE_SUBMIT:
        await strike()
    if run.step is Step.IN_SUBMIT:
        deaths.append(asyncio.create_task(strike(delay_s)))
    if run.step in _UPSTREAM:
        deaths.append(asyncio.create_task(strike(UPSTREAM_S / 2 + delay_s)))
    await asyncio.gather(*(cast.ask(wish) for wish in wishes))
    if run.step is Step.AFTER_SUBMIT:
        await strike(delay_s)
    if run.turns_key:
        await turn_key(state)
    if run.step is Step.BEFORE_VOTE:
        await strike()
    if run.step is Step.IN_VOTE:
        deaths.append(asyncio.create_task(strike(delay_s)))
    await asyncio.gather(*(cast.say(wish) for wish in wishes))
    if run.step is Step.AFTER_VOTE:
        await strike(delay_s)
    await asyncio.gather(*deaths)
    await asyncio.gather(*(cast.look(wish) for wish in wishes))


async def _upstream(cast: Cast, run: Run) -> None:
    """Tell the CRM how to misbehave in this run; it forgets that when it dies."""
    match = {"method": "POST", "path_regex": "/refunds$"}
    faults: list[dict[str, Any]] = []
    if run.step in _UPSTREAM:
        when = "before_commit" if run.step is Step.BEFORE_COMMIT else "after_commit"
        slow = {"fault": "delay", "delay_s": UPSTREAM_S, "when": when, "times": 2}
        faults.append({**slow, "match": match})
    if run.upstream is not Upstream.WELL:
        bad: dict[str, Any] = {"fault": run.upstream.value, "times": 1, "match": match}
        if run.upstream is Upstream.FAILS_AFTER:
            bad["when"] = "after_commit"
        faults.append(bad)

    async def call(world: Any) -> Any:
        shop = world.shop
        answer = await shop.http.put(
            "/__faults",
            json={"faults": faults},
            headers={"Authorization": f"Bearer {shop.control}"},
        )
        answer.raise_for_status()
        return answer

    await cast.insist(call)


async def _rest(cast: Cast, wishes: Sequence[Wish]) -> None:
    """Wait until everything has ended; agents ask again for what was not sent."""
    until = time.monotonic() + REST_S_MAX
    open_ = list(wishes)
    while open_ and time.monotonic() < until:
        left = []
        for wish in open_:
            if not await cast.look(wish):
                left.append(wish)
                if wish.last.get("status") == "pending_approval":
                    await cast.say(wish)
            elif (
                wish.last.get("status") == "failed"
                and wish.want.kind is Kind.SMALL
                and len(wish.actions) < ASKED_MAX
            ):
                await cast.ask(wish)
                left.append(wish)
        open_ = left
        if any(wish.last.get("status") == "unknown" for wish in open_):
            await cast.insist(lambda world: world.carol.reconcile_unknown())
        await asyncio.sleep(0.5)


def _killed(runs: Sequence[Run]) -> Counter[str]:
    return Counter(part for run in runs for part in run.parts)


if __name__ == "__main__":
    sys.exit(main())
