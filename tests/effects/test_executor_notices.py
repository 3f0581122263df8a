"""Carrying notices: what was sent is what the edge signed for this very order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from broker.core.jws import sign, verify
from broker.core.notices.orders import parse_order, receipt_claims
from broker.core.words.errors import ExecutorUnavailableError
from broker.core.words.notice import (
    NOTICE_RECEIPT_TYP,
    NOTICE_TYP,
    Carried,
    CarriedState,
)
from broker.core.words.warrant import RECEIPT_TYP
from broker.edge.notices import NOTICE_S_MAX
from broker.effects.executor import CARRY_S_MAX
from tests.support.flow.fake_runner import (
    EDGE_KEY,
    WARRANT_KEY,
    Stage,
    always,
    on_stage,
)
from tests.support.identities import ISSUER
from tests.support.notices.orders import ORDER_ID, notice, order
from tools.limits import EDGE_ANSWER_S_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.core.jwk import PrivateKey

LATER = Carried(CarriedState.LATER, 503, "receiver_refused")


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with on_stage(tmp_path) as made_up:
        yield made_up


def receipt(
    carried: Carried,
    *,
    order_id: str = ORDER_ID,
    key: PrivateKey = EDGE_KEY,
    typ: str = NOTICE_RECEIPT_TYP,
) -> str:
    claims = receipt_claims(
        carried, order_id=order_id, edge="e", boot="b", now=datetime.now(UTC)
    )
    return sign(claims, key=key, typ=typ)


@pytest.mark.parametrize("carried", [Carried(CarriedState.TAKEN, 204), LATER])
async def test_the_edges_signed_word_is_what_became_of_it(
    stage: Stage, carried: Carried
) -> None:
    stage.runner.ask = always({"ok": True, "receipt": receipt(carried)})
    one = order(notice=notice(link=f"{ISSUER}/console"))
    assert await stage.executor.carry(one) == carried
    (asked,) = stage.runner.seen
    keys = {WARRANT_KEY.kid: WARRANT_KEY.public()}
    assert asked["op"] == "notice"
    assert parse_order(verify(asked["order"], keys=keys, typ=NOTICE_TYP)) == one


@pytest.mark.parametrize(
    "token",
    [
        receipt(LATER, order_id=ORDER_ID.replace("e002", "e009")),
        receipt(LATER, typ=RECEIPT_TYP),
        receipt(LATER, key=WARRANT_KEY),
        "x.y.z",
    ],
)
async def test_a_receipt_that_is_for_something_else_counts_for_nothing(
    stage: Stage, token: str
) -> None:
    stage.runner.ask = always({"ok": True, "receipt": token})
    with pytest.raises(ExecutorUnavailableError, match="does not verify"):
        await stage.executor.carry(order())


async def test_a_refusal_and_a_lost_answer_may_be_tried_again(stage: Stage) -> None:
    no = {"ok": False, "error": {"code": "edge_refused", "detail": "no_credential"}}
    stage.runner.ask = always(no)
    carried = await stage.executor.carry(order())
    assert carried == Carried(CarriedState.LATER, 0, "no_credential")
    stage.runner.ask = always(None)
    with pytest.raises(ExecutorUnavailableError):
        await stage.executor.carry(order())


def test_each_waits_longer_than_the_one_behind_it() -> None:
    assert NOTICE_S_MAX < EDGE_ANSWER_S_MAX < CARRY_S_MAX
