"""Replay a conversation's ground-truth calls through the broker, with people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from broker.core.words.action import ActionState
from broker.core.words.effect import Tier
from tests.support.approvals.voters import change_person, change_row
from tests.support.tau.house import Shop, ShopExecutor, retail
from tests.support.tau.truth import Step, order_view, seen_as, step

if TYPE_CHECKING:
    from broker.core.words.subject import Interaction
    from tests.support.crm import Crm
    from tests.support.flow.house import House

PLENTY = 100_000_000


@dataclass
class Told:
    """What came of the calls, and where that is not what the ground truth says."""

    calls: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


async def opened(house: House, crm: Crm) -> Shop:
    """Return a shop whose budgets and signers stand in nobody's way.

    The demo's policy decides as it is; only its sums, which a day of one agent would
    reach, and the supervisors' limits are higher.
    """
    house.ports = replace(house.ports, executor=ShopExecutor(crm))
    policy = await house.registry.get("policy", "main")
    assert policy is not None
    budgets = [
        one | ({"limit": PLENTY} if "limit" in one else {})
        for one in policy.body["budgets"]
    ]
    version = policy.body["version"] + 1
    await change_row(house, policy, budgets=budgets, version=version)
    for name in ("alice", "bob"):
        await change_person(house, name, approval_limits={"USD": PLENTY})
    return Shop(house, crm)


async def begin_anew(shop: Shop) -> None:
    """Return the CRM to its first day, and have the broker forget what it moved.

    Conversations speak of the same orders, each as if it was the first: what an earlier
    one returned would count against what was paid.
    """
    shop.crm.reset()
    async with shop.house.admin() as owner:
        await owner.execute("UPDATE budget SET posted = 0, held = 0")


async def replay(
    shop: Shop, name: str, calls: list[dict[str, Any]], told: Told
) -> None:
    """Replay one conversation; what differs from the ground truth is told."""
    customer = _who(shop, calls)
    verifies = calls[0]["function"].startswith("find_user")
    interaction = await shop.interaction("" if verifies else customer)
    tools = retail()

    def read(path: str) -> dict[str, Any]:
        answer = shop.crm.get(path)
        return dict(answer.json()) if answer.status_code == 200 else {}

    for number, call in enumerate(calls):
        one = step(call, read)
        where = f"{name}.{number} {one.tool}"
        consequential = tools[one.tool].tier is Tier.CONSEQUENTIAL
        if consequential:
            await _changed(shop, interaction, one, told, where)
            continue
        if one.tool == "orders.get":
            await shop.ask(interaction, "customers.get")
        record = await shop.ask(interaction, one.tool, **one.arguments)
        done = record is not None and record.state is ActionState.DONE
        told.calls["reads that passed" if done else "reads that failed"] += 1
        matched = record.outcome.result if record and record.outcome else None
        found = not one.fails and one.function.startswith("find_user")
        if found and (matched or {}).get("matched") is not True:
            told.wrong.append(f"{where}: the customer was not found")
        if done is one.fails and one.tool != "customers.verify" and customer:
            told.wrong.append(f"{where}: {record.state if record else 'refused'}")


async def _changed(
    shop: Shop, interaction: Interaction, one: Step, told: Told, where: str
) -> None:
    await shop.prepare(interaction, one)
    before = shop.crm.journal()
    record = await shop.ask(interaction, one.tool, **one.arguments)
    if record is None or record.state is not ActionState.PENDING_APPROVAL:
        told.wrong.append(f"{where}: {record.state if record else 'refused'}")
        return
    told.calls["changes that waited for a person"] += 1
    if shop.crm.journal() != before:
        told.wrong.append(f"{where}: changed before anybody signed")
    ended = await shop.signed(record)
    if one.fails:
        told.calls["changes that the shop refused"] += 1
        if ended.state is not ActionState.FAILED or shop.crm.journal() != before:
            told.wrong.append(f"{where}: {ended.state}, meant to fail")
        return
    told.calls["changes done"] += 1
    if ended.state is not ActionState.DONE or not _same(shop, one):
        told.wrong.append(f"{where}: {ended.state}, {ended.outcome}")


def _same(shop: Shop, one: Step) -> bool:
    """Return whether the CRM has what the ground truth leads to."""
    if "status" not in one.result:
        found = shop.crm.get(f"/customers/{one.customer}").json()
        return bool(found["address"] == one.result["address"])
    wanted = order_view(one.result)
    return seen_as(wanted, shop.crm.order(one.arguments["order_id"])) == wanted


def _who(shop: Shop, calls: list[dict[str, Any]]) -> str:
    """Return whom it is about, if only by the order that a call names."""
    results = [call["result"] for call in calls if isinstance(call["result"], dict)]
    orders = [call["args"]["order_id"] for call in calls if "order_id" in call["args"]]
    found = [one["user_id"] for one in results if "user_id" in one]
    if found or not orders:
        return str(found[0]) if found else ""
    return str(shop.crm.order(orders[0].removeprefix("#"))["customer_id"])
