"""Connect tests with the controls they show: control -> test -> result.

A test says ``@pytest.mark.control("6.4")``; the numbers and titles stand in
docs/controls.toml, and a test with a number that does not stand there fails. With
``--controls`` the run ends with one table over all controls.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CATALOGUE = Path(__file__).parents[3] / "docs" / "controls.toml"
PROPERTY = "control"
NO_TEST = "no test yet"


def read_catalogue(path: Path = CATALOGUE) -> dict[str, str]:
    """Return control number to title, in the order of the file."""
    with path.open("rb") as file:
        return {row["id"]: row["title"] for row in tomllib.load(file)["control"]}


def rows(
    catalogue: Mapping[str, str], shown: Mapping[str, Mapping[str, str]]
) -> list[tuple[str, str, str, str]]:
    """Lay out (control, title, test, result), a row per test of a control.

    Args:
        catalogue: Control number to title, in the order to print.
        shown: Control number to its tests, and each test to its result.
    """
    table: list[tuple[str, str, str, str]] = []
    for control, title in catalogue.items():
        tests = shown.get(control, {})
        if not tests:
            table.append((control, title, "-", NO_TEST))
        for position, test in enumerate(sorted(tests)):
            head = (control, title) if position == 0 else ("", "")
            table.append((*head, test, tests[test]))
    return table


def render(table: Sequence[tuple[str, str, str, str]]) -> Iterable[str]:
    """Yield the table's lines, columns aligned."""
    number = max((len(row[0]) for row in table), default=0)
    title = max((len(row[1]) for row in table), default=0)
    result = max((len(row[3]) for row in table), default=0)
    for control, name, test, outcome in table:
        head = f"{control:<{number}}  {name:<{title}}"
        yield f"{head}  {outcome:<{result}}  {test}".rstrip()


class Controls:
    """Collect the results of marked tests, also those of xdist's workers."""

    def __init__(self) -> None:
        """Start with nothing shown."""
        self.catalogue = read_catalogue()
        self.shown: dict[str, dict[str, str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Write each test's controls where its report carries them to the table."""
        for item in items:
            for mark in item.iter_markers("control"):
                item.user_properties += [(PROPERTY, control) for control in mark.args]

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Fail a test whose marker names no control, or one that is not listed."""
        for mark in item.iter_markers("control"):
            unknown = [name for name in mark.args if name not in self.catalogue]
            if mark.kwargs or unknown or not mark.args:
                pytest.fail(
                    f"docs/controls.toml has no {unknown or mark}", pytrace=False
                )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of a test's phases: a failing tear-down is a failure."""
        for name, control in report.user_properties:
            if name == PROPERTY:
                results = self.shown.setdefault(str(control), {})
                if report.outcome != "passed":
                    results[report.nodeid] = report.outcome
                elif report.when == "call":
                    results.setdefault(report.nodeid, "passed")

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        """Print the table and how many controls have a test."""
        if not config.getoption("controls"):
            return
        terminalreporter.section("controls")
        for line in render(rows(self.catalogue, self.shown)):
            terminalreporter.write_line(line)
        held = sum(
            all(result == "passed" for result in results.values())
            for results in self.shown.values()
        )
        terminalreporter.write_line(
            f"{held} of {len(self.catalogue)} controls are shown by tests that pass"
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --controls."""
    parser.addoption(
        "--controls", action="store_true", help="end with the table of controls"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch every run, so that a wrong control number never passes."""
    config.pluginmanager.register(Controls(), "counterfoil-controls")
