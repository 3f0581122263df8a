"""A browser for tests: whichever Chromium this machine has, driven headless."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

# It runs as root in containers, and must reach nothing but us.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESKTOP = (390, 844), (1280, 900)


def find_browser() -> str:
    """Return the path of a Chromium: named, on PATH, Playwright's own, or nothing."""
    named = os.environ.get("CHROMIUM", "")
    if named:
        return named if Path(named).is_file() else ""
    for name in ("chromium", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    folder = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or "~/.cache/ms-playwright"
    own = sorted(Path(folder).expanduser().glob("chromium-*/chrome-linux*/chrome"))
    return str(own[-1]) if own else ""


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start the browser that `find_browser` found."""
    from playwright.async_api import async_playwright  # noqa: PLC0415  (a big import)

    path = find_browser()
    assert path, "no Chromium: install one, or name it in CHROMIUM"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


async def open_page(
    browser: Browser, *, size: tuple[int, int] = DESKTOP, scheme: str = "light"
) -> tuple[Page, list[str]]:
    """Open a tab with cookies of its own, and a list of what goes wrong in it."""
    options: dict[str, Any] = {"color_scheme": scheme}
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, **options
    )
    page, wrong = await context.new_page(), list[str]()
    watch(page, wrong)
    return page, wrong


def watch(page: Page, wrong: list[str]) -> None:
    """Note what the page's scripts and its policy complain about."""
    page.on(
        "console",
        lambda said: wrong.append(said.text) if said.type == "error" else None,
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))


async def complaints(page: Page) -> list[str]:
    """Return what axe-core finds wrong, and whether the page overflows sideways."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    await page.evaluate(axe)
    found = await page.evaluate(
        "axe.run({resultTypes: ['violations']}).then(r => r.violations.map("
        "v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).join(' | ')))"
    )
    wide = await page.evaluate(
        "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    return [*map(str, found), *(["it overflows sideways"] if wide else [])]
