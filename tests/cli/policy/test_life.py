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

if TYPE_CHECKING:
    from collections.abc import Iterator

BAN = '\n@id("no-refunds") forbid(principal, action in Action::"money", resource);\n'


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with served_desk(tmp_path) as made:
        seed = demo_policy(author=PEOPLE["carol"][0], approver=PEOPLE["dave"][0])
        asyncio.run(put(made.door.registry, "policy", "main", seed))
        made.door.registry.entries.clear()
        yield made


def folder(tmp_path: Path, name: str, *, old: str = "", new: str = "") -> str:
    made = tmp_path / name
    shutil.copytree(DEMO, made)
    rules = made / "rules.cedar"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace(old, new) if old else text + new, encoding="utf-8")
    return str(made)


def states(desk: Desk) -> list[tuple[int, str]]:
    rows: Any = desk.run("policy", "log")
    rows = rows if isinstance(rows, list) else [rows]
    return [(row["version"], row["state"]) for row in rows]


def test_a_change_is_proposed_looked_at_approved_and_rolled_back(
    desk: Desk, tmp_path: Path
) -> None:
    wide = folder(tmp_path, "wide", old="> 500000", new="> 600000")
    proposed = desk.run("policy", "publish", wide, code=Exit.PENDING)
    assert (proposed["version"], proposed["state"]) == (2, "proposed")
    assert states(desk) == [(2, "proposed"), (1, "in force")]
    text = desk.say("policy", "diff", "live", "proposal", who="dave")
    assert "changed  rule refund-ceiling" in text
    assert "+when { context.amount > 600000 };" in text

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
    narrow = folder(tmp_path, "narrow", new=BAN)
    assert desk.run("policy", "publish", narrow, "--now")["state"] == "published"
    assert desk.what() == ["policy.publish"]
    desk.run("policy", "rollback", "1", "--now", code=Exit.DENIED)


def test_what_cannot_be_published_ends_with_one_line(
    desk: Desk, tmp_path: Path
) -> None:
    missing = desk.run("policy", "publish", str(tmp_path / "no"), code=Exit.FAILED)
    assert "no folder" in missing["error"]
    broken = folder(tmp_path, "broken", old="context.amount", new="context.sum")
    assert "rule" in desk.run("policy", "publish", broken, code=Exit.FAILED)["error"]
    same = folder(tmp_path, "same")
    assert "in force" in desk.run("policy", "publish", same, code=Exit.FAILED)["error"]
    desk.run("policy", "withdraw", code=Exit.NOT_FOUND)
    desk.run("policy", "show", "9", code=Exit.NOT_FOUND)
    desk.run("policy", "log", who="alice", code=Exit.DENIED)


def test_a_withdrawn_proposal_can_be_approved_by_nobody(
    desk: Desk, tmp_path: Path
) -> None:
    wide = folder(tmp_path, "wide", old="> 500000", new="> 600000")
    digest = desk.run("policy", "publish", wide, code=Exit.PENDING)["digest"]
    assert desk.run("policy", "withdraw", who="dave")["state"] == "withdrawn"
    words = ["policy", "approve", "2", "--digest", digest]
    desk.run(*words, who="dave", code=Exit.NOT_FOUND)
