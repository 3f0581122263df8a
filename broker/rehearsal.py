"""A policy rehearsed before it counts: on recorded requests, and beside the live one.

Both read what was recorded and decide it again; neither touches an action. A *replay*
goes over the last days, a page per call, driven by whoever asks. The *shadow* follows
the record as it grows: each replica's sweeper takes the next page and adds what it
found to counts in SQL by compare-and-set on the cursor, so every action is counted
once, however many replicas there are and whenever one of them dies.

So a shadow cannot delay, change or fail an action: it runs after the decision is
stored, in the sweeper, on a copy.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from broker.registry.policy.books import limits_of, rule_book
from broker.watch.replay import Candidate, Tally, replay

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from broker.ports import Page, Policy, Ports

PAGE_MAX: Final = 500
"""Recorded actions that one call looks at."""

STRETCH: Final = 10
"""Actions that are decided between two breaths of the event loop: about 4 ms.

Measured with the demo's 27 rules on a busy host: 0.35 ms each.
"""

SHADOW_LAG_S: Final = 10
"""How old an action is before the shadow looks at it.

Its id is given when it arrives; what takes longer to be stored is not counted.
"""

SHADOW_PAGES_MAX: Final = 2
"""Pages that one sweep of one replica takes."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one page of a replay came to; ``after`` is where the next one begins.

    ``more`` is whether there may be one.
    """

    tally: Tally
    after: str
    more: bool


def candidate_of(content: Mapping[str, Any], ports: Ports) -> Candidate:
    """Return a candidate from a policy's content.

    Raises:
        PolicyError: it does not validate; KeyError or TypeError: it lacks something.
    """
    body = {**content, "version": 0}
    _, budgets = limits_of(body)
    return Candidate.of(rule_book(body, ports.shelf.tools()), budgets)


def in_force(policy: Policy) -> Candidate:
    """Return what is live, to compare with."""
    return Candidate.of(policy.book, policy.budgets)


def first_id(at: datetime) -> str:
    """Return the smallest id that an action of this moment can have.

    Source: RFC 9562, section 5.7 (UUIDv7: 48 bits of milliseconds come first).
    """
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"


async def replayed(
    ports: Ports, candidate: Candidate, *, after: str, until: str
) -> Found:
    """Replay one page of what was recorded between two ids.

    Raises:
        UnavailableError: the database does not answer.
    """
    live = in_force(await ports.authority.policy())
    page = await ports.policies.past.page(after=after, until=until, limit=PAGE_MAX)
    tally = await _tally(page, candidate=candidate, live=live)
    return Found(tally, page.last, page.full)


async def follow(ports: Ports) -> int:
    """Let the shadow policy, if there is one, catch up; return how many it looked at.

    Raises:
        UnavailableError: the database does not answer; the next sweep goes on.
    """
    shadow = await ports.authority.shadow()
    if shadow is None:
        return 0
    candidate = in_force(shadow.policy)
    live = in_force(await ports.authority.policy())
    until = first_id(ports.clock.now() - timedelta(seconds=SHADOW_LAG_S))
    looked_at = 0
    for _ in range(SHADOW_PAGES_MAX):
        before = await ports.policies.shadows.count(shadow.revision)
        seen = before.seen if before else first_id(shadow.since)
        page = await ports.policies.past.page(after=seen, until=until, limit=PAGE_MAX)
        if page.last == seen:
            break
        tally = await _tally(page, candidate=candidate, live=live)
        # If we die here, another replica takes the same page.
        await ports.policies.shadows.advance(
            shadow.revision, seen=seen, last=page.last, tally=tally
        )
        looked_at += tally.replayed
        if not page.full:
            break
    return looked_at


async def _tally(page: Page, *, candidate: Candidate, live: Candidate) -> Tally:
    tally = Tally(left_out=Counter(page.left_out))
    for start in range(0, len(page.records), STRETCH):
        records = page.records[start : start + STRETCH]
        tally.add(replay(records, candidate=candidate, live=live))
        await asyncio.sleep(0)
    return tally
