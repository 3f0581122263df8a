"""A connector that somebody begins today carries a live call: the page, as it stands.

The commands of docs/connectors.md are typed in a checkout of their own, on a stack of
its own, before an upstream of one's own; what the page leaves to people (a manifest's
fields, a password, a typed name) is filled in here. Beside the page's two reads, a tool
that `tools new` began for answers sends as it stands, and one that `tools import` made
of a description waits for a person and is then sent once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomlkit

from broker.cli.stack.running import running
from tests.support.kit.parcels import LOCKERS, Parcels, blocks, parcels, sections

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "connectors.md").read_text("utf-8")
BLOCKS = blocks(sections(PAGE, "A connector in fifteen minutes"))
SETTLED_S_MAX = 60.0
ROW = """
[[rows]]
clause = "X1"
text = "opening a locker needs one supervisor"
tools = ["lockers.open.create"]
verification = "matched"
then = "approve"
role = "supervisor"
within = "24h"
"""


@dataclass
class Newcomer:
    """Somebody at a terminal, in a checkout of their own."""

    checkout: Path
    upstream: Parcels
    issuer: str = ""

    def types(self, command: str, *, told: str = "", code: int = 0) -> str:
        """Type something into a shell; return what it printed."""
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=self.checkout,
            env={name: os.environ[name] for name in ("PATH", "HOME")},
            input=told,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        assert self.upstream.credential not in done.stdout + done.stderr
        return done.stdout

    def reads(self, start: str, *, code: int = 0) -> str:
        """Type the page's commands that begin so, one block after the other."""
        lines = [line for block in BLOCKS for line in block.splitlines()]
        commands = [line for line in lines if line.startswith(f"./counterfoil {start}")]
        assert commands, start
        return "".join(self.types(command, code=code) for command in commands)

    def confirms(self, tool: str) -> None:
        """Answer whatever is asked about a tool, and type its name."""
        (path,) = self.checkout.glob(f"tools/catalog/*/{tool}.toml")
        asked = tomlkit.parse(path.read_text("utf-8")).unwrap()["review"]["questions"]
        told = "I looked.\n" * len(asked) + f"{tool}\n"
        self.types(f"./counterfoil tools confirm {tool} --by 'Carol Jones'", told=told)

    def adds(self, connector: str) -> None:
        """Give the edge the upstream's credential, as the page says it."""
        (command,) = [
            line for block in BLOCKS for line in block.splitlines() if " add --" in line
        ]
        secret = self.checkout / "secret"
        secret.touch(mode=0o600)
        secret.write_text(self.upstream.credential)
        command = command.replace("https://parcels.example", self.upstream.url)
        command = command.replace("--connector parcels", f"--connector {connector}")
        said = self.types(f"{command} --allow-private --value-file secret")
        assert f"{connector} version 1, in use" in said

    def asks(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Ask as the agent does, in a conversation of its own; the page's last step."""
        script = BLOCKS[-1].replace("http://127.0.0.1:8400", self.issuer)
        assert script.startswith("conversation=$(")
        script += 'printf "%s %s" "$conversation" "$token" > ask\n'
        answer = json.loads(self.types(script))
        assert answer["status"] == "done", answer
        if tool == "parcels.list":
            return dict(answer)
        conversation, token = (self.checkout / "ask").read_text().split()
        return self.goes_on(conversation, token, tool, **arguments)

    def goes_on(
        self, conversation: str, token: str, tool: str, **arguments: Any
    ) -> dict[str, Any]:
        """Ask for more in a conversation."""
        body = {"tool": tool, "arguments": arguments, "interaction": conversation}
        (self.checkout / "body").write_text(json.dumps(body))
        said = self.types(
            f"curl -sS {self.issuer}/v1/actions -H 'Authorization: Bearer {token}'"
            " -H 'Content-Type: application/json' -d @body"
        )
        return dict(json.loads(said))

    def edits(self, path: str, old: str, new: str) -> None:
        """Replace something in a file, everywhere."""
        file = self.checkout / path
        text = file.read_text("utf-8")
        assert old in text, f"{path}: {old}"
        file.write_text(text.replace(old, new), "utf-8")


@contextmanager
def checkout_of_its_own(folder: Path) -> Iterator[Path]:
    """Copy what is in the tree, with the environment beside it."""
    away = (".git", ".venv", ".counterfoil*", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*away))
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    yield folder
    shutil.rmtree(folder)


