"""Votes from the console: the same rules as every vote, and another signature."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker import flow
from broker.api.console.room import STREAMS_MAX
from broker.approving import console
from broker.core.jws import unpack
from broker.core.words.action import ActionState
from broker.core.words.approval import CONSOLE_VOTE_TYP, ApprovalState, VoteWord
from broker.effects.keeping import rows
from tests.support.approvals.voters import (
    LARGE,
    VERY_LARGE,
    approve,
    change_person,
    large_refund,
    reject,
    state_of,
    voter,
)
from tests.support.flow.house import AGENT_ID

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord
    from tests.api.console.conftest import Browser
    from tests.support.flow.house import House

THIEF = "gift_card_9999999"


async def vote_of(house: House) -> str:
    """Return the one vote that is stored, as it was signed."""
    sql = "SELECT p.* FROM vote v JOIN payload p USING (payload_id)"
    [row] = await house.database.rows(sql)
    opened = await house.ports.vault.open(rows.draft_from(row), row["sealed"])  # type: ignore[attr-defined]
    return str(opened["jws"])


async def test_an_approval_from_the_console_is_executed_once_and_says_who_signed(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    assert "200.00 USD" in (await browser.get("/console")).text
    answer = await browser.vote(record, "approve")
    assert answer.status_code == 200, answer.text
    assert "Approved." in answer.text
    assert await state_of(browser.house, record) is ActionState.READY
    await flow.settle(browser.house.ports, record.request.action_id)
    assert browser.house.executor.amounts() == [LARGE]
    assert unpack(await vote_of(browser.house)).typ == CONSOLE_VOTE_TYP
    entries = await browser.house.entries(record.request.action_id)
    [entry] = [one for one in entries if one["kind"] == "approve.vote"]
    detail = entry["detail"]
    assert (detail["typ"], detail["strength"]) == (CONSOLE_VOTE_TYP, "link")
    assert detail["session"]
    assert "executed once" in (await browser.card(record))[0]
    late = await browser.vote(record, "reject")
    assert late.status_code == 409
    assert "has ended" in late.text


async def test_fifty_presses_of_one_button_are_one_vote_and_one_refund(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    _, fields = await browser.card(record)
    answers = await asyncio.gather(
        *(browser.send(record, "approve", fields) for _ in range(50))
    )
    # Whoever comes late is told that it has ended, and by nothing worse.
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert 200 in {answer.status_code for answer in answers}
    await flow.settle(browser.house.ports, record.request.action_id)
    assert browser.house.executor.amounts() == [LARGE]
    counted = "SELECT count(*) FROM vote"
    assert await browser.house.database.value(counted) == 1


@pytest.mark.control("6.3")
async def test_where_the_row_does_not_let_the_console_vote_it_does_not(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in("bob")
    for word in ("approve", "reject"):
        answer = await browser.vote(record, word)
        assert answer.status_code == 403
        assert "with your own key" in answer.text
    assert await state_of(browser.house, record) is ActionState.PENDING_APPROVAL


async def test_a_vote_stops_counting_with_the_leave_to_sign_it(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    await browser.vote(record, "approve")
    await change_person(browser.house, "alice", console_votes=False)
    ended = await flow.settle(browser.house.ports, record.request.action_id)
    assert ended is not None
    assert ended.state is ActionState.REFUSED
    assert browser.house.executor.amounts() == []


async def test_in_production_no_vote_of_the_console_counts(browser: Browser) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    await browser.vote(record, "approve")
    browser.house.ports.desk._console = {}  # type: ignore[attr-defined]  # noqa: SLF001
    ended = await flow.settle(browser.house.ports, record.request.action_id)
    assert ended is not None
    assert ended.state is ActionState.REFUSED


@pytest.mark.control("6.3")
async def test_one_person_at_the_console_and_with_a_key_is_one_person(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house, VERY_LARGE)
    await browser.sign_in()
    answer = await browser.vote(record, "approve")
    assert "1 more signature is needed" in answer.text
    counted = await approve(browser.house, "alice", record.approval_id)
    assert (counted.state, counted.approved) == (ApprovalState.PENDING, 1)
    counted = await approve(browser.house, "bob", record.approval_id)
    assert counted.state is ApprovalState.APPROVED


async def test_a_tainted_argument_is_marked_and_a_yes_needs_a_typed_reason(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house, to=THIEF)
    await browser.sign_in()
    page, fields = await browser.card(record)
    assert f"<mark>{THIEF}</mark>" in page
    assert 'class="approve"' not in page
    assert "data-needs-reason" in page
    answer = await browser.send(record, "approve", fields | {"reason": "  "})
    assert answer.status_code == 422
    assert "say why" in answer.text
    answer = await browser.send(record, "approve", fields | {"reason": "I\ncalled"})
    assert answer.status_code == 200


async def test_a_no_costs_one_press_whatever_was_found_or_changed(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house, to=THIEF)
    await browser.sign_in()
    _, fields = await browser.card(record)
    await say(browser, record, "no, please do not")
    answer = await browser.send(record, "reject", fields)
    assert answer.status_code == 200
    assert "Rejected." in answer.text
    assert await state_of(browser.house, record) is ActionState.REFUSED


async def test_a_card_that_changed_is_looked_at_again_before_a_yes(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    _, fields = await browser.card(record)
    await say(browser, record, "no, please do not")
    now = await browser.get(
        f"/console/approvals/{record.approval_id}/now?shown={fields['shown']}"
    )
    assert "changed since you looked" in now.text
    assert disabled(now.text, "approve")
    assert not disabled(now.text, "reject")
    answer = await browser.send(record, "approve", fields | {"reason": "kept text"})
    assert answer.status_code == 409
    assert "Look again" in answer.text
    assert ">kept text</textarea>" in answer.text
    assert "please do not" in answer.text
    assert (await browser.vote(record, "approve")).status_code == 200


async def test_a_card_that_has_ended_says_so_and_its_buttons_are_dead(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    await reject(browser.house, "bob", record.approval_id)
    for path in ("", "/now?shown=x"):
        page = await browser.get(f"/console/approvals/{record.approval_id}{path}")
        assert "Rejected." in page.text
        assert disabled(page.text, "approve")
        assert disabled(page.text, "reject")
    assert "Ended" in (await browser.get("/console/queue")).text
    found = await console.lately(browser.house.ports, voter(browser.house, "alice"))
    assert [one.approval_id for one in found] == [record.approval_id]
    assert len(found) <= console.ENDED_SHOWN_MAX


async def test_a_card_past_its_time_is_expired_before_anybody_says_so(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    async with browser.house.admin() as connection:
        await connection.execute(
            "UPDATE approval SET expires_at = now() - interval '1 second'"
        )
    page, fields = await browser.card(record)
    assert "Expired: nobody signed in time" in page
    assert disabled(page, "approve")
    assert (await browser.send(record, "approve", fields)).status_code == 409


async def test_an_action_that_can_no_longer_be_executed_is_stale(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    _, fields = await browser.card(record)
    await browser.house.revoke(f"agent:{AGENT_ID}")
    page = await browser.get(f"/console/approvals/{record.approval_id}")
    assert "Stale:" in page.text
    assert "<button name=" not in page.text
    assert (await browser.send(record, "approve", fields)).status_code == 409
    assert browser.house.executor.amounts() == []


async def test_a_vote_without_the_pages_token_is_nobodys(browser: Browser) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    _, fields = await browser.card(record)
    path = f"/console/approvals/{record.approval_id}/votes"
    for site, changes in (
        ("same-origin", {"csrf": ""}),
        ("same-origin", {"csrf": "0" * 64}),
        ("same-site", {}),
        ("none", {}),
    ):
        data = {"word": "approve"} | fields | changes
        headers = {"Sec-Fetch-Site": site}
        answer = await browser.http.post(path, data=data, headers=headers)
        assert answer.status_code == 403
    odd = await browser.send(record, "perhaps", fields)
    assert odd.status_code == 422
    browser.http.cookies.clear()
    answer = await browser.send(record, "approve", fields)
    assert answer.headers["hx-redirect"] == "/console/sign-in"
    assert await state_of(browser.house, record) is ActionState.PENDING_APPROVAL
    assert {"approve", "reject"} == {*VoteWord}


async def test_another_role_sees_neither_list_nor_card(browser: Browser) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in("carol")
    assert "Nothing waits for you" in (await browser.get("/console")).text
    for approval_id in (record.approval_id, "x", record.request.action_id):
        page = await browser.get(f"/console/approvals/{approval_id}")
        assert page.status_code == 404


async def test_a_tab_hears_of_changes_until_the_replica_stops(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    room = browser.office.app.state.console
    stream = asyncio.create_task(browser.get("/console/events"))
    async with asyncio.timeout(10):
        while room.streams == 0:  # noqa: ASYNC110  (it tells nobody)
            await asyncio.sleep(0.01)
        await browser.house.ports.desk.pulse()
        await asyncio.sleep(0.6)
        await reject(browser.house, "bob", record.approval_id)
        await asyncio.sleep(1.2)
    room.closing.set()
    heard = (await stream).text
    assert heard.count("event: changed") == 1
    known = heard.split("id: ")[1].split("\n")[0]
    # Who comes back is told what they missed.
    back = await browser.get("/console/events", headers={"Last-Event-ID": known})
    assert back.headers["content-type"].startswith("text/event-stream")
    room.streams = STREAMS_MAX
    assert (await browser.get("/console/events")).status_code == 503
    room.streams = STREAMS_MAX - 1
    assert (await browser.get("/console/events")).status_code == 200


async def say(browser: Browser, record: ActionRecord, text: str) -> None:
    """Let the customer say something more in the conversation."""
    where = record.request.interaction_id
    interaction = await browser.house.ports.store.interaction(where)
    assert interaction is not None
    await browser.house.say(interaction, text)


def disabled(page: str, word: str) -> bool:
    """Return whether a button is there and dead."""
    [button] = [
        line.strip()
        for line in page.splitlines()
        if f'name="word" value="{word}"' in line
    ]
    return " disabled" in button.split(">")[0]
