"""`counterfoil tools list`, `show` and `check`."""

from __future__ import annotations

import pytest

from broker.cli.exits import Exit
from broker.cli.tools.catalogue import manifests, read_catalogue
from broker.effects import shelf
from broker.effects.shelf import CatalogShelf
from broker.registry.tools import ManifestError
from tests.cli.tools.conftest import TOOLS, Shell


def test_every_tool_is_listed_as_the_broker_loads_it(shell: Shell):
    rows = shell.run("list")
    loaded = CatalogShelf(shell.catalog).tools()
    assert [(row["name"], row["digest"], row["tier"]) for row in rows] == [
        (tool.name, tool.digest, tool.tier) for tool in loaded
    ]
    assert {row["confirmed"] for row in rows} == {"written by hand"}
    assert "orders.refund" in shell.say("list")


def test_a_tool_is_shown_with_what_it_sends_reads_and_releases(shell: Shell):
    text = shell.say("show", "orders.refund")
    assert "POST /orders/{args.order_id}/refunds, effectful" in text
    assert "owner from /customer_id" in text
    assert "/refund_id (identifier, system_of_record)" in text
    (shown,) = shell.run("show", "orders.refund")
    assert shown["manifest"]["tool"]["effect"] == "money"
    assert "no tool" in shell.say("show", "orders.none", code=Exit.NOT_FOUND)


def test_a_good_catalogue_has_nothing_to_look_at(shell: Shell):
    assert "0 to look at" in shell.say("check")
    rows = shell.run("check", str(shell.catalog))
    assert rows[-1] == {"manifests": len(rows) - 1, "bad": 0}
    one = str(shell.catalog / "retail" / "orders.get.toml")
    assert len(shell.run("check", one)) == 2
    assert len(shell.run("check", str(shell.catalog / "retail"))) == len(rows)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('effect = "money"', 'effect = "monny"', "monny"),
        ("[egress]", "[egress]\nunknown = 1", "unknown field 'unknown' in [egress]"),
        ("schema = 1", "schema = ", "orders.refund.toml"),
        ('entry = "orders_refund"', 'entry = "nothing"', "no function nothing"),
        ('connector = "retail"', 'connector = "other"', "its folder 'retail'"),
        ('type = "integer"', 'type = "intejer"', "no JSON Schema"),
        ('name = "orders.refund"', 'name = "orders.get"', "is taken"),
    ],
)
def test_an_error_names_file_and_field_and_the_others_are_still_checked(
    shell: Shell, old, new, says
):
    path = shell.change("orders.refund", old, new)
    text = shell.say("check", code=Exit.FAILED)
    (line,) = [one for one in text.splitlines() if "error:" in one]
    assert line.startswith(f"{path}: error: ")
    assert says in line
    assert f"{len(TOOLS)} manifests, 1 to look at" in text
    assert "does not load" in shell.say("list")


def test_what_the_broker_would_not_load_is_an_error_here(shell: Shell):
    shell.change("orders.refund", 'name = "orders.refund"', 'name = "orders.get"')
    with pytest.raises(ManifestError, match="is taken"):
        CatalogShelf(shell.catalog)
    assert any(entry.errors for entry in read_catalogue(shell.catalog))


def test_a_finding_fails_the_check_until_it_is_accepted(shell: Shell):
    path = shell.change("orders.refund", "refused = [404, 409, 422]\n", "")
    text = shell.say("check", code=Exit.FAILED)
    assert f"{path}: no-refused: egress.refund.refused " in text
    (row, last) = shell.run("check", str(path), code=Exit.FAILED)
    assert [one["code"] for one in row["findings"]] == ["no-refused"]
    assert last["bad"] == 1
    accepted = '[[accepted]]\nfinding = "no-refused"\nbecause = "none documented"\n\n'
    shell.change("orders.refund", "[arguments]\n", f"{accepted}[arguments]\n")
    assert "0 to look at" in shell.say("check")


def test_a_manifest_at_the_limit_is_read_and_one_byte_past_it_is_not(shell: Shell):
    path = shell.catalog / "retail" / "orders.get.toml"
    text = path.read_text("utf-8")
    path.write_text(text + "#" * (shelf.MANIFEST_BYTES_MAX - len(text.encode())))
    assert "0 to look at" in shell.say("check")
    path.write_text(path.read_text("utf-8") + "#")
    assert "longer than" in shell.say("check", code=Exit.FAILED)


def test_a_place_without_manifests_is_said(shell: Shell):
    assert manifests(shell.catalog / "nowhere") == []
    assert "no manifests" in shell.say("check", "nowhere", code=Exit.NOT_FOUND)


def test_a_connector_without_code_or_with_broken_code_is_an_error(shell: Shell):
    code = shell.catalog / "retail" / "connector.py"
    code.write_text("def orders_get(:", "utf-8")
    assert "is no Python" in shell.say("check", code=Exit.FAILED)
    code.unlink()
    assert "there is no connector.py" in shell.say("check", code=Exit.FAILED)
