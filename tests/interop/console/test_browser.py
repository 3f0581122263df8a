"""The console in a real browser on the real stack: a person's path, step by step."""

from __future__ import annotations

import json
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from broker.cli.demo.story import (
    LARGE,
    NOTE,
    SMALL,
    THIEF,
    Told,
    act,
    ended,
    refund,
    waiting,
)
from broker.cli.demo.world import FIRST_ORDER, ORDER, OTHER_ORDER, World
from broker.core.words.approval import CONSOLE_VOTE_TYP
from tests.support.browser import (
    DESKTOP,
    PHONE,
    complaints,
    open_browser,
    open_page,
    watch,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from playwright.async_api import Browser, Page

    from tests.interop.console.conftest import Stack

pytestmark = pytest.mark.timeout(300)
AMOUNTS = iter(range(5_001, 6_000))
"""Above the standing approval, and one each: the same call would be the same action."""

TAINTED = iter(range(101, 1_000))
"""What is tainted is held whatever it costs."""


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@asynccontextmanager
async def signed_in(
    browser: Browser, stack: Stack, *, size: tuple[int, int] = DESKTOP, **more: str
) -> AsyncIterator[Page]:
    """Give a signed-in tab in which nothing may go wrong."""
    page, wrong = await open_page(browser, size=size, **more)
    await page.goto(stack.sign_in_link())
    await page.wait_for_url("**/console")
    yield page
    assert wrong == []


async def test_a_person_gets_from_up_to_a_refund_in_the_crm(
    stack: Stack, browser: Browser, record_property: Callable[[str, object], None]
) -> None:
    begun = time.monotonic()
    page, wrong = await open_page(browser)
    await page.goto(stack.link)
    await page.wait_for_url("**/console")
    assert "#" not in page.url
    # Whoever has the link gets in: no log of any part has taken it down.
    secret = stack.link.partition("#")[2].encode()
    logs = [*(stack.state / "logs").glob("*.log")]
    assert logs
    assert [log.name for log in logs if secret in log.read_bytes()] == []
    signed_in_s = time.monotonic() - begun
    await page.click("#queue a")
    assert await page.text_content("h1 .amount") == "150.00 USD"
    await page.click("button.approve")
    await page.wait_for_selector("text=It was executed once.")
    approved_s = time.monotonic() - begun
    async with stack.world() as world:
        assert await world.shop.refunds(FIRST_ORDER) == [SMALL, LARGE]
    assert wrong == []
    # The answer has the focus: a keyboard and a screen reader go on from there.
    assert await page.evaluate("document.activeElement.matches('[data-focus]')")
    for name, took_s in (
        ("up", stack.up_s),
        ("signed in", signed_in_s),
        ("approved and refunded", approved_s),
    ):
        record_property(name, round(took_s, 1))
        print(f"{name}: {took_s:.1f} s")  # noqa: T201  (measured, not asserted)


async def test_a_link_lets_nobody_in_twice(stack: Stack, browser: Browser) -> None:
    page, _ = await open_page(browser)
    link = stack.sign_in_link()
    await page.goto(link)
    await page.wait_for_url("**/console")
    await page.click("text=Sign out")
    await page.wait_for_url("**/console/sign-in")
    other, _ = await open_page(browser)
    await other.goto(link)
    await other.wait_for_selector("[role=alert]")
    assert "used before" in str(await other.text_content("[role=alert]"))
    await other.goto(f"{stack.issuer}/console")
    await other.wait_for_url("**/console/sign-in")


async def test_a_second_tab_shows_what_happens_in_the_first(
    stack: Stack, browser: Browser
) -> None:
    async with stack.world() as world, signed_in(browser, stack) as one:
        two, wrong = await one.context.new_page(), list[str]()
        watch(two, wrong)
        await two.goto(f"{stack.issuer}/console")
        await two.wait_for_function("document.querySelector('.desk')")
        approval = await ask(world)
        # Nobody reloads: the row comes by itself.
        row = f"#queue a[href$='{approval}']"
        await two.click(row)
        await two.fill("#reason", "half a thought")
        await one.bring_to_front()
        await one.goto(f"{stack.issuer}/console/approvals/{approval}")
        await one.click("button.approve")
        await one.wait_for_selector("#banner >> text=Approved.")
        await two.wait_for_selector("#banner >> text=Approved.")
        assert await two.is_disabled("button[value=approve]")
        assert await two.is_disabled("button[value=reject]")
        assert await two.input_value("#reason") == "half a thought"
        assert wrong == []


async def test_a_tainted_card_marks_the_argument_and_asks_why_before_a_yes(
    stack: Stack, browser: Browser
) -> None:
    async with stack.world() as world, signed_in(browser, stack) as page:
        approval = await ask(world, tainted=True)
        await page.goto(f"{stack.issuer}/console/approvals/{approval}")
        assert await page.text_content(".taint mark") == THIEF
        assert await page.query_selector("button.approve") is None
        assert await page.is_disabled("button.careful")
        assert not await page.is_disabled("#buttons .reject")
        await page.fill("#reason", "the customer called us about it")
        assert not await page.is_disabled("button.careful")
        await page.click("#buttons .reject")
        await page.wait_for_selector("#banner >> text=Rejected.")
        assert await world.shop.refunds(OTHER_ORDER) == []


async def test_a_card_that_changes_under_somebodys_eyes_says_so(
    stack: Stack, browser: Browser
) -> None:
    async with stack.world() as world, signed_in(browser, stack) as page:
        told = Told(conversation=await world.conversation())
        approval = await ask(world, told=told)
        await page.goto(f"{stack.issuer}/console/approvals/{approval}")
        await page.fill("#reason", "kept")
        (await world.channel.turn(told.conversation, "No, stop!")).checked()
        # What was said is no change of an approval: the next one brings it along.
        await ask(world)
        await page.wait_for_selector("#banner >> text=changed since you looked")
        assert await page.is_disabled("button.approve")
        assert await page.input_value("#reason") == "kept"
        await page.click("#banner a")
        await page.wait_for_selector("text=No, stop!")
        assert not await page.is_disabled("button.approve")


async def test_both_buttons_are_in_sight_without_scrolling(
    stack: Stack, browser: Browser
) -> None:
    async with stack.world() as world, signed_in(browser, stack) as page:
        approval = await ask(world)
        await page.goto(f"{stack.issuer}/console/approvals/{approval}")
        for word in ("reject", "approve"):
            box = await page.locator(f"button[value={word}]").bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= DESKTOP[1]


async def test_buttons_die_when_the_time_is_over(
    stack: Stack, browser: Browser
) -> None:
    async with stack.world() as world, signed_in(browser, stack) as page:
        approval = await ask(world)
        await page.clock.install()
        await page.goto(f"{stack.issuer}/console/approvals/{approval}")
        assert not await page.is_disabled("button.approve")
        await page.clock.fast_forward("25:00:00")
        await page.wait_for_selector("text=Expired: there is nothing left to sign.")
        assert await page.is_disabled("button.approve")
        assert await page.is_disabled("#buttons .reject")


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible_and_fits(
    stack: Stack, browser: Browser, size: tuple[int, int], scheme: str
) -> None:
    async with stack.world() as world:
        tainted, plain = await ask(world, tainted=True), await ask(world)
        over = await ask(world)
        (await world.bob.vote(over, "reject", reason="No.")).checked()
    page, wrong = await open_page(browser, size=size, scheme=scheme)
    await page.goto(f"{stack.issuer}/console/sign-in")
    assert await complaints(page) == []
    await page.goto(stack.sign_in_link())
    await page.wait_for_url("**/console")
    assert await complaints(page) == []
    for approval in (tainted, plain, over, "0"):
        await page.goto(f"{stack.issuer}/console/approvals/{approval}")
        assert await complaints(page) == [], approval
    # The page that does not exist is the only thing that may be complained about.
    assert [text for text in wrong if not re.search(r"\b404\b", text)] == []


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_a_card_is_claimed_and_asked_about_without_losing_ones_place(
    stack: Stack, browser: Browser, size: tuple[int, int]
) -> None:
    scheme = "dark" if size == PHONE else "light"
    async with (
        stack.world() as world,
        signed_in(browser, stack, size=size, scheme=scheme) as page,
    ):
        approval = await ask(world)
        await page.goto(f"{stack.issuer}/console/approvals/{approval}")
        await page.fill("#reason", "half a thought")
        await page.focus("#claim-button")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#claim >> text=You work on this, until")
        # The event of one's own claim draws it anew as well: the focus is still there.
        await page.wait_for_timeout(1_500)
        assert await page.evaluate("document.activeElement.id") == "claim-button"
        assert await page.text_content("#claim-button") == "Give it back"
        await page.click("text=Ask the agent what is missing")
        await page.fill("#question", "Which parcel was it?")
        await page.click(".ask button")
        await page.wait_for_selector("#questions >> text=not answered yet")
        await page.wait_for_timeout(1_500)
        assert await page.evaluate("document.activeElement.id") == "questions-title"
        assert await page.input_value("#reason") == "half a thought"
        assert not await page.is_disabled("button.approve")
        action = (await world.bob.card(approval))["asked"]["action"]
        [told] = (await world.agent.action(action)).checked()["questions"]
        body = {"question_id": told["question_id"], "answer": "The blue one."}
        path = f"/v1/actions/{action}/answers"
        (await world.agent.call("POST", path, json=body)).checked()
        await page.wait_for_selector("#questions >> text=The blue one.")
        assert await complaints(page) == []
        if size == DESKTOP:
            await page.check(f"#mark-{approval}")
            await world.bob.claim(await ask(world))
            await page.wait_for_selector("#queue >> text=somebody works on it")
            assert await page.is_checked(f"#mark-{approval}")
            await page.click("text=Reject several")
            assert await complaints(page) == []
            await page.click("text=Reject the marked")
            await page.wait_for_selector("text=1 rejected.")
            assert await complaints(page) == []


async def ask(world: World, *, tainted: bool = False, told: Told | None = None) -> str:
    """Let the agent ask for a refund that waits; return the approval's id."""
    told = told or Told(conversation=await world.conversation())
    order = OTHER_ORDER if tainted else ORDER
    (await act(world, told, "customers.get")).checked()
    if tainted:
        await world.shop.note(order, NOTE)
    (await act(world, told, "orders.get", order_id=order)).checked()
    more = {"to": THIEF} if tainted else {}
    amount = next(TAINTED if tainted else AMOUNTS)
    asked = (await refund(world, told, amount, order=order, **more)).checked()
    assert asked["status"] == "pending_approval", asked
    return await waiting(world, asked["action_id"])


async def test_what_the_console_signed_is_told_apart_in_the_record(
    stack: Stack, browser: Browser
) -> None:
    async with stack.world() as world, signed_in(browser, stack) as page:
        approval = await ask(world)
        action = (await world.bob.card(approval))["asked"]["action"]
        await page.goto(f"{stack.issuer}/console/approvals/{approval}")
        await page.click("button.approve")
        await page.wait_for_selector("text=It was executed once.")
        assert (await ended(world, action))["status"] == "done"
    rows = stack.run("audit", "list", "--action", action, "--json").splitlines()
    [vote] = [row for row in map(json.loads, rows) if row["kind"] == "approve.vote"]
    shown = json.loads(stack.run("audit", "show", vote["entry_id"], "--json"))
    assert shown["problem"] == ""
    detail = shown["entry"]["detail"]
    assert (detail["typ"], detail["strength"]) == (CONSOLE_VOTE_TYP, "link")
