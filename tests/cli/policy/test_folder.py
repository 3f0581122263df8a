"""A policy folder becomes the body of a policy row, or is refused by name."""

from __future__ import annotations

import pytest

from broker.cli.policy.folder import (
    FILE_BYTES_MAX,
    FILES_MAX,
    body_of,
    read_folder,
)
from broker.registry.appetite.folder import APPETITE, LIMITS
from broker.registry.policy.books import limits_of, rule_book
from broker.registry.policy.cedar_text import PolicyError
from tests.support.cases import ROOT, all_tools

DEMO = ROOT / "infra" / "demo" / "policy"


def test_the_demos_folder_gives_a_body_that_can_be_published() -> None:
    body = {"version": 1, **body_of(DEMO)}
    assert rule_book(body, all_tools()).rules
    assert all(limits_of(body))
    assert {*body["sources"]} == {
        path.relative_to(DEMO).as_posix()
        for path in DEMO.rglob("*.*")
        if path.suffix in {".toml", ".cedar"}
    }


def test_a_folder_holds_as_many_files_as_the_limit_and_not_one_more(tmp_path) -> None:
    for number in range(FILES_MAX):
        (tmp_path / f"r{number:02}.cedar").write_text("")
    assert len(read_folder(tmp_path)) == FILES_MAX
    (tmp_path / "more.cedar").write_text("")
    with pytest.raises(PolicyError, match=f"more than {FILES_MAX} files"):
        read_folder(tmp_path)


def test_a_file_is_as_long_as_the_limit_and_not_one_byte_longer(tmp_path) -> None:
    (tmp_path / "a.cedar").write_bytes(b" " * FILE_BYTES_MAX)
    assert len(read_folder(tmp_path)["a.cedar"]) == FILE_BYTES_MAX
    (tmp_path / "a.cedar").write_bytes(b" " * (FILE_BYTES_MAX + 1))
    with pytest.raises(PolicyError, match="longer"):
        read_folder(tmp_path)


def test_what_is_no_text_or_no_table_is_refused_by_name(tmp_path) -> None:
    with pytest.raises(PolicyError, match="no folder"):
        read_folder(tmp_path / "missing")
    with pytest.raises(PolicyError, match=APPETITE):
        body_of(tmp_path)
    (tmp_path / APPETITE).write_text('schema = 1\nowner = "dave"\n')
    with pytest.raises(PolicyError, match=LIMITS):
        body_of(tmp_path)
    (tmp_path / LIMITS).write_text("[hold")
    with pytest.raises(PolicyError, match=f"{LIMITS}: Expected"):
        body_of(tmp_path)
    (tmp_path / LIMITS).write_bytes(b"\xff")
    with pytest.raises(PolicyError, match="as text"):
        read_folder(tmp_path)
