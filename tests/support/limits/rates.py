"""Rate counters in memory, by core's rule: for tests of whatever needs the port."""

from __future__ import annotations

from broker.core.gcra import gcra_all
from broker.core.limit import rate_answer, smaller
from broker.core.words.budget import CountedBy
from broker.core.words.effect import Tier
from broker.effects.limits.rates import Charge


class FakeCounter:
    """One set of counters, on a clock that tests may turn."""

    def __init__(self, counted_by=CountedBy.VALKEY, *, clock_us):
        self.counted_by = counted_by
        self._clock_us = clock_us
        self._tats_us: dict[str, int] = {}

    async def charge(self, keys):
        now_us = self._clock_us()
        tats = tuple(self._tats_us.get(rate.key, 0) for rate in keys)
        paces = [(rate.interval_us, rate.burst) for rate in keys]
        steps = gcra_all(tats, now_us=now_us, paces=paces)
        for rate, step in zip(keys, steps, strict=True):
            self._tats_us[rate.key] = step.tat_us or 0
        return Charge(all(step.allowed for step in steps), now_us, tats)


class FakeRates:
    """The Rates port; set ``lost`` to see what stands in for Valkey."""

    def __init__(self, *, clock_us):
        self.lost = False
        self._counters = {
            counted_by: FakeCounter(counted_by, clock_us=clock_us)
            for counted_by in (CountedBy.VALKEY, CountedBy.SQL, CountedBy.PROCESS)
        }

    async def check(self, keys, *, tier):
        if not keys:
            return rate_answer((), (), counted_by=CountedBy.NONE)
        counted_by = CountedBy.VALKEY
        if self.lost and tier is Tier.CONSEQUENTIAL:
            counted_by = CountedBy.SQL
        elif self.lost:
            counted_by, keys = CountedBy.PROCESS, smaller(keys)
        charge = await self._counters[counted_by].charge(keys)
        paces = [(rate.interval_us, rate.burst) for rate in keys]
        steps = gcra_all(charge.tats_us, now_us=charge.now_us, paces=paces)
        return rate_answer(keys, steps, counted_by=counted_by)
