"""`counterfoil policy replay` and `policy shadow`, against a real house over HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker import rehearsal
from broker.api.rehearsals import REPLAY_DAYS_MAX
from broker.cli.exits import Exit
from broker.cli.policy.rehearsing import money, summary
from broker.cli.seed_policy import DEMO
from broker.client.keys import ClientKey, write_key
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from tests.policy.test_rehearsal import later
from tests.support.approvals.office import serve_office
from tests.support.approvals.voters import VERY_LARGE, large_refund
from tests.support.cli.command import invoke
from tests.support.flow.house import PEOPLE
from tests.support.identities import key_of

if TYPE_CHECKING:
    from tests.support.flow.house import House


class Shell:
    """A person at the command line of a served house."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.keys = folder
        for name in ("carol", "alice"):
            key = ClientKey(f"person:{PEOPLE[name]}", name, key_of(name))
            write_key(folder / f"{name}.jwk", key)

    async def run(self, *words: str, code: int = Exit.OK, who: str = "carol") -> str:
        where = ["--url", self.url, "--key", str(self.keys / f"{who}.jwk")]
        done = await asyncio.to_thread(invoke, "policy", *words, *where)
        assert done.exit_code == code, done.output
        return str(done.output)

    async def json(self, *words: str, **more: Any) -> Any:
        return json.loads(await self.run(*words, "--json", **more))


def wrong_folder(tmp_path: Path) -> str:
    """Return the demo's folder with the threshold for two supervisors moved."""
    made = tmp_path / "wrong"
    shutil.copytree(DEMO, made)
    table = made / "appetite.toml"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace('"1000.00"', '"2000.00"'), encoding="utf-8")
    return str(made)


async def test_a_wrong_change_is_seen_in_money_before_anybody_publishes_it(
    house: House, tmp_path: Path
) -> None:
    await large_refund(house, VERY_LARGE)
    wrong = wrong_folder(tmp_path)
    async with serve_office(house) as url:
        shell = Shell(url, tmp_path)
        text = await shell.run("replay", "--days", "1", "--policy", wrong)
        (row,) = (line for line in text.splitlines() if "orders.refund" in line)
        assert "escalate 2 supervisor" in row
        assert "care-agent" in row
        assert "1,100.00 USD" in row
        assert "1 of 3 actions come out differently" in text
        words = ["replay", "--days", "1", "--policy"]
        await shell.run(*words, wrong, "--strict", code=Exit.FAILED)
        same = await shell.json(*words, str(DEMO), "--strict")
        assert (same["replayed"], same["flips"]) == (3, [])

        assert (await shell.json("shadow", "--status"))["state"] == "off"
        assert (await shell.json("shadow", wrong))["state"] == "on"
        status = await shell.json("shadow", "--status")
        assert (status["state"], status["tally"]) == ("on", None)
        await large_refund(house, VERY_LARGE + 1)
        await rehearsal.follow(later(house))
        status = await shell.json("shadow", "--status")
        assert status["tally"]["flips"][0]["minor_units"] == VERY_LARGE + 1
        text = await shell.run("shadow", "--status")
        assert "1 of 3 actions come out differently" in text
        assert (await shell.json("shadow", "off"))["state"] == "off"

        far = ["replay", "--days", str(REPLAY_DAYS_MAX + 1), "--policy", wrong]
        assert "/days" in await shell.run(*far, code=Exit.FAILED)
        most = ["replay", "--days", str(REPLAY_DAYS_MAX), "--policy", wrong]
        await shell.run(*most)
        await shell.run(*words, wrong, who="alice", code=Exit.DENIED)
        await shell.run("shadow", "off", who="alice", code=Exit.DENIED)
        await shell.run("shadow", code=Exit.USAGE)
        broken = tmp_path / "wrong" / "rules.cedar"
        broken.write_text("permit;", encoding="utf-8")
        assert "error:" in await shell.run("shadow", wrong, code=Exit.FAILED)


def test_sums_are_shown_as_money_however_large() -> None:
    flip = {"currency": "USD", "minor_units": 123}
    assert money(flip) == "1.23 USD"
    assert money({"currency": "", "minor_units": 0}) == ""
    huge = flip | {"minor_units": AMOUNT_MINOR_UNITS_MAX + 1}
    assert money(huge).endswith("minor units USD")
    tally = {"flipped": 0, "replayed": 2, "left_out": {"erased": 1, "unreadable": 0}}
    assert [*summary(tally)][1:] == ["left out: 1 (erased)"]
