"""Hold a whole run to it: every example of the document was compared with an answer.

Each test's report carries what it compared, also from xdist's workers. With
``--examples`` a run that passed ends with 1 if something was left out, and names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support.identity import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

PROPERTY: Final = "example"


class Examples:
    """Collect what tests compared."""

    def __init__(self, *, asked: bool) -> None:
        """Start with nothing compared; ``asked`` is whether all have to be."""
        self.asked = asked
        self.seen: set[str] = set()
        self.missing: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterable[None]:
        """Write what this test compared where its report carries it along."""
        yield
        item.user_properties += [
            (PROPERTY, " ".join(one)) for one in sorted(shown.SEEN)
        ]
        shown.SEEN.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test compared."""
        for name, one in report.user_properties:
            if name == PROPERTY:
                self.seen.add(str(one))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that passed and left examples out."""
        if self.asked:
            wanted = {" ".join(one) for one in shown.with_examples()}
            self.missing = sorted(wanted - self.seen)
            if self.missing and session.exitstatus == 0:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Name what no test compared."""
        if self.missing:
            terminalreporter.section("examples that no test compares with an answer")
            for line in self.missing:
                terminalreporter.write_line(line)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --examples."""
    parser.addoption(
        "--examples", action="store_true", help="fail if an example is not compared"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch every run. Only a run of all is asked, and only where reports arrive."""
    asked = config.getoption("examples") and not hasattr(config, "workerinput")
    config.pluginmanager.register(Examples(asked=asked), "counterfoil-examples")
