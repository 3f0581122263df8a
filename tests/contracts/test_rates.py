"""Rate counters: the same answers from Valkey, SQL, this process and the fake."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from broker.core.gcra import gcra_all
from broker.core.limit import PROCESS_SHARE
from broker.core.words.budget import CountedBy
from broker.core.words.effect import Tier
from broker.effects.limits.rates import (
    ProcessCounter,
    SqlCounter,
    ValkeyRates,
)
from tests.support.limits.lines import broker_database, patient_counter, rate
from tests.support.limits.rates import FakeCounter, FakeRates

NOWHERE = "unix://default@/nonexistent/valkey.sock?db=0"


def clock_us() -> int:
    return time.monotonic_ns() // 1_000


@pytest.fixture(params=["fake", "valkey", "sql", "process"])
def kind(request):
    if request.param == "sql":
        return request.param, request.getfixturevalue("pg_database")
    if request.param == "valkey":
        return request.param, request.getfixturevalue("valkey_url")
    return request.param, None


@pytest.fixture
async def counter(kind):
    name, lent = kind
    if name == "sql":
        async with broker_database(lent) as database:
            yield SqlCounter(database)
    elif name == "valkey":
        patient = patient_counter(lent)
        yield patient
        await patient.aclose()
    else:
        yield (FakeCounter if name == "fake" else ProcessCounter)(clock_us=clock_us)


# ------------------------------------------------------------------ each counter


async def test_a_burst_comes_through_and_the_next_call_does_not(counter) -> None:
    answers = [await counter.charge([rate(burst=3)]) for _ in range(4)]
    assert [answer.allowed for answer in answers] == [True, True, True, False]


@pytest.mark.control("6.4")
async def test_two_hundred_calls_at_once_get_exactly_the_burst(counter) -> None:
    keys = [rate(burst=37), rate("other", burst=1_000)]
    answers = await asyncio.gather(*(counter.charge(keys) for _ in range(200)))
    assert sum(answer.allowed for answer in answers) == 37


async def test_a_refused_call_is_charged_to_none_of_its_keys(counter) -> None:
    narrow, wide = rate("narrow", burst=1), rate("wide", burst=3)
    assert (await counter.charge([narrow, wide])).allowed
    for _ in range(5):
        assert not (await counter.charge([narrow, wide])).allowed
    answers = [await counter.charge([wide]) for _ in range(3)]
    assert [answer.allowed for answer in answers] == [True, True, False]


async def test_keys_are_counted_apart(counter) -> None:
    assert (await counter.charge([rate("a", burst=1)])).allowed
    assert (await counter.charge([rate("b", burst=1)])).allowed
    assert not (await counter.charge([rate("a", burst=1)])).allowed


async def test_after_its_interval_one_more_comes_through(counter) -> None:
    quick = rate(burst=1, interval_us=40_000)
    assert (await counter.charge([quick])).allowed
    assert not (await counter.charge([quick])).allowed
    await asyncio.sleep(0.05)
    assert (await counter.charge([quick])).allowed


async def test_what_a_counter_kept_is_what_core_says_it_keeps(counter) -> None:
    keys = [rate("a", burst=4), rate("b", burst=2, interval_us=7_000_000)]
    paces = [(key.interval_us, key.burst) for key in keys]
    kept: list = [0, 0]
    for _ in range(4):
        answer = await counter.charge(keys)
        assert list(answer.tats_us) == kept
        steps = gcra_all(kept, now_us=answer.now_us, paces=paces)
        assert answer.allowed == all(step.allowed for step in steps)
        kept = [step.tat_us for step in steps]


async def test_the_order_of_the_keys_is_the_order_of_the_answer(counter) -> None:
    first, second = rate("z", burst=1), rate("a", burst=9)
    await counter.charge([first])
    answer = await counter.charge([second, first])
    assert not answer.allowed
    assert answer.tats_us[0] == 0
    assert answer.tats_us[1] > 0


# ------------------------------------------------------------------------ the port


@pytest.fixture(params=["fake", "valkey"])
def side(request):
    if request.param == "fake":
        return None
    return request.getfixturevalue("lent_servers")


@asynccontextmanager
async def rates_of(side, *, lost=False):
    if side is None:
        fake = FakeRates(clock_us=clock_us)
        fake.lost = lost
        yield fake
        return
    pg_database, valkey_url = side
    async with broker_database(pg_database) as database:
        rates = ValkeyRates(
            patient_counter(NOWHERE if lost else valkey_url),
            sql=SqlCounter(database),
            process=ProcessCounter(),
        )
        await rates.start()
        yield rates
        await rates.aclose()


async def test_an_answer_names_limit_remaining_and_who_counted(side) -> None:
    async with rates_of(side) as rates:
        keys = [rate("a", burst=9), rate("b", burst=4)]
        answer = await rates.check(keys, tier=Tier.INTERNAL)
    assert answer.allowed
    assert answer.counted_by is CountedBy.VALKEY
    assert (answer.rule_id, answer.limit, answer.remaining) == ("b", 4, 3)
    assert answer.headers() == {
        "RateLimit-Policy": '"b";q=4;w=240',
        "RateLimit": '"b";r=3;t=60',
    }


async def test_a_refusal_says_when_to_come_again(side) -> None:
    async with rates_of(side) as rates:
        keys = [rate(burst=1, interval_us=30_000_000)]
        await rates.check(keys, tier=Tier.INTERNAL)
        answer = await rates.check(keys, tier=Tier.INTERNAL)
    assert not answer.allowed
    assert 0 < answer.retry_after_us <= 30_000_000
    assert answer.headers()["Retry-After"] == "30"


async def test_an_action_without_rates_is_not_counted(side) -> None:
    async with rates_of(side) as rates:
        answer = await rates.check([], tier=Tier.CONSEQUENTIAL)
    assert (answer.allowed, answer.counted_by) == (True, CountedBy.NONE)


@pytest.mark.control("6.4")
async def test_without_valkey_tier_3_is_counted_in_sql_at_full_pace(side) -> None:
    async with rates_of(side, lost=True) as rates:
        answers = [
            await rates.check([rate(burst=3)], tier=Tier.CONSEQUENTIAL)
            for _ in range(4)
        ]
    assert {answer.counted_by for answer in answers} == {CountedBy.SQL}
    assert [answer.allowed for answer in answers] == [True, True, True, False]


@pytest.mark.parametrize("tier", [Tier.INTERNAL, Tier.CUSTOMER_FACING])
async def test_without_valkey_tiers_1_and_2_are_counted_here_and_get_less(
    side, tier
) -> None:
    async with rates_of(side, lost=True) as rates:
        burst = 2 * PROCESS_SHARE
        answers = [await rates.check([rate(burst=burst)], tier=tier) for _ in range(3)]
    assert {answer.counted_by for answer in answers} == {CountedBy.PROCESS}
    assert [answer.allowed for answer in answers] == [True, True, False]