def field(pointer: str, data_class: str, **more: str) -> dict[str, str]:
    """Return a field of a manifest's output, as the page's table describes it."""
    plain = {"integrity": "system_of_record", "confidentiality": "customer"}
    return {"pointer": pointer, "class": data_class} | plain | more


def fill_in(one: Newcomer) -> None:
    """Do what the page's table and its code say."""
    catalog = "tools/catalog/parcels"
    for tool, fields in (
        (
            "parcels.list",
            [
                field("/parcels/*/number", "identifier", shows="parcel"),
                field("/parcels/*/state", "status"),
            ],
        ),
        (
            "parcels.get",
            [
                field("/number", "identifier"),
                field("/state", "status"),
                field("/note", "free_text", integrity="third_party"),
            ],
        ),
    ):
        path = f"{catalog}/{tool}.toml"
        one.edits(path, "/things", "/parcels")
        one.edits(path, f"TITLE of {tool}", "Parcels of the customer")
        if tool == "parcels.get":
            one.edits(path, "thing_id", "number")
            one.edits(path, 'kind = "thing"', 'kind = "parcel"')
            one.edits(path, "^[A-Z0-9-]{1,20}$", "^P[0-9]{1,9}$")
        file = one.checkout / path
        document = tomlkit.parse(file.read_text("utf-8"))
        document["output"] = {"fields": fields}
        file.write_text(tomlkit.dumps(document), "utf-8")
        test = f"tests/connectors/test_parcels_{tool.replace('.', '_')}.py"
        one.edits(test, "/things", "/parcels")
    one.edits(test, '"thing_id": "T1"', '"number": "P1"')
    one.edits(test, "/parcels/T1", "/parcels/P1")
    code = one.checkout / catalog / "connector.py"
    (written,) = [block for block in BLOCKS if block.startswith("def ")]
    head, _, _ = code.read_text("utf-8").partition("def ")
    code.write_text(head + written, "utf-8")


def begin(one: Newcomer) -> None:
    """Begin, fill in, try, check and confirm: the page's steps 1 to 5, and more."""
    one.reads("tools new")
    fill_in(one)
    tried = one.reads("tools test")
    assert "sent       GET /customers/ana/parcels" in tried
    assert "sent       GET /parcels/P1" in tried
    one.types("./counterfoil tools new parcels/messages.send --effect answer")
    (one.checkout / "lockers.yaml").write_text(LOCKERS, "utf-8")
    one.types("./counterfoil tools import lockers.yaml --connector lockers")
    assert "error" in one.types("./counterfoil tools check", code=1)
    for tool in ("parcels.list", "parcels.get", "messages.send"):
        one.confirms(tool)
    for tool in ("lockers.list", "lockers.open.create"):
        one.confirms(tool)
    assert "0 to look at" in one.types("./counterfoil tools check")
    python = "PYTHONPATH=. .venv/bin/python -P"
    one.types(f"{python} -m pytest -q -p no:cacheprovider tests/connectors")


def put_to_use(one: Newcomer) -> None:
    """Credential, restart, use case, grant: the page's step 6; and a row of policy."""
    one.adds("parcels")
    one.adds("lockers")
    one.types("./counterfoil down")
    one.types("./counterfoil up --detach --bare")
    found = running(one.checkout / ".counterfoil")
    assert found is not None
    one.issuer = found.issuer
    more = "messages.send lockers.list lockers.open.create"
    one.reads("use-cases add-tools")
    one.types(f"./counterfoil use-cases add-tools retail-care {more} --as carol")
    one.reads("agents grant", code=5)
    one.reads("changes approve")
    one.types(f"./counterfoil agents grant care-agent {more} --as carol", code=5)
    one.reads("changes approve")
    policy = one.checkout / "infra" / "demo" / "policy" / "appetite.toml"
    policy.write_text(policy.read_text("utf-8") + ROW, "utf-8")
    folder = policy.parent.relative_to(one.checkout)
    publish = f"./counterfoil policy publish {folder} --reason x --as carol --json"
    proposed = json.loads(one.types(publish, code=5))
    version, digest = proposed["version"], proposed["digest"]
    one.types(f"./counterfoil policy approve {version} --digest {digest} --as dave")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("new") / "checkout"
    with parcels() as upstream, checkout_of_its_own(folder) as checkout:
        one = Newcomer(checkout, upstream)
        try:
            one.types("./counterfoil up --detach --bare")
            begin(one)
            assert upstream.seen == [], "nothing was sent before it was put to use"
            put_to_use(one)
            yield one
        finally:
            one.types("./counterfoil down")


