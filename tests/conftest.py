"""What every test has: the control marker, Hypothesis profiles and no way out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.register_assert_rewrite("tests.contracts", "tests.support")
pytest_plugins = (
    "tests.support.run.controls",
    "tests.support.identity.examples",
    "tests.support.servers",
)

PURE_ROOMS = ("core", "registry", "watch")

# No deadline: two shared cores make a slow example out of a fast one. `thorough` is for
# a night; `quick` for the loop of somebody who edits.
settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile(
    "quick", parent=settings.get_profile("default"), max_examples=10
)
settings.register_profile(
    "thorough",
    parent=settings.get_profile("default"),
    max_examples=2_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("COUNTERFOIL_HYPOTHESIS", "default"))


@pytest.fixture(scope="session")
def migrate() -> Callable[[str], None]:
    """Give the run's database its tables, as `counterfoil migrate` does."""
    from broker.cli.migrate import upgrade  # noqa: PLC0415  (alembic is slow to load)

    return upgrade


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Schedule by group; only the process that runs the workers needs xdist."""
    from tests.support.run.groups import Grouped  # noqa: PLC0415

    return Grouped(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the network from the tests of pure rooms; all others may reach loopback."""
    here = Path(__file__).parent
    for item in items:
        room = item.path.relative_to(here).parts[0] if here in item.path.parents else ""
        if room in PURE_ROOMS:
            item.add_marker(pytest.mark.disable_socket)
