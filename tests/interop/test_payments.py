"""Refunds through Stripe's own library in the sandbox, before a careless provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker import flow
from broker.core.words.action import ActionState
from broker.core.words.errors import ForbiddenError
from tests.support.money.provider import Provider
from tests.support.money.proxy import Fault, FaultyLine
from tests.support.money.spending import Plan, spend
from tests.support.money.till import Till, open_till

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with Provider(tmp_path) as running:
        yield running


@pytest.fixture
async def line(provider: Provider) -> AsyncIterator[FaultyLine]:
    faulty = FaultyLine(provider.port, seed=7, share=0.0)
    await faulty.start()
    yield faulty
    await faulty.close()


@pytest.fixture
async def till(
    line: FaultyLine,
    tmp_path_factory: pytest.TempPathFactory,
    pg_broker_dsn: str,
    pg_edge_dsn: str,
    pg_dsn: str,
) -> AsyncIterator[Till]:
    async with open_till(
        tmp_path_factory.mktemp("x"),
        broker_dsn=pg_broker_dsn,
        owner_dsn=pg_dsn,
        edge_dsn=pg_edge_dsn,
        provider_url=line.url,
    ) as opened:
        yield opened


async def test_a_payer_is_read_and_refunded_once_and_never_beyond_the_charge(
    till: Till, provider: Provider
) -> None:
    payer = provider.payer(5_000, 2_000)
    charge, other = payer.charges
    interaction = await till.interaction(payer)
    read = await till.read(interaction, "payments.customers.get")
    assert read["email"] == "payer@example.com"
    intent = provider.intent(payer, 700)
    read = await till.read(
        interaction, "payments.intents.get", payment_intent_id=intent["id"]
    )
    assert (read["amount"], read["charge_id"][:3]) == (700, "ch_")
    ask = till.refund(interaction, charge, 3_000, key="k-1")
    asked = [await flow.submit(till.house.ports, ask) for _ in range(2)]
    ids = [one.record.request.action_id for one in asked if one.record]
    assert [one.record.state for one in asked if one.record] == [ActionState.DONE] * 2
    [refund] = provider.refunds(charge)
    assert refund["amount"] == 3_000
    assert ids == [refund["metadata"]["action"]] * 2
    over = till.refund(interaction, charge, 2_001, key="k-2")
    refused = await flow.submit(till.house.ports, over)
    assert refused.record is None or refused.record.state is ActionState.REFUSED
    assert len(provider.refunds(charge)) == 1
    rest = await flow.submit(
        till.house.ports, till.refund(interaction, charge, 2_000, key="k-3")
    )
    assert rest.record is not None
    assert rest.record.state is ActionState.DONE
    assert sum(one["amount"] for one in provider.refunds(charge)) == 5_000
    # The provider itself would have taken more: what bounded it was ours.
    careless = {"charge": charge, "amount": "4000"}
    assert provider.client.post("/v1/refunds", data=careless).status_code == 200
    assert provider.refunds(other) == []


async def test_somebody_elses_charge_is_not_refunded(
    till: Till, provider: Provider
) -> None:
    payer, stranger = provider.payer(5_000), provider.payer(5_000)
    interaction = await till.interaction(payer)
    foreign = next(iter(stranger.charges))
    ask = till.refund(interaction, foreign, 100, key="k")
    try:
        answer = await flow.submit(till.house.ports, ask)
    except ForbiddenError:
        pass
    else:
        assert answer.record is None or answer.record.state is ActionState.REFUSED
    assert provider.refunds(foreign) == []


async def test_random_refunds_with_faults_and_crashes_move_no_money_twice(
    till: Till, provider: Provider, line: FaultyLine
) -> None:
    line.share = 0.4
    report = await spend(till, provider, Plan(refunds=36, seed=7, crashes=1))
    assert report.held, report
    assert report.crashes == 1
    assert report.refunds
    assert sum(line.met.values()) > line.met[Fault.NONE] > 0
