"""`counterfoil tools import` and `confirm`: nothing loads until a person said so."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.cli.exits import Exit
from broker.effects.shelf import CatalogShelf
from broker.registry.kit.openapi.infer import IMPORTED_MAX
from broker.registry.review import ANSWER_CHARS_MAX
from broker.registry.tools import ManifestError
from tests.cli.tools.conftest import CATALOG, Shell
from tests.registry.kit.openapi.conftest import described, of, operation

TOP = Path(__file__).parents[3]
HELPDESK = TOP / "infra" / "helpdesk" / "openapi.yaml"
TEXT = {"type": "string"}
Paths = Mapping[str, Any]
PARCELS: Paths = {"/orders/{order_id}/parcel": operation()}
NOBODYS: Paths = {"/users/{user_id}/things": operation(answer=of({"n": TEXT}))}


def write(shell: Shell, document: dict[str, Any]) -> str:
    path = shell.catalog.parent / "api.json"
    path.write_text(json.dumps(document), "utf-8")
    return str(path)


def bring(shell: Shell, paths: Paths = PARCELS, *more: str, code: int = Exit.OK) -> str:
    """Import a description of these GET operations."""
    found = {path: {"get": made} for path, made in paths.items()}
    where = write(shell, described(found))
    return shell.say("import", where, "--connector", "crm", *more, code=code)


def test_the_help_desks_manifests_are_what_its_description_gives(shell: Shell):
    (made,) = shell.run("import", str(HELPDESK), "--connector", "helpdesk")
    assert made["not_imported"] == []
    folder = shell.catalog / "helpdesk"
    digest = hashlib.sha256(HELPDESK.read_bytes()).hexdigest()
    for path in sorted((CATALOG / "helpdesk").glob("*.toml")):
        ours = tomllib.loads(path.read_text("utf-8"))
        fresh = tomllib.loads((folder / path.name).read_text("utf-8"))
        review = ours.pop("review")
        assert review["source"] == f"openapi.yaml sha256:{digest}"
        assert review["operation"] == fresh.pop("review")["operation"]
        for request in ours["egress"]["requests"]:
            # The one guess that a person corrected: the key is kept for 24 hours.
            if "idempotency_kept_s" in request:
                assert request["idempotency_kept_s"] == 86_400
                request["idempotency_kept_s"] = 0
        assert ours == fresh
    code = (CATALOG / "helpdesk" / "connector.py").read_text("utf-8")
    assert code == (folder / "connector.py").read_text("utf-8")


def test_a_catalogue_with_an_import_does_not_load_until_it_is_confirmed(shell: Shell):
    assert "1 manifests" in bring(shell)
    with pytest.raises(ManifestError, match="tools confirm"):
        CatalogShelf(shell.catalog)
    rows = {row["name"]: row for row in shell.run("list")}
    assert rows["orders.parcel.get"]["confirmed"].startswith("no, ")
    assert not rows["orders.parcel.get"]["loads"]
    said = shell.confirm("orders.parcel.get", connector="crm")
    assert "orders.parcel.get is confirmed" in said
    assert "GET /orders/{args.order_id}/parcel" in said
    tool = CatalogShelf(shell.catalog).tool("orders.parcel.get")
    assert tool is not None
    rows = {row["name"]: row for row in shell.run("list")}
    assert rows["orders.parcel.get"]["confirmed"].startswith("Carol, 20")
    assert rows["orders.parcel.get"]["digest"] == tool.digest
    assert "0 to look at" in shell.say("check")


def test_a_change_after_the_confirmation_asks_again(shell: Shell):
    bring(shell)
    path = shell.catalog / "crm" / "orders.parcel.get.toml"
    shell.confirm("orders.parcel.get", connector="crm")
    path.write_text(path.read_text().replace("timeout_s = 10", "timeout_s = 20"))
    assert "changed after Carol confirmed it" in shell.say("check", code=Exit.FAILED)
    # Its questions stay answered: only the whole is confirmed again.
    shell.say("confirm", "orders.parcel.get", "--by", "Dan", told="orders.parcel.get\n")
    assert CatalogShelf(shell.catalog).tool("orders.parcel.get") is not None


@pytest.mark.parametrize("told", ["ok\n" * 9 + "yes\n", "ok\n", ""])
def test_nothing_is_confirmed_without_the_tools_name(shell: Shell, told):
    bring(shell)
    before = (shell.catalog / "crm" / "orders.parcel.get.toml").read_bytes()
    shell.say("confirm", "orders.parcel.get", "--by", "Carol", told=told, code=1)
    assert (shell.catalog / "crm" / "orders.parcel.get.toml").read_bytes() == before


def test_an_answer_is_one_line_of_limited_length_and_asked_again(shell: Shell):
    bring(shell)
    path = shell.catalog / "crm" / "orders.parcel.get.toml"
    questions = len(tomllib.loads(path.read_text())["review"]["questions"])
    long = "x" * (ANSWER_CHARS_MAX + 1)
    told = f"{long}\n" + f"{long[1:]}\n" * questions + "orders.parcel.get\n"
    shell.say("confirm", "orders.parcel.get", "--by", "Carol", told=told)
    document = tomllib.loads(path.read_text())
    assert {one["answer"] for one in document["review"]["questions"]} == {long[1:]}


def test_what_is_too_broad_is_mended_before_it_is_confirmed(shell: Shell):
    bring(shell)
    path = shell.catalog / "crm" / "orders.parcel.get.toml"
    path.write_text(path.read_text().replace("requests_max = 1", "requests_max = 3"))
    said = shell.say("confirm", "orders.parcel.get", "--by", "Carol", code=Exit.FAILED)
    assert "wide-budget" in said


def test_a_person_has_a_name_and_a_hand_written_tool_waits_for_nobody(shell: Shell):
    bring(shell)
    said = shell.say("confirm", "orders.parcel.get", "--by", " ", code=Exit.USAGE)
    assert "--by" in said
    said = shell.say("confirm", "orders.get", "--by", "Carol", code=Exit.FAILED)
    assert "does not wait" in said


def test_what_cannot_be_imported_is_said_with_its_reason(shell: Shell):
    said = bring(shell, {**PARCELS, **NOBODYS})
    assert "not imported  GET /users/{user_id}/things: it names the customer" in said
    assert {path.stem for path in (shell.catalog / "crm").glob("*.toml")} == {
        "orders.parcel.get"
    }


def test_nothing_is_written_when_nothing_can_be_imported(shell: Shell):
    said = bring(shell, NOBODYS, code=Exit.FAILED)
    assert "nothing could be imported" in said
    assert not (shell.catalog / "crm").exists()


def test_a_name_that_the_catalogue_has_is_not_taken_again(shell: Shell):
    said = bring(shell, {"/orders/{order_id}": operation()}, code=Exit.FAILED)
    assert "a tool is named orders.get already" in said


def test_an_existing_connector_is_never_written_over(shell: Shell):
    bring(shell)
    assert "is there already" in bring(shell, code=Exit.FAILED)


@pytest.mark.parametrize("name", ["../evil", "Crm", "", "a" * 41, "a b"])
def test_a_connector_has_a_plain_name(shell: Shell, name):
    where = write(shell, described({"/orders": {"get": operation()}}))
    said = shell.say("import", where, "--connector", name, code=Exit.USAGE)
    assert "is no name for a connector" in said


def test_more_operations_than_people_can_confirm_are_named_first(shell: Shell):
    many: Paths = {f"/p{n}": {"operationId": f"op{n}"} for n in range(10_000)}
    said = bring(shell, many, code=Exit.FAILED)
    assert "10000 operations, and a person has to confirm each: import up to" in said
    assert str(IMPORTED_MAX) in said
    some = {f"/p{n}": operation(operationId=f"op{n}") for n in range(IMPORTED_MAX + 1)}
    assert "at once" in bring(shell, some, code=Exit.FAILED)
    assert "no such operation" in bring(shell, some, "--only", "none", code=Exit.FAILED)
    assert "11 manifests" in bring(shell, some, "--only", "op77", "--only", "GET /p9?")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "no OpenAPI 3.0 or 3.1"),
        ("a: &a {}", "anchors"),
        ("{" * 5_000, "depth"),
        ('{"openapi": "3.1.0", "paths": {}, "paths": {}}', "stands twice"),
        ('{"openapi": "3.1.0", "paths": {}}', "no such operation"),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(shell: Shell, text, says):
    path = shell.catalog.parent / "api.yaml"
    path.write_text(text, "utf-8")
    said = shell.say("import", str(path), "--connector", "crm", code=Exit.FAILED)
    assert says in said
    assert len(said.strip().splitlines()) == 1
