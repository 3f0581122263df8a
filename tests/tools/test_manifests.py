"""The catalog: what the runner reads of it, and what it refuses to serve."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from broker.registry.tools import manifest_digest
from tests.support.fake_edge import write_catalog
from tools.limits import (
    CONNECTOR_BYTES_MAX,
    MANIFEST_BYTES_MAX,
    TIMEOUT_S_MAX,
    TOOLS_MAX,
)
from tools.manifests import CatalogError, load_catalog

CATALOG = Path(__file__).parents[2] / "tools" / "catalog"


def test_every_tool_of_the_shop_is_loaded_with_the_brokers_digest():
    tools = load_catalog(CATALOG)
    assert {"customers.verify", "orders.refund", "answers.send"} <= {*tools}
    for path in (CATALOG / "retail").glob("*.toml"):
        data = tomllib.loads(path.read_text("utf-8"))
        assert tools[data["tool"]["name"]].digest == manifest_digest(data)


def test_what_is_not_said_has_its_default(tmp_path):
    write_catalog(tmp_path, "", tools={"read": {}})
    tool = load_catalog(tmp_path)["shop.read"]
    assert (tool.connector, tool.entry, tool.preload) == ("shop", "read", False)


def test_folders_without_manifests_are_left_alone(tmp_path):
    write_catalog(tmp_path, "", tools={"read": {}})
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("", "utf-8")
    assert {*load_catalog(tmp_path)} == {"shop.read"}


@pytest.mark.parametrize(
    ("differs", "problem"),
    [
        ({"connector": "other"}, "name of its folder"),
        ({"effect": "everything"}, "tool.effect"),
        ({"entry": "_private"}, "public function"),
        ({"entry": "__import__"}, "public function"),
        ({"entry": "os.system"}, "public function"),
        ({"entry": 1}, "public function"),
        ({"name": 1}, "tool.name"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": TIMEOUT_S_MAX + 1}, "timeout_s"),
        ({"timeout_s": True}, "timeout_s"),
        ({"preload": "yes"}, "preload"),
        ({"preload": True, "effect": "money"}, "Tier 3"),
        ({"preload": True, "effect": "state"}, "Tier 3"),
    ],
)
def test_a_manifest_with_a_wrong_field_is_named_and_refused(tmp_path, differs, problem):
    write_catalog(tmp_path, "", tools={"read": differs})
    with pytest.raises(CatalogError, match=problem) as refused:
        load_catalog(tmp_path)
    assert "read.toml" in str(refused.value)


def test_the_longest_timeout_and_preloading_a_reading_tool_are_taken(tmp_path):
    write_catalog(
        tmp_path, "", tools={"read": {"timeout_s": TIMEOUT_S_MAX, "preload": True}}
    )
    tool = load_catalog(tmp_path)["shop.read"]
    assert (tool.timeout_s, tool.preload) == (TIMEOUT_S_MAX, True)


def test_two_tools_of_one_name_are_refused(tmp_path):
    write_catalog(tmp_path, "", tools={"read": {}, "again": {"name": "shop.read"}})
    with pytest.raises(CatalogError, match="exists already"):
        load_catalog(tmp_path)


def test_manifests_without_a_connector_are_refused(tmp_path):
    write_catalog(tmp_path, "", tools={"read": {}})
    (tmp_path / "shop" / "connector.py").unlink()
    with pytest.raises(CatalogError, match=r"no connector\.py"):
        load_catalog(tmp_path)


@pytest.mark.parametrize("text", ["", "[tool", "[tool]\nname = 1", "tool = 1"])
def test_a_file_that_is_no_manifest_is_named_and_refused(tmp_path, text):
    write_catalog(tmp_path, "", tools={"read": {}})
    (tmp_path / "shop" / "read.toml").write_text(text, "utf-8")
    with pytest.raises(CatalogError, match=r"read\.toml"):
        load_catalog(tmp_path)


def test_a_catalog_that_is_missing_or_empty_is_refused(tmp_path):
    with pytest.raises(CatalogError, match="cannot be read"):
        load_catalog(tmp_path / "missing")
    with pytest.raises(CatalogError, match="holds 0 tools"):
        load_catalog(tmp_path)


def test_files_are_taken_at_their_longest_and_refused_one_byte_past_it(tmp_path):
    write_catalog(tmp_path, "#" * CONNECTOR_BYTES_MAX, tools={"read": {}})
    manifest = tmp_path / "shop" / "read.toml"
    text = manifest.read_text("utf-8")
    padded = text + "#" * (MANIFEST_BYTES_MAX - len(text))
    manifest.write_text(padded, "utf-8")
    assert load_catalog(tmp_path)
    manifest.write_text(padded + "#", "utf-8")
    with pytest.raises(CatalogError, match="more than"):
        load_catalog(tmp_path)
    manifest.write_text(text, "utf-8")
    code = tmp_path / "shop" / "connector.py"
    code.write_text("#" * (CONNECTOR_BYTES_MAX + 1), "utf-8")
    with pytest.raises(CatalogError, match="more than"):
        load_catalog(tmp_path)


def test_tools_are_counted_over_the_whole_catalog(tmp_path):
    write_catalog(tmp_path, "", tools={f"read{one}": {} for one in range(TOOLS_MAX)})
    assert len(load_catalog(tmp_path)) == TOOLS_MAX
    write_catalog(tmp_path, "", connector="more", tools={"read": {}})
    with pytest.raises(CatalogError, match=f"not 1 to {TOOLS_MAX}"):
        load_catalog(tmp_path)
