"""The shelf loads the whole catalog or nothing: no manifest is left out silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.effects.shelf import MANIFEST_BYTES_MAX, TOOLS_MAX, CatalogShelf
from broker.registry.tools import ManifestError
from tests.support.cases import RETAIL, all_tools

if TYPE_CHECKING:
    from pathlib import Path

ORDERS_GET = (RETAIL / "orders.get.toml").read_text(encoding="utf-8")


def put(catalog: Path, text: str | bytes, *, file: str = "orders.get") -> Path:
    """Write one manifest into a catalog."""
    path = catalog / "retail" / f"{file}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def renamed(number: int) -> str:
    return ORDERS_GET.replace('"orders.get"', f'"orders.get{number}"')


def padded(size: int) -> str:
    """Return a good manifest of exactly this many bytes."""
    return ORDERS_GET + "#" * (size - len(ORDERS_GET.encode()))


def test_the_shops_catalog_is_on_the_shelf_sorted_by_name() -> None:
    shelf = CatalogShelf(RETAIL.parent)
    assert [tool.name for tool in shelf.tools()] == sorted(t.name for t in all_tools())
    found = shelf.tool("orders.refund")
    assert found is not None
    assert found.name == "orders.refund"
    assert shelf.tool("orders.burn") is None


def test_an_empty_catalog_is_refused(tmp_path) -> None:
    with pytest.raises(ManifestError, match="0 manifests"):
        CatalogShelf(tmp_path)


def test_two_tools_of_one_name_are_refused(tmp_path) -> None:
    put(tmp_path, ORDERS_GET)
    put(tmp_path, ORDERS_GET, file="another")
    with pytest.raises(ManifestError, match=r"orders\.get is taken"):
        CatalogShelf(tmp_path)


@pytest.mark.parametrize("text", ["not toml", "a = 1\na = 2", b"a = '\xff'", ""])
def test_a_file_that_does_not_parse_is_named(tmp_path, text) -> None:
    put(tmp_path, ORDERS_GET)
    put(tmp_path, text, file="broken")
    with pytest.raises(ManifestError, match=r"broken\.toml"):
        CatalogShelf(tmp_path)


def test_a_manifest_is_as_long_as_the_limit_and_not_longer(tmp_path) -> None:
    put(tmp_path, padded(MANIFEST_BYTES_MAX))
    assert len(CatalogShelf(tmp_path).tools()) == 1
    put(tmp_path, padded(MANIFEST_BYTES_MAX + 1))
    with pytest.raises(ManifestError, match=f"longer than {MANIFEST_BYTES_MAX}"):
        CatalogShelf(tmp_path)


def test_a_catalog_holds_as_many_tools_as_the_limit_and_not_one_more(tmp_path) -> None:
    for number in range(TOOLS_MAX):
        put(tmp_path, renamed(number), file=f"t{number}")
    assert len(CatalogShelf(tmp_path).tools()) == TOOLS_MAX
    put(tmp_path, renamed(TOOLS_MAX), file="one-more")
    with pytest.raises(ManifestError, match=f"{TOOLS_MAX + 1} manifests"):
        CatalogShelf(tmp_path)