def bearer(one: Newcomer) -> str:
    return f"Bearer {one.upstream.credential}"


def test_the_connector_of_the_page_carries_a_live_call(newcomer: Newcomer) -> None:
    newcomer.upstream.seen.clear()
    answer = newcomer.asks("parcels.list")
    assert answer["result"] == {"parcels": [{"number": "P1", "state": "sent"}]}
    answer = newcomer.asks("parcels.get", number="P1")
    assert answer["status"] == "done"
    assert answer["result"]["note"] == "Left at the door."
    seen = newcomer.upstream.seen
    lists = ["GET /customers/ana/parcels"] * 2
    assert [one.line for one in seen] == [*lists, "GET /parcels/P1"]
    assert {one.headers["Authorization"] for one in seen} == {bearer(newcomer)}
    # Nothing was shown of another parcel, and nobody asks the upstream for it.
    answer = newcomer.asks("parcels.get", number="P2")
    assert answer["reasons"] == [{"code": "object_not_shown"}]
    assert len(seen) == 4


def test_a_tool_begun_for_answers_sends_with_credential_and_key(
    newcomer: Newcomer,
) -> None:
    newcomer.upstream.seen.clear()
    answer = newcomer.asks("messages.send", text="It is on its way.")
    assert (answer["status"], answer["result"]) == ("done", {"status": "queued"})
    (sent,) = [one for one in newcomer.upstream.seen if one.method == "POST"]
    assert sent.path == "/customers/ana/messages"
    assert json.loads(sent.body) == {
        "text": "It is on its way.",
        "reference": answer["action_id"],
    }
    assert sent.headers["Authorization"] == bearer(newcomer)
    assert len(sent.key) >= 16


def test_an_imported_tool_waits_for_a_person_and_is_sent_once(
    newcomer: Newcomer,
) -> None:
    newcomer.upstream.seen.clear()
    shown = newcomer.asks("lockers.list")
    assert shown["result"] == {"lockers": [{"locker_id": "L7", "state": "shut"}]}
    conversation, token = (newcomer.checkout / "ask").read_text().split()
    asked = newcomer.goes_on(conversation, token, "lockers.open.create", locker_id="L7")
    assert asked["status"] == "pending_approval", asked
    assert all(one.method == "GET" for one in newcomer.upstream.seen)
    (waits,) = map(
        json.loads,
        newcomer.types("./counterfoil approvals list --as alice --json").splitlines(),
    )
    approval = waits["approval"]
    card = json.loads(
        newcomer.types(f"./counterfoil approvals show {approval} --as alice --json")
    )
    newcomer.types(
        f"./counterfoil approvals approve {approval} --as alice"
        f" --shown {card['shown']} --reason 'it is hers'"
    )
    until, answer = time.monotonic() + SETTLED_S_MAX, asked
    while answer["status"] != "done":
        assert time.monotonic() < until, answer
        said = newcomer.types(
            f"curl -sS '{newcomer.issuer}/v1/actions/{asked['action_id']}?wait_s=10'"
            f" -H 'Authorization: Bearer {token}'"
        )
        answer = json.loads(said)
    assert answer["result"]["state"] == "open"
    (sent,) = [one for one in newcomer.upstream.seen if one.method == "POST"]
    assert sent.path == "/lockers/L7/open"
    assert sent.headers["Authorization"] == bearer(newcomer)
    assert len(sent.key) >= 16
