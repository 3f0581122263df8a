"""`counterfoil tools new`: a beginning that loads once a person filled it in."""

from __future__ import annotations

import ast

import pytest

from broker.cli.exits import Exit
from broker.effects.shelf import CatalogShelf
from broker.registry.kit.skeleton import EFFECTS
from broker.registry.tools import TOOL_NAME_LENGTH_MAX, ManifestError
from tests.cli.tools.conftest import Shell


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_tool_of_every_effect_loads_once_it_was_confirmed(shell: Shell, effect):
    shell.begin("crm/things.list", "--list")
    shell.begin("crm/things.do", "--effect", effect)
    with pytest.raises(ManifestError, match="open questions"):
        CatalogShelf(shell.catalog)
    shell.confirm("things.list", connector="crm")
    shell.confirm("things.do", connector="crm")
    assert "0 to look at" in shell.say("check")
    tool = CatalogShelf(shell.catalog).tool("things.do")
    assert tool is not None
    assert tool.effect.value == effect


def test_what_no_tool_shows_is_said_before_anybody_confirms_it(shell: Shell):
    shell.begin("crm/things.get")
    path = shell.catalog / "crm" / "things.get.toml"
    said = shell.say("check", str(path), code=Exit.FAILED)
    assert "never-shown: arguments.thing_id names a thing" in said
    refused = shell.say("confirm", "things.get", "--by", "Carol", code=Exit.FAILED)
    assert "never-shown" in refused
    shell.begin("crm/things.list", "--list")
    for place in (path, path.parent, shell.catalog):
        assert "never-shown" not in shell.say("check", str(place), code=Exit.FAILED)
    shell.begin("crm/things.see", "--list", "--effect", "money", code=Exit.USAGE)


def test_a_second_tool_joins_the_connectors_code(shell: Shell):
    shell.begin("crm/things.get")
    shell.begin("crm/things.close", "--effect", "state")
    code = (shell.catalog / "crm" / "connector.py").read_text()
    tree = ast.parse(code)
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert names == ["things_get", "things_close"]
    assert code.count("from tools.sdk import") == 1
    assert "from tools.sdk import Call, accept, given, segment" in code
    shell.begin("retail/parcels.get")
    assert "def parcels_get(" in (shell.catalog / "retail" / "connector.py").read_text()


def test_the_test_that_comes_with_it_names_what_is_sent(shell: Shell):
    shell.begin("crm/things.refund", "--effect", "money")
    (test,) = (shell.catalog.parent / "tests").iterdir()
    assert test.name == "test_crm_things_refund.py"
    text = test.read_text()
    assert '"POST /things/T1/refunds"' in text
    assert '"amount_minor_units": 100' in text
    ast.parse(text)


@pytest.mark.parametrize(
    "name",
    [
        *("things.get", "crm/", "crm/get", "Crm/things.get", "crm/things.Get"),
        *("../a/b.c", f"crm/a.{'b' * (TOOL_NAME_LENGTH_MAX - 1)}"),
    ],
)
def test_a_name_is_a_connector_and_a_tool(shell: Shell, name):
    assert "is no CONNECTOR/TOOL" in shell.begin(name, code=Exit.USAGE)


def test_nothing_that_is_there_is_written_over(shell: Shell):
    before = (shell.catalog / "retail" / "connector.py").read_bytes()
    said = shell.begin("crm/orders.get", code=Exit.FAILED)
    assert "already" in said
    assert not (shell.catalog / "crm").exists()
    (shell.catalog / "retail" / "orders.get.toml").unlink()
    said = shell.begin("retail/orders.get", code=Exit.FAILED)
    assert "has a function orders_get already" in said
    assert (shell.catalog / "retail" / "connector.py").read_bytes() == before


def test_code_that_cannot_be_added_to_is_said(shell: Shell):
    code = shell.catalog / "retail" / "connector.py"
    code.write_text("import tools.sdk\n")
    assert "has no line" in shell.begin("retail/parcels.get", code=Exit.FAILED)
    code.write_text("def (:\n")
    assert "is no Python" in shell.begin("retail/parcels.get", code=Exit.FAILED)
    assert "--effect" in shell.begin(
        "crm/things.get", "--effect", "magic", code=Exit.USAGE
    )
