"""DNS answers that change, connectors that stall: where and when nothing leaves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from broker.core.words.warrant import SentState
from tests.edge.child import plain, refund_body
from tests.edge.lab import CANARY, Lab, running_lab

GOOD = "127.0.0.1"


class Names:
    """A name server that somebody else controls: an answer for each question."""

    def __init__(self) -> None:
        self.answers: list[list[str]] = []
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if self.answers else [GOOD]


@pytest.fixture
def names() -> Names:
    return Names()


@pytest_asyncio.fixture
async def named(names) -> AsyncIterator[Lab]:
    """An edge whose upstream has a name."""
    async with running_lab(resolve=names) as lab:
        port = urlsplit(lab.upstream.url).port
        await lab.use(CANARY.encode(), base_url=f"http://crm.test:{port}")
        yield lab


@pytest.mark.parametrize(
    "turned",
    [
        ["169.254.169.254"],
        ["::ffff:169.254.169.254"],
        ["fd00:ec2::254"],
        ["0.0.0.0"],  # noqa: S104
        [GOOD, "169.254.169.254"],
        ["169.254.169.254", GOOD],
        [],
    ],
    ids=str,
)
async def test_a_name_that_turns_to_a_metadata_address_is_not_dialled(
    named, names, turned
) -> None:
    assert (await (await named.call(named.order())).refund()).status == 201
    names.answers = [turned]
    order = named.order()
    answer = await (await named.call(order)).refund()
    assert (answer.status, answer.json["code"]) == (502, "address_refused")
    assert len(named.upstream.seen) == 1
    receipt = await named.receipt(order)
    assert (receipt.state, receipt.alarms) == (
        SentState.NOT_SENT,
        ("address_refused",),
    )


async def test_the_address_that_was_checked_is_the_one_that_is_dialled(
    named, names
) -> None:
    # A second question would get the attacker's answer: there is none.
    names.answers = [[GOOD], ["169.254.169.254"]]
    answer = await (await named.call(named.order())).refund()
    assert answer.status == 201
    assert len(names.asked) == 1
    [seen] = named.upstream.seen
    assert seen.headers["host"].startswith("crm.test:")


async def test_a_kept_connection_stays_with_the_address_that_was_checked(
    named, names
) -> None:
    for _ in range(3):
        child = await named.call(named.order("orders.get"))
        names.answers = [[GOOD]]
        assert (await child.ask("GET", "/orders/W1")).status == 200
        names.answers = [["169.254.169.254"]]
    assert (len(names.asked), named.upstream.connections) == (1, 1)


async def test_a_request_that_drips_ends_with_the_call_and_is_not_sent(lab) -> None:
    order = lab.order(expires_at=lab.now() + timedelta(seconds=0.1))
    child = await lab.call(order)
    began = asyncio.get_running_loop().time()
    try:
        for byte in plain("POST", "/orders/W1/refunds", refund_body()):
            await child.send(bytes([byte]))
            await asyncio.sleep(0.05)
    except ConnectionError:
        pass
    assert await child.hung_up()
    assert asyncio.get_running_loop().time() - began < 5
    assert lab.upstream.connections == 0
    assert (await lab.receipt(order)).state is SentState.NOT_SENT


async def test_a_warrant_is_worthless_to_the_edge_after_its_restart(tmp_path) -> None:
    async with running_lab(tmp_path) as before:
        shown, kept = before.order(), before.order()
        answer = await (await before.call(shown)).refund()
        assert answer is not None
        assert answer.status == 201
    async with running_lab(tmp_path) as after:
        assert after.identity.edge == before.identity.edge
        for order in (shown, kept):
            assert await after.refused(order) == "wrong_edge"
        assert after.upstream.seen == []
        # It still answers for what its predecessor did.
        assert (await after.ask(shown)).state is SentState.ANSWERED
