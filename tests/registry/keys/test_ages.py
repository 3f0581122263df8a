"""Keys past their age and identities that nobody uses, to the day."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.registry.keys.ages import (
    AGENT_KEY_AGE_DAYS_MAX,
    KEY_TOO_OLD,
    OWN_KEY_AGE_DAYS_MAX,
    UNUSED,
    UNUSED_DAYS_MAX,
    Known,
    OwnKey,
    stale,
)
from tests.support.identities import AGENT_ID, NOW

MOMENT = timedelta(microseconds=1)


def known(*, keys=None, used=None, registered_days=0) -> Known:
    return Known(
        agent_id=AGENT_ID,
        name="care-agent",
        registered_at=NOW - timedelta(days=registered_days),
        keys={kid: NOW - age for kid, age in (keys or {}).items()},
        used={kid: NOW - age for kid, age in (used or {}).items()},
    )


def test_a_key_may_get_so_old_and_not_a_moment_older():
    limit = timedelta(days=AGENT_KEY_AGE_DAYS_MAX)
    assert stale(known(keys={"k": limit}), now=NOW) == []
    (found,) = stale(known(keys={"k": limit + MOMENT, "new": MOMENT}), now=NOW)
    assert (found.what, found.kid, found.days) == (KEY_TOO_OLD, "k", 90)


@pytest.mark.parametrize("used", [{}, {"k": timedelta(days=UNUSED_DAYS_MAX) + MOMENT}])
def test_an_identity_that_was_used_long_ago_or_never_is_found(used):
    (found,) = stale(known(used=used, registered_days=40), now=NOW)
    assert (found.what, found.kid) == (UNUSED, "")
    assert found.days == (30 if used else 40)


def test_an_identity_that_was_used_lately_or_is_new_is_not():
    lately = {"old": timedelta(days=80), "k": timedelta(days=UNUSED_DAYS_MAX)}
    assert stale(known(used=lately, registered_days=99), now=NOW) == []
    assert stale(known(registered_days=UNUSED_DAYS_MAX), now=NOW) == []


def test_a_key_of_the_brokers_own_has_a_year():
    limit = timedelta(days=OWN_KEY_AGE_DAYS_MAX)
    assert not OwnKey("entry", "kid", "EdDSA", NOW - limit).too_old(NOW)
    assert OwnKey("entry", "kid", "EdDSA", NOW - limit - MOMENT).too_old(NOW)
