"""The same random calls for core's GCRA and for each counter that executes it."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.gcra import gcra_all
from broker.effects.limits.rates import ProcessCounter, SqlCounter
from tests.support.limits.lines import broker_database, patient_counter, rate

NAMES = ["a", "b", "c", "d"]

# From intervals that end between two calls to ones that outlast the test.
intervals = st.sampled_from([1, 50, 400, 2_000, 20_000, 3_600_000_000])
calls = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from(NAMES),
            st.tuples(intervals, st.integers(1, 5)),
            min_size=1,
        ),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=40,
)
thorough = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck)
)


async def same_as_core(counter, sequence, *, run) -> None:
    """Charge a sequence of calls and compare each answer with core's model.

    Only the clock is taken from the counter; what it keeps is computed beside it.
    """
    model: dict = {}
    before_us = 0
    for paces, pause_ms in sequence:
        names = sorted(paces)
        keys = [
            rate(f"{run}-{n}", interval_us=paces[n][0], burst=paces[n][1])
            for n in names
        ]
        answer = await counter.charge(keys)
        assert answer.now_us >= before_us
        before_us = answer.now_us
        kept = [model.get(name, 0) for name in names]
        steps = gcra_all(
            kept, now_us=answer.now_us, paces=[paces[name] for name in names]
        )
        assert answer.allowed == all(step.allowed for step in steps)
        for said, known in zip(answer.tats_us, kept, strict=True):
            # A counter that has run empty may be forgotten, and is 0 then.
            assert said == known or (said == 0 and known <= answer.now_us)
        model |= {name: step.tat_us for name, step in zip(names, steps, strict=True)}
        await asyncio.sleep(pause_ms / 1_000)


@pytest.mark.control("6.4")
@pytest.mark.timeout(300)
def test_the_valkey_function_counts_by_the_rule_of_core(valkey_url) -> None:
    runs = iter(range(10**9))

    @thorough
    @given(sequence=calls)
    def check(sequence) -> None:
        async def go() -> None:
            counter = patient_counter(valkey_url)
            await same_as_core(counter, sequence, run=next(runs))
            await counter.aclose()

        asyncio.run(go())

    check()


@pytest.mark.control("6.4")
@pytest.mark.timeout(300)
def test_the_sql_function_counts_by_the_rule_of_core(pg_database) -> None:
    runs = iter(range(10**9))

    @thorough
    @given(sequence=calls)
    def check(sequence) -> None:
        async def go() -> None:
            async with broker_database(pg_database, pool_max=1) as database:
                await same_as_core(SqlCounter(database), sequence, run=next(runs))

        asyncio.run(go())

    check()


@thorough
@given(sequence=calls)
def test_this_process_counts_by_the_rule_of_core(sequence) -> None:
    asyncio.run(same_as_core(ProcessCounter(), sequence, run=0))
