"""How people share work at the console: claims, questions, pages, many noes at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from broker.api.console.drawing import hour
from broker.api.console.sharing import MARKED_MAX
from broker.approving import asking, claiming
from broker.core.approvals.questions import QUESTION_CHARS_MAX, QUESTIONS_MAX
from broker.core.words.action import ActionState
from tests.api.console.conftest import SAME_SITE, csrf_of
from tests.support.approvals.voters import VERY_LARGE, large_refund, state_of, voter

if TYPE_CHECKING:
    import httpx

    from broker.core.words.action import ActionRecord
    from tests.api.console.conftest import Browser

HTMX = SAME_SITE | {"HX-Request": "true"}
FORMS: dict[str, Any] = {"claim": {"word": "claim"}, "questions": {"question": "?"}}


async def press(
    browser: Browser,
    record: ActionRecord,
    what: str,
    *,
    headers: dict[str, str] | None = None,
    **changes: str,
) -> httpx.Response:
    """Look at a card, and send one of its small forms."""
    _, fields = await browser.card(record)
    return await browser.http.post(
        f"/console/approvals/{record.approval_id}/{what}",
        data=fields | changes,
        headers=headers or HTMX,
    )


def words_of(page: str) -> str:
    """Return what stands on a page, without its marks."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


async def test_a_card_is_claimed_and_given_back_by_one_button(browser: Browser) -> None:
    house, record = browser.house, await large_refund(browser.house)
    await browser.sign_in()
    page, _ = await browser.card(record)
    assert "Nobody works on this." in page
    taken = await press(browser, record, "claim", word="claim", reason="half <a")
    assert taken.status_code == 200, taken.text
    assert re.search(r"You work on this, until \d\d:\d\d UTC", words_of(taken.text))
    assert "half &lt;a</textarea>" in taken.text
    assert "<html" not in taken.text
    [one] = await house.ports.queue.claims(voter(house, "alice").subject_id)
    assert one.approval_id == record.approval_id
    assert "you work on it" in (await browser.get("/console/queue")).text
    back = await press(browser, record, "claim", word="release")
    assert "Nobody works on this." in back.text
    again = await press(browser, record, "claim", word="release")
    assert "It was not yours any more. Nobody works on this." in words_of(again.text)
    odd = await press(browser, record, "claim", word="keep")
    assert odd.status_code == 422


