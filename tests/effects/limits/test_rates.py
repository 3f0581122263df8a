"""Valkey under the rates: emptied, killed, frozen, full, and back by itself."""

import asyncio
import time
from contextlib import asynccontextmanager

import asyncpg
import pytest
from redis.crc import key_slot
from redis.exceptions import ResponseError

from broker.core.words.budget import RATE_HORIZON_US_MAX, CountedBy
from broker.core.words.effect import Tier
from broker.core.words.errors import StoreUnavailableError
from broker.effects.database import Database
from broker.effects.limits.rates import (
    CONNECTIONS_MAX,
    FUNCTION,
    PROCESS_KEYS_MAX,
    RECOVERY_PAUSE_S_MAX,
    VALKEY_ANSWER_S_MAX,
    ProcessCounter,
    SqlCounter,
    ValkeyCounter,
    ValkeyRates,
    valkey_client,
)
from tests.support.limits.lines import broker_database, patient_counter, rate
from tests.support.limits.own_valkey import own_valkey

# What a loaded machine may add to a wait that we set.
SLACK_S = 2.0


@pytest.fixture
def server(tmp_path):
    with own_valkey(tmp_path) as running:
        yield running


@pytest.fixture
async def database(pg_database):
    async with broker_database(pg_database) as lent:
        yield lent


@asynccontextmanager
async def started(counter, database):
    port = ValkeyRates(counter, sql=SqlCounter(database), process=ProcessCounter())
    await port.start()
    yield port
    await port.aclose()


@pytest.fixture
async def rates(server, database):
    counter = patient_counter(server.url, password=server.password)
    async with started(counter, database) as port:
        yield port


@pytest.fixture
async def hasty(server, database):
    client = valkey_client(server.url, password=server.password)
    async with started(ValkeyCounter(client), database) as port:
        yield port


async def ask(rates, *, tier=Tier.CONSEQUENTIAL, **pace):
    return await rates.check([rate(**pace)], tier=tier)


async def until_valkey_counts(rates) -> None:
    async def counts() -> bool:
        answer = await ask(rates, burst=10_000, name="probe")
        return answer.counted_by is CountedBy.VALKEY

    await until(counts, within_s=RECOVERY_PAUSE_S_MAX + 3)


async def until(holds, *, within_s) -> None:
    deadline = time.monotonic() + within_s
    for _ in range(10_000):
        if await holds():
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_an_emptied_valkey_counts_anew_and_nobody_notices(rates, server) -> None:
    assert not [await ask(rates, burst=1) for _ in range(2)][1].allowed
    with server.client() as client:
        client.flushall()
    answer = await ask(rates, burst=1)
    assert (answer.allowed, answer.counted_by) == (True, CountedBy.VALKEY)


async def test_a_lost_function_is_loaded_again_by_the_first_who_misses_it(
    rates, server
) -> None:
    # With the connections open, all miss it in the same moment.
    await asyncio.gather(*(ask(rates, burst=10_000) for _ in range(60)))
    with server.client() as client:
        client.function_flush()
        client.config_resetstat()
        answers = await asyncio.gather(*(ask(rates, burst=10_000) for _ in range(60)))
        loads = client.info("commandstats")["cmdstat_function|load"]["calls"]
    assert {answer.counted_by for answer in answers} == {CountedBy.VALKEY}
    assert loads == 1


async def test_functions_and_counters_survive_kill_9(rates, server) -> None:
    assert (await ask(rates, burst=1)).allowed
    # everysec: what is older than a second is on disk.
    await asyncio.sleep(1.2)
    server.kill()
    server.start()
    with server.client() as client:
        client.config_resetstat()
        await until_valkey_counts(rates)
    assert not (await ask(rates, burst=1)).allowed


async def test_kill_9_in_mid_run_moves_the_count_elsewhere_and_back(
    rates, server
) -> None:
    assert (await ask(rates)).counted_by is CountedBy.VALKEY
    server.kill()
    begun = time.monotonic()
    money = [await ask(rates, burst=3) for _ in range(4)]
    reads = [await ask(rates, tier=Tier.INTERNAL) for _ in range(4)]
    assert time.monotonic() - begun < VALKEY_ANSWER_S_MAX + SLACK_S
    assert {answer.counted_by for answer in money} == {CountedBy.SQL}
    assert [answer.allowed for answer in money] == [True, True, True, False]
    assert {answer.counted_by for answer in reads} == {CountedBy.PROCESS}
    server.start()
    await until_valkey_counts(rates)


async def test_a_silent_valkey_costs_one_wait_and_later_calls_none(
    hasty, server
) -> None:
    server.freeze()
    begun = time.monotonic()
    first = await asyncio.gather(*(ask(hasty, tier=Tier.INTERNAL) for _ in range(20)))
    assert time.monotonic() - begun < VALKEY_ANSWER_S_MAX + SLACK_S
    assert {answer.counted_by for answer in first} == {CountedBy.PROCESS}
    begun = time.monotonic()
    for _ in range(50):
        await ask(hasty, tier=Tier.INTERNAL)
    assert time.monotonic() - begun < SLACK_S
    server.thaw()
    await until_valkey_counts(hasty)


