"""The pages that are run, block by block, and who sees to the blocks that are not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.support.source import TOP as ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK: Final = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND: Final = re.compile(
    r"^(\$ )?(export |PYTHONPATH=\S+ )?((\./)?counterfoil |curl |make |\.venv/bin/)",
    re.MULTILINE,
)
_PROMPT: Final = "$ "

# What makes a page's placeholders real: words on the page, and shell for them.
PLAYED: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "README.md": (),
    "docs/agent.md": (),
    "docs/approve.md": (),
    "docs/evidence.md": (),
    "docs/operate.md": (),
    "docs/budgets.md": (
        ("3b0f5e", "$(./counterfoil budgets list --json | field budget_id)"),
        ("--agent NAME", "--agent care-agent"),
        ("ID --digest DIGEST", '"$(proposed id)" --digest "$(proposed digest)"'),
        ("show ID", 'show "$(proposed id)"'),
        # While calls are under way it differs for a moment, and says so with 1.
        ("budgets reconcile", "budgets reconcile || ./counterfoil budgets reconcile"),
    ),
    "docs/policy.md": (
        ("FOLDER", "infra/demo/policy"),
        ("'...'", "'tool = \"orders.get\"'"),
        ("ID", '"$(./counterfoil approvals list --as alice --json | field action)"'),
    ),
    "docs/policy-rollout.md": (
        ("infra/demo/policy", "own-policy"),
        ('"..."', '"a trial"'),
        ("approve 2", 'approve 2 --digest "$(next_policy)"'),
        ("approve 3", 'approve 3 --digest "$(next_policy)"'),
    ),
}
# Whoever pastes does this first, or reads it off a list.
PREPARED: Final = """set -eu
counterfoil() { ./counterfoil "$@"; }
field() { .venv/bin/python -c 'import json, sys
print(json.loads(sys.stdin.readline())[sys.argv[1]])' "$1"; }
proposed() { ./counterfoil standing list --json \\
  | grep '"state": "proposed"' | field "$1"; }
next_policy() { ./counterfoil policy log --as dave --json | field digest; }
pending() { "$@" || test $? = 5; }
./counterfoil people sign-in carol
cp -r infra/demo/policy own-policy
sed -i 's/limit = 1_000_000/limit = 1_000_001/' own-policy/limits.toml
"""
PENDING: Final = re.compile(
    r"^(\./)?counterfoil "
    r"(agents register|policy (publish|rollback)|budgets set \S+ 9|standing propose)"
)
"""What ends with 5, because a second person is asked."""

SEEN_BY: Final[dict[tuple[str, str], str]] = {
    ("docs/policy.md", "explain FOLDER --given 'tool"): "tests/cli/policy/test_docs.py",
    ("docs/operate.md", "rotate-key"): "tests/cli/registry/test_security_page.py",
    ("docs/operate.md", "keys list"): "tests/cli/registry/test_security_page.py",
    ("docs/operate.md", "kill-switch on"): "tests/cli/registry/test_security_page.py",
    ("docs/operate.md", "approvals resolve"): "tests/cli/approvals/test_commands.py",
    ("docs/operate.md", "actions undo"): "tests/cli/approvals/test_commands.py",
    ("docs/connect.md", "connect"): "tests/client/test_stdio.py",
    ("docs/tokens.md", "curl"): "tests/interop/test_snippets.py",
    ("docs/tokens.md", "agents delegate"): "tests/cli/registry/test_lending.py",
    ("docs/tokens.md", "agents federate"): "tests/cli/registry/test_lending.py",
    ("docs/security.md", "people first"): "tests/cli/registry/test_first.py",
    ("docs/security.md", "keys replace"): "tests/effects/replacing/test_files.py",
    ("docs/security.md", ""): "tests/cli/registry/test_security_page.py",
    ("docs/notifications.md", "notifications add"): (
        "tests/cli/registry/test_notifications.py"
    ),
    ("docs/notifications.md", "edge credentials"): "tests/edge/vault/test_command.py",
    ("docs/canaries.md", "canaries"): "tests/cli/approvals/test_canaries.py",
    ("docs/catalogue.md", "edge credentials"): "tests/edge/vault/test_command.py",
    ("docs/credentials.md", "edge credentials"): "tests/edge/vault/test_command.py",
    ("docs/connectors.md", "tools import"): "tests/cli/tools/test_importing.py",
    ("docs/connectors.md", "tools check"): "tests/cli/tools/test_look.py",
    ("docs/connectors.md", "tools permissions"): "tests/cli/registry/test_commands.py",
    ("docs/connectors.md", "infra.helpdesk"): "tests/tools/test_helpdesk.py",
}
"""Commands that another test gives, with names of its own: by page and words."""

READ_BY: Final[dict[tuple[str, str], str]] = {
    ("docs/budgets.md", 'id = "agent-day"'): "tests/cli/test_pages.py",
    ("docs/budgets.md", 'unit = "customers"'): "tests/cli/test_pages.py",
    ("docs/connectors.md", "[[accepted]]"): "tests/cli/test_pages.py",
    ("docs/errors.md", '"approval-stale"'): "tests/cli/test_pages.py",
    ("docs/manifests.md", "[tool]"): "tests/registry/test_tools.py",
    ("docs/manifests.md", "the body differs at"): "tests/cli/test_pages.py",
    ("docs/notifications.md", "TOLERANCE_S"): "tests/edge/notices/test_courier.py",
    ("docs/policy.md", "schema = 1"): "tests/cli/policy/test_docs.py",
    ("docs/policy.md", "[hold]"): "tests/cli/policy/test_docs.py",
    ("docs/policy.md", "[given]"): "tests/cli/policy/test_docs.py",
    ("docs/policy.md", "appetite.toml line"): "tests/cli/policy/test_docs.py",
    ("docs/policy.md", "would wi"): "tests/cli/policy/test_docs.py",
    ("docs/policy.md", '@id("night")'): "tests/cli/policy/test_docs.py",
    ("docs/policy.md", 'remind = "1h"'): "tests/cli/test_pages.py",
    ("docs/policy.md", "customer_confirms"): "tests/cli/test_pages.py",
    ("docs/policy.md", "approvals_per_hour"): "tests/cli/test_pages.py",
    ("docs/tokens.md", "requests_oauth2client"): "tests/interop/test_snippets.py",
    ("docs/tokens.md", "openid-client"): "tests/interop/test_snippets.py",
    ("docs/tokens.md", '"counterfoil", "tools"'): "tests/cli/test_pages.py",
}
"""Snippets that are no commands, and the test that reads each off its page."""

SHOWN: Final = {
    ("README.md", "broker-0"),
    ("docs/approvals.md", "stateDiagram"),
    ("docs/flow.md", "submit"),
    ("docs/policy-rollout.md", "policy check"),
    ("docs/threat-model.md", "agent"),
}
"""Pictures in letters, and what a terminal answers: nobody pastes them."""


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page, each with its language."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def pages() -> list[str]:
    """Return every page."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(page.relative_to(ROOT)) for page in found]


def shows_a_command(language: str, text: str) -> bool:
    """Return whether somebody would paste it, whatever the block is called."""
    return language in {"sh", "console"} or _COMMAND.search(text) is not None


def seen_by(page: str, text: str) -> str:
    """Return the test that sees to a block, empty if the page is run."""
    for (where, words), test in SEEN_BY.items():
        if where == page and words in text:
            return test
    return ""


def read_by(page: str, text: str) -> str:
    """Return the test that reads a snippet off its page, empty if none does."""
    return next(
        (t for (where, words), t in READ_BY.items() if where == page and words in text),
        "",
    )


def sees_to(page: str, language: str, text: str) -> str:
    """Return what sees to a block: "run", the test of it, "shown", or nothing."""
    played = language in {"sh", "console", "python"} or "mcpServers" in text
    if seen_by(page, text):
        return seen_by(page, text)
    if page in PLAYED and played:
        return "run"
    if shows_a_command(language, text):
        return ""
    if read_by(page, text):
        return read_by(page, text)
    if any(page == where and text.strip().startswith(begin) for where, begin in SHOWN):
        return "shown"
    return ""


def script_of(page: str) -> str:
    """Return a page as one shell script: what a reader would paste, in order."""
    return PREPARED + "\n".join(_pasted(page))


def _pasted(page: str) -> Iterator[str]:
    for language, text in blocks(page):
        if seen_by(page, text) or is_make(text):
            continue
        if language == "sh":
            yield _real(page, text)
        elif language == "console":
            yield _real(page, "\n".join(_typed(text)))
        elif language == "python":
            yield f".venv/bin/python - <<'PYTHON'\n{text}PYTHON\n"
        elif language == "json" and "mcpServers" in text:
            client = "-m tests.interop.console.mcp_client"
            yield f"PYTHONPATH=. .venv/bin/python -P {client} <<'JSON'\n{text}JSON\n"


def _typed(text: str) -> Iterator[str]:
    """Yield what is typed in a recorded terminal, without what it answers."""
    goes_on = False
    for line in text.splitlines():
        if goes_on or line.startswith(_PROMPT):
            yield line.removeprefix(_PROMPT)
            goes_on = line.endswith("\\")


def _real(page: str, text: str) -> str:
    """Put what is there into a page's placeholders."""
    for shown, real in PLAYED[page]:
        whole = rf"(?<![\w-]){re.escape(shown)}(?!\w)"
        text = re.sub(whole, real.replace("\\", r"\\"), text)
    lines = text.splitlines()
    return "\n".join(f"pending {one}" if PENDING.match(one) else one for one in lines)


def is_make(text: str) -> bool:
    """Return whether a block holds nothing but targets, which other tests run."""
    return all(line.startswith("make ") for line in text.splitlines())
