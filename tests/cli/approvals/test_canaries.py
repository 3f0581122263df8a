"""`counterfoil canaries`: what docs/canaries.md shows, command by command."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from broker.cli.exits import Exit
from broker.registry.vigilance.rows import RIGHT_KIND, Right, right_body
from tests.support.approvals.voters import change_person
from tests.support.flow.house import AGENT_ID, PEOPLE, put_row
from tests.support.source import TOP

if TYPE_CHECKING:
    from tests.cli.approvals.conftest import Counter

PAGE = (TOP / "docs" / "canaries.md").read_text(encoding="utf-8")
# In this house bob is the other one.
REAL = {"AGENT": AGENT_ID, "PERSON": PEOPLE["alice"], "dave": "bob"}


def shown(verb: str) -> list[list[str]]:
    """Return the words of the page's commands of one kind, made real."""
    lines = re.findall(rf"^counterfoil canaries ({verb}\b.*)$", PAGE, re.MULTILINE)
    assert lines
    return [[REAL.get(word, word) for word in shlex.split(line)] for line in lines]


def play(counter: Counter, words: list[str]) -> Any:
    """Run a command as whoever it names; return the outcome and what it printed."""
    at = words.index("--as")
    who, rest = words[at + 1], words[:at] + words[at + 2 :]
    done = counter.invoke(*rest, who=who, of="canaries")
    return done.exit_code, done.output


@pytest.fixture(autouse=True)
def _bob_decides_too(counter: Counter) -> None:
    roles = ["supervisor", "security"]
    counter.do(change_person(counter.house, "bob", roles=roles))


def test_two_people_switch_them_on_as_the_page_shows_and_one_off(
    counter: Counter,
) -> None:
    first, second = shown("on")
    code, said = play(counter, first)
    assert (code, "a second must say so" in said) == (Exit.PENDING, True)
    code, said = play(counter, second)
    assert (code, "canaries are on, 1 a day" in said) == (Exit.OK, True)
    [status] = shown("status")
    assert "canaries are on" in play(counter, status)[1]
    [off] = shown("off")
    assert play(counter, off) == (Exit.OK, "canaries are off\n")


def test_without_where_the_staff_was_told_the_notice_is_printed(
    counter: Counter,
) -> None:
    done = counter.invoke("on", "--agent", AGENT_ID, who="carol", of="canaries")
    assert done.exit_code == Exit.USAGE
    assert "--notice-shown" in done.output
    assert "made up, must be rejected" in " ".join(done.output.split())
    [said] = counter.run("status", who="carol", of="canaries")
    assert said["staff_notice"]


def test_two_others_give_a_right_back_as_the_page_shows(counter: Counter) -> None:
    lost = right_body(Right(PEOPLE["alice"], suspended=True, missed=4, seen=4))
    counter.do(put_row(counter.house, RIGHT_KIND, PEOPLE["alice"], lost))
    first, second = shown("give-back")
    code, said = play(counter, first)
    assert (code, "somebody else must confirm" in said) == (Exit.PENDING, True)
    assert play(counter, first)[0] == Exit.DENIED
    assert play(counter, second) == (Exit.OK, "given back\n")
    people = counter.do(counter.house.ports.authority.approvers())
    assert not people[PEOPLE["alice"]].suspended


def test_whoever_has_no_key_here_is_told_who_has(counter: Counter) -> None:
    done = counter.invoke("status", who="nobody", of="canaries")
    assert done.exit_code == Exit.NOT_FOUND
    assert "there are: alice, bob, carol, olivia" in done.output
    for path in (counter.state / "clients" / "people").iterdir():
        path.unlink()
    done = counter.invoke("status", who="alice", of="canaries")
    assert "`counterfoil up` makes a demo state" in done.output
