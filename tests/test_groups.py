"""Tests that share something dear run on one worker."""

from __future__ import annotations

from pathlib import Path

from tests.support.run.groups import ROOT, Grouped, group_of

FOLDER = Path(__file__).parent
MARK = "mark." + "xdist_group"


def test_every_group_that_a_test_file_names_is_found() -> None:
    marked = [p for p in FOLDER.rglob("test_*.py") if MARK in p.read_text("utf-8")]
    found = {group_of(str(path.relative_to(ROOT))) for path in marked}
    assert found == {"sandbox", "stack", "roles"}


def test_a_file_without_a_group_is_in_none() -> None:
    assert group_of("tests/test_groups.py") == ""


def test_a_group_is_one_unit_of_work_and_any_other_test_is_its_own() -> None:
    split = Grouped._split_scope  # noqa: SLF001  (what xdist calls)
    up, here = "tests/cli/test_up.py", "tests/test_groups.py"
    assert {split(None, f"{up}::test_{n}") for n in "ab"} == {"stack"}  # type: ignore[arg-type]
    assert len({split(None, f"{here}::test_{n}") for n in "ab"}) == 2  # type: ignore[arg-type]
