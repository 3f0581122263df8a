"""`counterfoil policy publish|approve|rollback|log|show|diff`, against a door."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker.cli.exits import Exit
from broker.cli.seed_policy import DEMO, demo_policy
from tests.support.door import PEOPLE, put
from tests.support.identity.served import Desk, served_desk
from tests.support.policies import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

BAN = """
@id("no-large-refund") @clause("X1") @text("no large refund for now")
forbid (principal, action in Action::"money", resource)
when { context.amount > 500001 };
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with served_desk(tmp_path) as made:
        seed = demo_policy(author=PEOPLE["carol"][0], approver=PEOPLE["dave"][0])
        asyncio.run(put(made.door.registry, "policy", "main", seed))
        made.door.registry.entries.clear()
        yield made


def folder(tmp_path: Path, file: str = "", *, old: str = "", new: str = "") -> str:
    made = tmp_path / "folder"
    shutil.copytree(DEMO, made)
    if file:
        text = (made / file).read_text(encoding="utf-8")
        assert old in text
        text = text.replace(old, new) if old else text + new
        (made / file).write_text(text, encoding="utf-8")
    return str(made)


def states(desk: Desk) -> list[tuple[int, str]]:
    rows: Any = desk.run("policy", "log")
    rows = rows if isinstance(rows, list) else [rows]
    return [(row["version"], row["state"]) for row in rows]


def test_a_change_is_proposed_looked_at_approved_and_rolled_back(
    desk: Desk, tmp_path: Path
) -> None:
    wide = folder(tmp_path, "limits.toml", old=LIMIT, new="limit = 2_000_000")
    proposed = desk.run("policy", "publish", wide, code=Exit.PENDING)
    assert (proposed["version"], proposed["state"]) == (2, "proposed")
    assert states(desk) == [(2, "proposed"), (1, "in force")]
    text = desk.say("policy", "diff", "live", "proposal", who="dave")
    assert "changed  budget agent-day" in text
    assert "+limit = 2_000_000" in text

    # In a script, a yes names what was looked at.
    words = ["policy", "approve", "2"]
    assert "--digest" in desk.run(*words, who="dave", code=Exit.USAGE)["hint"]
    wrong = [*words, "--digest", "0" * 64]
    desk.run(*wrong, who="dave", code=Exit.FAILED)
    right = [*words, "--digest", proposed["digest"]]
    desk.run(*right, who="carol", code=Exit.DENIED)
    assert desk.run(*right, who="dave")["state"] == "published"
    assert states(desk) == [(2, "in force"), (1, "earlier")]

    again = desk.run("policy", "rollback", "1", code=Exit.PENDING)
    assert (again["version"], again["rollback_of"]) == (3, 1)
    shown = desk.run("policy", "show", "proposal")
    assert shown["reason"] == "back to version 1"
    words = ["policy", "approve", "3", "--digest", again["digest"]]
    desk.run(*words, who="dave")
    assert states(desk)[0] == (3, "in force")
    live, first = desk.run("policy", "show"), desk.run("policy", "show", "1")
    assert live["policy"] == first["policy"]


def test_a_ban_is_published_by_one_person_at_once(desk: Desk, tmp_path: Path) -> None:
    narrow = folder(tmp_path, "rules.cedar", new=BAN)
    assert desk.run("policy", "publish", narrow, "--now")["state"] == "published"
    assert desk.what() == ["policy.publish"]
    desk.run("policy", "rollback", "1", "--now", code=Exit.DENIED)


def test_what_cannot_be_published_ends_with_one_line(
    desk: Desk, tmp_path: Path
) -> None:
    missing = desk.run("policy", "publish", str(tmp_path / "no"), code=Exit.FAILED)
    assert "no folder" in missing["error"]
    same = folder(tmp_path)
    assert "in force" in desk.run("policy", "publish", same, code=Exit.FAILED)["error"]
    (Path(same) / "rules.cedar").write_text("permit;", encoding="utf-8")
    broken = desk.run("policy", "publish", same, code=Exit.FAILED)
    assert "rules.cedar" in broken["error"]
    desk.run("policy", "withdraw", code=Exit.NOT_FOUND)
    desk.run("policy", "show", "9", code=Exit.NOT_FOUND)
    desk.run("policy", "log", who="alice", code=Exit.DENIED)


def test_a_withdrawn_proposal_can_be_approved_by_nobody(
    desk: Desk, tmp_path: Path
) -> None:
    wide = folder(tmp_path, "limits.toml", old=LIMIT, new="limit = 2_000_000")
    digest = desk.run("policy", "publish", wide, code=Exit.PENDING)["digest"]
    assert desk.run("policy", "withdraw", who="dave")["state"] == "withdrawn"
    words = ["policy", "approve", "2", "--digest", digest]
    desk.run(*words, who="dave", code=Exit.NOT_FOUND)
