"""The console without JavaScript: ordinary forms do all that a vote needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.cli.demo.story import ended
from tests.interop.console.test_browser import ask
from tests.support.browser import DESKTOP, open_browser

if TYPE_CHECKING:
    from tests.interop.console.conftest import Stack

pytestmark = pytest.mark.timeout(300)


async def test_somebody_without_javascript_signs_in_and_votes(stack: Stack) -> None:
    async with stack.world() as world, open_browser() as browser:
        tainted, plain = await ask(world, tainted=True), await ask(world)
        action = (await world.bob.card(plain))["asked"]["action"]
        context = await browser.new_context(
            java_script_enabled=False,
            viewport={"width": DESKTOP[0], "height": DESKTOP[1]},
        )
        page = await context.new_page()
        await page.goto(f"{stack.issuer}/console/sign-in")
        await page.fill("#pasted", stack.sign_in_link())
        await page.click(".paste button")
        await page.wait_for_url("**/console")
        await page.click(f"#queue a[href$='{tainted}']")
        # What is tainted takes no yes without a reason, and says so.
        await page.click("#buttons .careful")
        assert "say why" in str(await page.text_content("#banner"))
        await page.fill("#reason", "the customer never asked for that")
        await page.click("#buttons .reject")
        assert "Rejected." in str(await page.text_content("#banner"))
        # Where one is after a vote is an address of its own: it is not sent again.
        await page.reload()
        assert page.url.endswith(tainted)
        await page.goto(f"{stack.issuer}/console/approvals/{plain}")
        await page.fill("#reason", "as agreed on the phone")
        await page.click("button.approve")
        assert "Approved." in str(await page.text_content("#banner"))
        assert (await ended(world, action))["status"] == "done"
        await page.reload()
        assert "It was executed once." in str(await page.text_content("#banner"))
        await page.click("text=Sign out")
        await page.wait_for_url("**/console/sign-in")
