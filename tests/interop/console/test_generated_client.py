"""A client that somebody else's generator makes of our document works as it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.console.conftest import ROOT

if TYPE_CHECKING:
    from tests.interop.console.conftest import Stack

HERE = Path(__file__).parent
TOOLS = ROOT / ".venv" / "apiclient" / "bin"
pytestmark = pytest.mark.timeout(300)


def ran(*words: str, cwd: Path) -> str:
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_generated_client_reads_and_is_refused_as_documented(
    stack: Stack, tmp_path: Path
) -> None:
    generator = str(TOOLS / "openapi-python-client")
    config = tmp_path / "config.json"
    config.write_text('{"post_hooks": []}')
    said = ran(
        *(generator, "generate", "--url", f"{stack.issuer}/openapi.json"),
        *("--meta", "none", "--output-path", "generated", "--config", str(config)),
        cwd=tmp_path,
    )
    # Whatever it cannot make of the document it says.
    assert "WARNING" not in said
    assert "will not be generated" not in said
    interaction = stack.run("conversation").strip()
    token = stack.run("token", "--interaction", interaction).strip()
    words = (str(HERE / "generated_call.py"), str(tmp_path), stack.issuer, token)
    answers = ran(str(TOOLS / "python"), *words, interaction, cwd=tmp_path)
    read, refused = map(json.loads, answers.splitlines())
    assert read["status"] == 200
    assert read["content"]["status"] == "done"
    assert read["content"]["result"]["name"]["first_name"]
    assert (refused["status"], refused["kind"]) == (403, "Problem")
    assert refused["code"] == "denied"
    assert refused["content"]["reasons"] == [{"code": "object_not_shown"}]
