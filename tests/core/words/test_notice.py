"""An order to carry a notice cannot live long, nor in nobody's time zone."""

from datetime import timedelta

import pytest

from broker.core.words.notice import NOTICE_TTL_S_MAX
from tests.support.notices.orders import AT, order


def test_an_order_lives_as_long_as_it_may_and_no_longer() -> None:
    order(expires_at=AT + timedelta(seconds=NOTICE_TTL_S_MAX))
    for seconds in (0, -1, NOTICE_TTL_S_MAX + 1):
        with pytest.raises(ValueError, match="lives up to"):
            order(expires_at=AT + timedelta(seconds=seconds))


def test_an_order_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        order(issued_at=AT.replace(tzinfo=None))
