"""A warrant is brief, and its times carry a zone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from broker.core.execute import Stamp, warrant_for
from broker.core.words.warrant import WARRANT_TTL_S_MAX
from tests.support.cases import NOW, interaction, request, tool

MADE = warrant_for(
    request(),
    tool=tool("orders.refund"),
    interaction=interaction(),
    stamp=Stamp("w", "e", "b", (), "k", NOW),
)


def test_a_warrant_may_live_up_to_the_limit() -> None:
    end = NOW + timedelta(seconds=WARRANT_TTL_S_MAX)
    assert replace(MADE, expires_at=end).expires_at == end


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        replace(MADE, expires_at=datetime(2026, 11, 23))  # noqa: DTZ001
