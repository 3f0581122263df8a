"""`counterfoil approvals`, as people use it, against a broker's real rooms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from broker import flow
from broker.approving import ending
from broker.cli.approvals import WORD, changes, printable
from broker.cli.exits import Exit
from broker.cli.sharing import HOURS_MAX
from broker.client.keys import ClientKey, write_key
from broker.core.words.action import ActionState
from broker.effects.temporal.keyfile import (
    CODEC_FILE,
    load_codec_keys,
)
from tests.support.approvals.voters import VERY_LARGE, large_refund, state_of
from tests.support.flow.house import PEOPLE
from tests.support.flow.unknowns import unclear_refund
from tests.support.identities import key_of
from tests.support.source import TOP

if TYPE_CHECKING:
    from tests.cli.approvals.conftest import Counter


def test_it_lists_shows_and_signs_exactly_what_was_looked_at(counter) -> None:
    record = counter.do(large_refund(counter.house))
    [row] = counter.run("list")
    assert row["approval"] == record.approval_id
    assert "may sign" in counter.say("list")
    [card] = counter.run("show", record.approval_id)
    text = counter.say("show", record.approval_id)
    assert text.splitlines()[0] == "Refund an amount on an order: 200.00 USD"
    assert "Noah Brown" in text
    words = ("approve", record.approval_id, "--shown", card["shown"])
    [counted] = counter.run(*words)
    assert counted["state"] == "approved"
    assert counter.do(state_of(counter.house, record)) is ActionState.READY
    assert counter.run("list") == []


def test_a_yes_needs_a_look_and_there_is_no_way_around_it(counter) -> None:
    record = counter.do(large_refund(counter.house))
    approval = record.approval_id
    counter.run("approve", approval, "--yes", code=Exit.USAGE)
    counter.run("approve", approval, code=Exit.USAGE, typed=f"{WORD}\n")
    [said] = counter.run("approve", approval, "--shown", "0" * 64, code=Exit.FAILED)
    assert "look at it again" in said["hint"]
    assert counter.do(state_of(counter.house, record)) is ActionState.PENDING_APPROVAL


def test_a_card_that_changed_meanwhile_is_not_signed(counter) -> None:
    record = counter.do(large_refund(counter.house))
    [card] = counter.run("show", record.approval_id)
    where = counter.do(
        counter.house.ports.store.interaction(record.request.interaction_id)
    )
    counter.do(counter.house.say(where, "Stop!"))
    words = ("approve", record.approval_id, "--shown", card["shown"])
    counter.run(*words, code=Exit.FAILED)
    assert counter.do(state_of(counter.house, record)) is ActionState.PENDING_APPROVAL


def test_while_signatures_are_missing_the_command_says_pending(counter) -> None:
    record = counter.do(large_refund(counter.house, VERY_LARGE))
    for who, code in (("alice", Exit.PENDING), ("bob", Exit.OK)):
        [card] = counter.run("show", record.approval_id, who=who)
        words = ("approve", record.approval_id, "--shown", card["shown"])
        counter.run(*words, who=who, code=code)
    assert counter.do(state_of(counter.house, record)) is ActionState.READY


def test_a_no_takes_one_command_and_its_reason_is_kept(counter) -> None:
    record = counter.do(large_refund(counter.house))
    words = ("reject", record.approval_id, "--reason", "wrong customer")
    [counted] = counter.run(*words)
    assert counted["state"] == "rejected"
    after = counter.do(counter.house.ports.store.action(record.request.action_id))
    assert after.outcome.detail == "wrong customer"


def test_the_exit_code_says_what_went_wrong(counter) -> None:
    record = counter.do(large_refund(counter.house))
    approval = record.approval_id
    counter.run("show", counter.house.ports.ids.new(), code=Exit.NOT_FOUND)
    counter.run("show", approval, who="carol", code=Exit.NOT_FOUND)
    counter.run("show", approval, who="", code=Exit.USAGE)
    counter.run("reject", approval, who="nobody", code=Exit.NOT_FOUND)
    counter.do(ending.withdraw(counter.house.ports, record))
    counter.run("reject", approval, code=Exit.FAILED)
    counter.url = "http://127.0.0.1:9"
    counter.run("list", code=Exit.UNREACHABLE)


def test_somebody_elses_key_file_is_refused(counter) -> None:
    record = counter.do(large_refund(counter.house))
    forged = counter.state / "forged.jwk"
    key = ClientKey(f"person:{PEOPLE['alice']}", "alice", key_of("bob"))
    write_key(forged, key)
    words = ("reject", record.approval_id, "--key", str(forged))
    counter.run(*words, who="", code=Exit.DENIED)


def test_a_large_limit_is_needed_and_the_refusal_says_so(counter) -> None:
    record = counter.do(large_refund(counter.house, 210_000))
    [card] = counter.run("show", record.approval_id)
    assert card["you"]["why_not"]["code"] == "approver_limit"
    assert "cannot sign it" in counter.say("show", record.approval_id)
    words = ("approve", record.approval_id, "--shown", card["shown"])
    counter.run(*words, code=Exit.DENIED)


def test_watching_says_what_waits(counter) -> None:
    record = counter.do(large_refund(counter.house))
    [event] = counter.run("watch", "--once")
    assert (event["event"], event["approval"]) == ("waits", record.approval_id)
    assert "waits" in counter.say("watch", "--once")


def test_changes_are_told_once() -> None:
    row: dict[str, Any] = {"votes": 0}
    assert list(changes({}, {"a": row})) == [{"event": "waits", **row}]
    assert list(changes({"a": row}, {"a": row})) == []
    voted = {"votes": 1}
    assert list(changes({"a": row}, {"a": voted})) == [{"event": "vote", **voted}]
    assert list(changes({"a": row}, {})) == [{"event": "ended", **row}]


def test_a_card_cannot_move_the_cursor_or_turn_writing_around(counter) -> None:
    hostile = "ok\x1b[2J\x07\u202e\napproval   forged"
    assert printable(hostile) == "ok\ufffd[2J\ufffd\ufffd\ufffdapproval   forged"
    record = counter.do(large_refund(counter.house))
    where = counter.do(
        counter.house.ports.store.interaction(record.request.interaction_id)
    )
    counter.do(counter.house.say(where, hostile))
    text = counter.say("show", record.approval_id)
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if line.startswith("approval")] == [
        f"approval   {record.approval_id}"
    ]


def at_a_terminal(counter: Counter, typed: str, *words: str) -> tuple[int, str]:
    """Run a command whose input is a terminal; return its exit code and output."""
    ours, its = os.openpty()
    where = ["--state", str(counter.state), "--url", counter.url, "--as", "alice"]
    command = [sys.executable, "-P", "-m", "broker.cli", "approvals", *words, *where]
    with subprocess.Popen(
        command,
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=TOP,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    ) as process:
        os.close(its)
        os.write(ours, typed.encode())
        output, _ = process.communicate(timeout=60)
        os.close(ours)
    return process.returncode, output


def test_at_a_terminal_the_word_must_be_typed(counter) -> None:
    record = counter.do(large_refund(counter.house, 2_500, to="gift_card_9999999"))
    words = ("approve", record.approval_id)
    code, output = at_a_terminal(counter, "I called\ny\n", *words)
    assert code == Exit.FAILED, output
    assert "WRONG?     /payment_method_id = gift_card_9999999" in output
    assert "nothing was signed" in output
    code, output = at_a_terminal(counter, f"I called\n{WORD}\n", *words)
    assert code == Exit.OK, output
    votes, _ = counter.do(counter.house.ports.desk.votes(record.approval_id))
    assert [vote.reason for vote in votes] == ["I called"]


def test_an_unknown_outcome_is_listed_and_resolved_by_a_person(counter) -> None:
    action = counter.do(unclear_refund(counter.house, 1_000))
    assert counter.run("unknown")[0]["action"] == action
    text = counter.say("unknown")
    assert "may resolve" in text
    assert "10.00 USD" in text
    because = ("--reason", "the CRM shows R-7")
    for words in (
        ("--happened",),
        because,
        ("--not-happened", "--amount", "5", *because),
    ):
        counter.run("resolve", action, *words, code=Exit.USAGE)
    counter.run(
        "resolve", action, "--happened", *because, who="carol", code=Exit.DENIED
    )
    paid = ("resolve", action, "--happened", "--amount", "900", *because)
    assert counter.run(*paid)[0]["state"] == "done"
    assert counter.say(*paid) == "resolved before: done\n"
    assert "not unknown any more" in counter.say(*paid, who="bob", code=Exit.FAILED)
    assert counter.do(counter.house.posted()) == 900
    assert counter.run("unknown") == []


def test_a_refund_is_taken_back_from_the_command_line(counter) -> None:
    async def refunded() -> str:
        interaction = await counter.house.interaction()
        await counter.house.read_order(interaction)
        ask = counter.house.refund(interaction, 1_000)
        done = await flow.submit(counter.house.ports, ask)
        assert done.record is not None
        return done.record.request.action_id

    action = counter.do(refunded())
    words = ("undo", action, "--reason", "by mistake")
    [asked] = counter.run(*words, code=Exit.PENDING, of="actions")
    assert asked["status"] == "pending_approval"
    [waits] = counter.run("list", who="bob")
    assert waits["action"] == asked["action_id"]


def test_a_round_of_reconciling_says_by_what_each_was_found(counter) -> None:
    counter.house.executor.reaches = True
    action = counter.do(unclear_refund(counter.house, 1_000))
    [row] = counter.run("reconcile")
    assert (row["action"], row["state"], row["by"]) == (action, "done", "upstream")
    assert counter.do(counter.house.posted()) == 1_000
    assert counter.run("reconcile") == []


def test_one_is_claimed_asked_about_and_given_back(counter) -> None:
    record = counter.do(large_refund(counter.house))
    approval = record.approval_id
    assert "yours until" in counter.say("claim", approval)
    [said] = counter.run("claim", approval, who="bob", code=Exit.FAILED)
    assert "somebody else" in said["error"]
    assert "you" in counter.say("list").splitlines()[1]
    counter.run("ask", approval, "Which parcel?")
    text = counter.say("show", approval, who="bob")
    assert "asked:     Which parcel?" in text
    assert "works on it: person" in text
    assert counter.say("release", approval) == "given back\n"
    assert counter.say("release", approval) == "it was not yours\n"


def test_several_are_rejected_with_one_reason_and_the_list_is_filtered(
    counter,
) -> None:
    first, second = (
        counter.do(large_refund(counter.house, amount)) for amount in (21_000, 22_000)
    )
    [row, _] = counter.run("list", "--order", "amount", "--tool", "orders.refund")
    assert row["approval"] == second.approval_id
    assert counter.run("list", "--customer", "nobody") == []
    words = ("reject", first.approval_id, second.approval_id, "--reason", "fraud")
    assert [one["state"] for one in counter.run(*words)] == ["rejected"] * 2
    after = counter.do(counter.house.ports.store.action(first.request.action_id))
    assert after.outcome.detail == "fraud"
    assert counter.run("list") == []


def test_somebody_says_that_they_are_away_and_back(counter) -> None:
    assert counter.say("away") == "you are here\n"
    words = ("away", "--deputy", PEOPLE["bob"], "--hours", str(HOURS_MAX))
    [gone] = counter.run(*words)
    assert gone["away"]["deputy"] == PEOPLE["bob"]
    assert "stands in" in counter.say("away")
    more = (*words[:-1], str(HOURS_MAX + 1))
    assert counter.invoke(*more, who="alice").exit_code == Exit.USAGE
    counter.run(*words, "--back", code=Exit.USAGE)
    assert counter.say("away", "--back") == "you are here\n"


def test_watching_follows_the_stream_as_it_changes(counter) -> None:
    where = ["--state", str(counter.state), "--url", counter.url, "--as", "alice"]
    command = [sys.executable, "-P", "-m", "broker.cli", "approvals", "watch", *where]
    with subprocess.Popen(
        [*command, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TOP)},
    ) as watching:
        try:
            assert watching.stdout is not None
            record = counter.do(large_refund(counter.house))
            seen = [json.loads(watching.stdout.readline())]
            counter.run("claim", record.approval_id, who="bob")
            seen.append(json.loads(watching.stdout.readline()))
            counter.do(ending.withdraw(counter.house.ports, record))
            seen.append(json.loads(watching.stdout.readline()))
        finally:
            watching.terminate()
    assert [one["event"] for one in seen] == ["waits", "claim", "ended"]
    assert {one["approval"] for one in seen} == {record.approval_id}


def test_the_codecs_key_is_rotated_by_somebody_and_only_if_the_log_says_so(
    counter,
) -> None:
    file = counter.state / "broker" / CODEC_FILE
    old = load_codec_keys(file).keys[0]
    counter.run("rotate", of="codec", who="alice", code=Exit.DENIED)
    assert load_codec_keys(file).keys[0] == old
    [said] = counter.run("rotate", "--reason", "yearly", of="codec", who="carol")
    assert said["newest"] != old.kid
    assert [one.kid for one in load_codec_keys(file).keys] == said["keys"]
    entries = counter.do(counter.house.all_entries())
    [entry] = [e for e in entries if e["detail"].get("what") == "codec_key.rotate"]
    assert entry["detail"]["by"] == f"person:{PEOPLE['carol']}"
    assert entry["detail"]["seals"] == said["newest"]