async def test_without_a_script_the_same_forms_lead_back_to_the_card(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    card = f"/console/approvals/{record.approval_id}"
    for what, fields in FORMS.items():
        page, _ = await browser.card(record)
        assert f'<form method="post" action="{card}/{what}"' in page
        sent = await press(browser, record, what, headers=SAME_SITE, **fields)
        assert (sent.status_code, sent.headers["location"]) == (303, card)
    empty = await press(browser, record, "questions", headers=SAME_SITE, question=" ")
    assert empty.status_code == 422
    assert "<html" in empty.text
    assert "printable characters" in empty.text


async def test_without_a_script_a_vote_leads_back_to_the_card_or_says_why_not(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house, VERY_LARGE)
    await browser.sign_in()
    card = f"/console/approvals/{record.approval_id}"
    page, fields = await browser.card(record)
    assert f'<form method="post" action="{card}/votes"' in page
    changed = {"word": "approve", "reason": "kept", "digest": "0" * 64}
    wrong = await press(browser, record, "votes", headers=SAME_SITE, **changed)
    assert wrong.status_code == 409
    assert "<html" in wrong.text
    assert ">kept</textarea>" in wrong.text
    fields |= {"word": "approve", "reason": "kept"}
    for headers in ({}, SAME_SITE | {"Sec-Fetch-Site": "cross-site"}):
        foreign = await browser.http.post(f"{card}/votes", data=fields, headers=headers)
        assert foreign.status_code == 403
    sent = await press(browser, record, "votes", headers=SAME_SITE, word="approve")
    assert (sent.status_code, sent.headers["location"]) == (303, card)
    page, _ = await browser.card(record)
    assert "Your yes is signed for you, and counted. 1 more signature is needed" in (
        words_of(page)
    )
    await press(browser, record, "votes", headers=SAME_SITE, word="reject")
    assert await state_of(browser.house, record) is ActionState.REFUSED


async def test_what_somebody_else_claimed_waits_for_a_yes_and_never_for_a_no(
    browser: Browser,
) -> None:
    house, record = browser.house, await large_refund(browser.house)
    await browser.sign_in()
    _, fields = await browser.card(record)
    held = await claiming.claim(house.ports, voter(house, "bob"), record.approval_id)
    assert held.until is not None
    now = await browser.get(
        f"/console/approvals/{record.approval_id}/now?shown={fields['shown']}"
    )
    until = f"until {held.until:%H:%M} UTC"
    assert "Somebody else works on this" in now.text
    assert until in words_of(now.text)
    assert 'id="claim-button"' not in now.text
    # Whoever still has the old card on the screen is told in words.
    taken = await press(browser, record, "claim", word="claim")
    assert taken.status_code == 409
    assert "Somebody else works on this approval. Wait until" in taken.text
    assert (await browser.vote(record, "approve")).status_code == 409
    async with house.admin() as owner:
        await owner.execute("UPDATE approval SET claimed_until = now()")
    page, _ = await browser.card(record)
    assert "Nobody works on this." in page
    await claiming.claim(house.ports, voter(house, "bob"), record.approval_id)
    assert (await browser.vote(record, "reject")).status_code == 200
    assert await state_of(house, record) is ActionState.REFUSED


async def test_a_question_is_asked_on_the_card_and_its_answer_comes_by_itself(
    browser: Browser,
) -> None:
    house, record = browser.house, await large_refund(browser.house)
    await browser.sign_in()
    page, _ = await browser.card(record)
    assert f'maxlength="{QUESTION_CHARS_MAX}"' in page
    assert f"{QUESTIONS_MAX} of {QUESTIONS_MAX} questions left" in page
    asked = await press(
        browser, record, "questions", question="Which\r\n<b>parcel?", reason="kept"
    )
    assert asked.status_code == 200, asked.text
    assert "Which\n&lt;b&gt;parcel?" in asked.text
    assert "not answered yet" in asked.text
    assert f"{QUESTIONS_MAX - 1} of {QUESTIONS_MAX} questions left" in asked.text
    assert ">kept</textarea>" in asked.text
    # The one who asked has the card with the question: it is not a change to them.
    assert "changed since" not in asked.text
    [shown] = set(re.findall(r'name="shown" value="([^"]*)"', asked.text))
    [told] = await asking.unanswered(house.ports, record)
    await asking.answer(
        house.ports, record, question_id=told["question_id"], text="The blue one."
    )
    live = f"/console/approvals/{record.approval_id}/now"
    now = await browser.get(live, params={"shown": shown})
    assert "The blue one." in now.text
    assert 'hx-swap-oob="true"' in now.text.split('id="questions"')[1].split(">")[0]
    # What the agent wrote is on the card that is signed: it is looked at before a yes.
    assert "changed since you looked" in now.text


async def test_a_question_that_cannot_be_asked_is_not_lost(browser: Browser) -> None:
    house, record = browser.house, await large_refund(browser.house)
    await browser.sign_in()
    long = "x" * (QUESTION_CHARS_MAX + 1)
    refused = await press(browser, record, "questions", question=long)
    assert refused.status_code == 422
    assert f">{long}</textarea>" in refused.text
    assert f"1 to {QUESTION_CHARS_MAX}" in refused.text
    alice = voter(house, "alice")
    for number in range(QUESTIONS_MAX):
        await asking.ask(house.ports, alice, record.approval_id, f"{number}?")
    page, _ = await browser.card(record)
    assert 'name="question"' not in page
    assert "takes no more" in page
    more = await press(browser, record, "questions", question="6?")
    assert more.status_code == 409
    assert f"{QUESTIONS_MAX} questions were asked" in more.text


async def test_a_question_hides_nothing_else_that_changed(browser: Browser) -> None:
    record = await large_refund(browser.house)
    await browser.sign_in()
    _, fields = await browser.card(record)
    interaction = await browser.house.ports.store.interaction(
        record.request.interaction_id
    )
    assert interaction is not None
    await browser.house.say(interaction, "No, stop!")
    for what, more in FORMS.items():
        answer = await press(browser, record, what, shown=fields["shown"], **more)
        assert answer.status_code == 200
        assert "changed since you looked" in answer.text, what


async def test_small_forms_without_the_pages_token_change_nothing(
    browser: Browser,
) -> None:
    house, record = browser.house, await large_refund(browser.house)
    await browser.sign_in()
    forms: tuple[tuple[str, Any], ...] = (
        (f"approvals/{record.approval_id}/claim", {"word": "claim"}),
        (f"approvals/{record.approval_id}/questions", {"question": "?"}),
        ("rejections", {"marked": record.approval_id}),
    )
    csrf = csrf_of((await browser.get("/console")).text)
    for path, fields in forms:
        for site, token in (("same-origin", "0" * 64), ("cross-site", csrf)):
            answer = await browser.post(
                f"/console/{path}", site={"Sec-Fetch-Site": site}, csrf=token, **fields
            )
            assert answer.status_code == 403, path
    browser.http.cookies.clear()
    for path, fields in forms:
        answer = await browser.post(f"/console/{path}", csrf=csrf, **fields)
        assert answer.headers["location"] == "/console/sign-in"
    assert await house.ports.queue.questions(record.approval_id) == []
    assert await house.ports.queue.claims(voter(house, "alice").subject_id) == []
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


async def test_a_long_queue_is_read_in_steps_that_keep_their_filters(
    browser: Browser,
) -> None:
    amounts = (21_000, 22_000, 23_000)
    for amount in amounts:
        await large_refund(browser.house, amount)
    await browser.sign_in()
    path, seen = "/console?order=amount&tool=orders.refund&limit=1", list[str]()
    for _ in amounts:
        page = (await browser.get(path)).text
        seen += re.findall(r"<strong>(\d+)\.00 USD</strong>", page)
        # What changes is looked for on this page of the list, not on the first.
        [live] = re.findall(r'hx-get="(/console/queue[^"]*)"', page)
        again = await browser.get(live.replace("&amp;", "&"))
        assert f"<strong>{seen[-1]}.00 USD" in again.text
        [path] = re.findall(r'rel="next" href="([^"]*)"', page) or [""]
        path = path.replace("&amp;", "&")
        assert ("tool=orders.refund" in path) == bool(path)
    assert seen == ["230", "220", "210"]
    assert path == ""
    assert "From the first" in page
    odd = await browser.get("/console?cursor=none&limit=2")
    assert odd.status_code == 200
    assert "2 of more" in words_of(odd.text)


async def test_what_is_marked_is_rejected_for_one_reason_and_nothing_else(
    browser: Browser,
) -> None:
    house = browser.house
    records = [await large_refund(house, amount) for amount in (21_000, 22_000, 23_000)]
    first, second, third = (record.approval_id for record in records)
    await browser.sign_in()
    page = (await browser.get(f"/console/queue?marked={second}")).text
    # A mark outlives the list that is drawn anew below it.
    [marked] = re.findall(r"<input [^>]* checked>", page)
    assert second in marked
    csrf = csrf_of((await browser.get("/console")).text)
    sent = await browser.http.post(
        "/console/rejections",
        data={
            "csrf": csrf,
            "marked": [first, third, third, "nonsense"],
            "reason": "Not\nours.",
            "word": "approve",
        },
        headers=SAME_SITE,
    )
    assert sent.status_code == 200, sent.text
    assert "2 rejected." in words_of(sent.text)
    assert "Not rejected : there is no such approval" in words_of(sent.text)
    assert [await state_of(house, one) for one in records] == [
        ActionState.REFUSED,
        ActionState.PENDING_APPROVAL,
        ActionState.REFUSED,
    ]
    votes, _ = await house.ports.desk.votes(third)
    assert [(one.word, one.reason) for one in votes] == [("reject", "Not ours.")]


@pytest.mark.parametrize("marked", [0, MARKED_MAX, MARKED_MAX + 1])
async def test_one_press_rejects_up_to_a_limit(browser: Browser, marked: int) -> None:
    await browser.sign_in()
    csrf = csrf_of((await browser.get("/console")).text)
    data = {"csrf": csrf, "marked": [f"x{number}" for number in range(marked)]}
    sent = await browser.http.post("/console/rejections", data=data, headers=SAME_SITE)
    fits = marked == MARKED_MAX
    assert sent.status_code == (200 if fits else 422)
    assert (f"Mark 1 to {MARKED_MAX} of them." in sent.text) == (not fits)


def test_a_moment_reads_as_its_hour() -> None:
    assert hour("2026-11-30T08:05:09.123Z") == "08:05 UTC"
