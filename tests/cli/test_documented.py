"""Whatever command a page names exists, with the options that it names."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import Any

import typer

from broker.cli.app import make_app
from tests.support import source

PAGES = [source.TOP / "README.md", *sorted((source.TOP / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
CALLED = re.compile(r"(?:^|[\s(`])(?:\./)?counterfoil ([a-z][^|;`)#\n]*)")


def named(text: str) -> list[str]:
    """Return what stands after the command's name in code on a page."""
    joined = text.replace("\\\n", " ")
    code = FENCED.findall(joined) + SPAN.findall(FENCED.sub("", joined))
    return [call.strip() for part in code for call in CALLED.findall(part)]


@cache
def command() -> Any:
    return typer.main.get_command(make_app())


def problem(call: str) -> str:
    """Return what is wrong with a call, or nothing."""
    try:
        words = shlex.split(call)
    except ValueError:
        words = call.split()
    found = command()
    while words and hasattr(found, "commands") and not words[0].startswith("-"):
        if words[0] not in found.commands:
            return f"{call}: there is no {words[0]}"
        found = found.commands[words.pop(0)]
    if hasattr(found, "commands") and words:
        return f"{call}: a command is missing"
    if found.context_settings.get("ignore_unknown_options"):
        # Its words go on to a process of its own, which has tests of its own.
        return ""
    known = {"--help"}
    for one in found.params:
        known |= {*one.opts, *one.secondary_opts}
    unknown = [
        word
        for word in words
        if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)
        and word.partition("=")[0] not in known
    ]
    return f"{call}: there is no {unknown[0]}" if unknown else ""


def test_every_command_that_a_page_names_exists_with_its_options() -> None:
    calls = {
        (page.name, call) for page in PAGES for call in named(page.read_text("utf-8"))
    }
    assert len(calls) > 40
    assert [f"{page}: {problem(call)}" for page, call in calls if problem(call)] == []


def test_a_command_or_option_that_does_not_exist_is_named() -> None:
    assert problem("approvals list --as alice") == ""
    assert problem("approvals lst") == "approvals lst: there is no lst"
    assert problem("up --detached") == "up --detached: there is no --detached"
    page = (
        "```sh\n./counterfoil audit show \\\n  1 | cat\n```\nand `counterfoil up -d`."
    )
    assert named(page) == ["audit show    1", "up -d"]
