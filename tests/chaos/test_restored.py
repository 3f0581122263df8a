"""A real stack whose database is restored from a backup sends nothing a second time."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from broker.cli.demo.command import Teller, fresh_stack
from broker.cli.demo.story import waiting
from broker.cli.demo.world import ORDER, PAYEE, World, open_world
from broker.cli.stack.running import running
from broker.cli.stack.state import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from broker.client.answers import Answer

SMALL, LARGE = 100, 15_000
COMMAND_S_MAX = 180.0


def counterfoil(state: Path, *words: str, code: int = 0) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.cli", *words, "--state", str(state)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        check=False,
    )
    assert done.returncode == code, (words, done.stdout[-2_000:], done.stderr[-2_000:])
    lines = done.stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def at(state: Path, play: Callable[[World], Awaitable[Any]]) -> Any:
    async def opened() -> Any:
        found = running(state)
        assert found is not None
        async with open_world(
            state, base_url=found.issuer, crm_url=found.crm_url
        ) as world:
            return await play(world)

    return asyncio.run(opened())


async def refund(world: World, interaction: str, amount: int) -> Answer:
    return await world.agent.act(
        "orders.refund",
        {
            "order_id": ORDER,
            "amount_minor_units": amount,
            "currency": "USD",
            "payment_method_id": PAYEE,
        },
        interaction=interaction,
        idempotency_key=f"r-{amount}",
    )


def copy(what: Path, to: Path) -> None:
    """Copy a folder with everything as it is, owners too."""
    subprocess.run(["cp", "-a", str(what), str(to)], check=True)


def again(state: Path) -> None:
    counterfoil(state, "up", "--detach", "--bare", "--brokers", "1", "--workers", "1")


@pytest.mark.timeout(400)
def test_what_was_executed_after_the_backup_is_not_executed_again() -> None:
    with fresh_stack(Teller(slow=False, as_json=True), brokers=1, workers=1) as state:

        async def before(world: World) -> tuple[str, str, str]:
            interaction = await world.conversation()
            for tool, arguments in (
                ("customers.get", {}),
                ("orders.get", {"order_id": ORDER}),
            ):
                read = await world.agent.act(tool, arguments, interaction=interaction)
                assert read.checked()["status"] == "done"
            asked = (await refund(world, interaction, LARGE)).checked()
            approval = await waiting(world, asked["action_id"])
            return interaction, asked["action_id"], approval

        interaction, large, approval = at(state, before)
        counterfoil(state, "down")
        backup = state.parent / "backup"
        copy(state / "postgres", backup)
        again(state)

        async def after(world: World) -> str:
            (await world.alice.vote(approval, "approve")).checked()
            done = await world.agent.wait(large, timeout_s=60)
            assert done.body["status"] == "done"
            small = (await refund(world, interaction, SMALL)).checked()
            assert small["status"] == "done"
            return str(small["action_id"])

        small = at(state, after)
        counterfoil(state, "down")
        shutil.rmtree(state / "postgres")
        copy(backup, state / "postgres")
        counterfoil(state, "audit", "recover", "--yes", "--reason", "a restore")
        again(state)

        async def held(world: World) -> None:
            read = await world.agent.act(
                "orders.get", {"order_id": ORDER}, interaction=interaction
            )
            assert (read.status, read.body["code"]) == (503, "restored")
            vote = await world.alice.vote(approval, "approve")
            assert (vote.status, vote.body["code"]) == (503, "restored")
            assert await world.shop.refunds(ORDER) == [LARGE, SMALL]

        at(state, held)
        words = ("--reason", "compared", "--as", "carol", "--json")
        [agreed] = counterfoil(state, "audit", "agree", *words)
        assert (agreed["held"], agreed["lost"]) == ([large], [small])
        # The sweeper may have been faster; then there is nothing left to reconcile.
        who = ("--as", "carol", "--json")
        found = counterfoil(state, "approvals", "reconcile", *who)
        assert [row for row in found if row["state"] != "done"] == []

        async def end(world: World) -> None:
            ended = await world.agent.wait(large, timeout_s=30)
            assert ended.checked()["status"] == "done"
            assert await world.shop.refunds(ORDER) == [LARGE, SMALL]

        at(state, end)