async def test_a_broker_that_starts_without_valkey_finds_it_later(
    server, database
) -> None:
    server.kill()
    counter = patient_counter(server.url, password=server.password)
    async with started(counter, database) as rates:
        assert (await ask(rates)).counted_by is CountedBy.SQL
        server.start()
        await until_valkey_counts(rates)


async def test_a_wrong_password_counts_elsewhere(server, database) -> None:
    counter = patient_counter(server.url, password="wrong")
    async with started(counter, database) as rates:
        assert (await ask(rates)).counted_by is CountedBy.SQL


async def test_a_full_valkey_counts_elsewhere_until_it_has_room(rates, server) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "1kb")
        assert (await ask(rates)).counted_by is CountedBy.SQL
        client.config_set("maxmemory", "64mb")
    assert (await ask(rates)).counted_by is CountedBy.VALKEY


async def test_without_valkey_and_postgresql_tier_3_is_not_answered(server) -> None:
    server.kill()
    gone = Database("postgresql://cf_broker@/x?host=/nonexistent", password="x")
    counter = patient_counter(server.url, password=server.password)
    async with started(counter, gone) as rates:
        with pytest.raises(StoreUnavailableError):
            await ask(rates)
        assert (await ask(rates, tier=Tier.INTERNAL)).allowed


async def test_what_sql_counted_is_swept_when_valkey_is_back(
    rates, server, pg_database
) -> None:
    owner = await asyncpg.connect(pg_database.dsn())

    async def swept():
        return await owner.fetchval("SELECT count(*) FROM rate_counter") == 0

    server.kill()
    await ask(rates, interval_us=1)
    assert not await swept()
    server.start()
    await until(swept, within_s=RECOVERY_PAUSE_S_MAX + 3)
    await owner.close()


async def test_a_time_out_after_the_function_ran_only_costs_that_call(
    hasty, server
) -> None:
    server.freeze()
    assert (await ask(hasty, burst=1)).counted_by is CountedBy.SQL
    server.thaw()
    await until_valkey_counts(hasty)
    # The frozen server found the request in its socket and counted it after all: one
    # too many is counted, never one too few.
    answers = [await ask(hasty, burst=1) for _ in range(2)]
    assert sum(answer.allowed for answer in answers) <= 1


async def test_more_callers_than_connections_wait_their_turn(rates) -> None:
    many = CONNECTIONS_MAX * 4
    answers = await asyncio.gather(*(ask(rates, burst=many) for _ in range(many + 1)))
    assert {answer.counted_by for answer in answers} == {CountedBy.VALKEY}
    assert sum(answer.allowed for answer in answers) == many


# ------------------------------------------------------------------- the Function


async def test_a_counter_that_is_far_ahead_is_pulled_back_to_one_burst(
    rates, server
) -> None:
    quick = {"interval_us": 20_000, "burst": 2}
    with server.client() as client:
        for odd in (str(2**53 - 1), "no number", "-5", "1e300"):
            client.set(rate(**quick).key, odd)
            waits = [(await ask(rates, **quick)).retry_after_us for _ in range(2)]
            assert max(waits) <= 20_000
            await asyncio.sleep(0.05)
            assert (await ask(rates, **quick)).allowed


@pytest.mark.parametrize(
    "arguments",
    [
        ["0", "1"],
        ["-1", "1"],
        ["1.5", "1"],
        ["1", "0"],
        ["nan", "1"],
        ["inf", "1"],
        ["x", "1"],
        [str(2**53), "1"],
        [str(2**52), "2"],
        ["1"],
        ["1", "1", "1"],
    ],
)
async def test_the_function_refuses_what_a_double_cannot_hold(
    rates, server, arguments
) -> None:
    with server.client() as client:
        with pytest.raises(ResponseError):
            client.fcall(FUNCTION, 1, "{demo}:k", *arguments)
        assert client.keys() == []


async def test_the_longest_horizon_is_counted_exactly(rates) -> None:
    interval_us = RATE_HORIZON_US_MAX // 2
    answers = [
        await ask(rates, interval_us=interval_us, burst=2, name="slow")
        for _ in range(3)
    ]
    assert [answer.allowed for answer in answers] == [True, True, False]
    assert answers[1].counted_by is CountedBy.VALKEY
    assert answers[1].remaining == 0


async def test_counters_that_run_empty_leave_valkey_by_themselves(
    rates, server
) -> None:
    await ask(rates, interval_us=30_000, burst=2)
    with server.client() as client:
        (key,) = client.keys()
        assert 0 < client.pttl(key) <= 30
        await asyncio.sleep(0.05)
        assert client.keys() == []


def test_all_keys_of_a_tenant_live_in_one_slot_of_a_cluster() -> None:
    slots = {key_slot(rate(name).key.encode()) for name in ("a", "b", "c")}
    assert len(slots) == 1
    assert key_slot(rate("a", tenant="other").key.encode()) not in slots


# ---------------------------------------------------------------- in this process


async def test_a_full_process_refuses_new_keys_and_forgets_empty_ones() -> None:
    now = [0]
    counter = ProcessCounter(clock_us=lambda: now[0])
    for number in range(PROCESS_KEYS_MAX):
        await counter.charge([rate(f"k{number}", interval_us=10)])
    assert not (await counter.charge([rate("one-more")])).allowed
    now[0] = 100
    assert (await counter.charge([rate("one-more")])).allowed
