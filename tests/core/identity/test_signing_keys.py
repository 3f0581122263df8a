"""Every token that may still be valid verifies; nobody signs with an unknown key."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.identity.signing_keys import (
    RING_AGE_S_MAX,
    RING_KEYS_MAX,
    KeyState,
    Pace,
    Ring,
    compromised,
    due,
    first_ring,
    next_key,
    published,
    rotated,
    signing_key,
    state_of,
)
from broker.core.jwk import Algorithm, PublicKey
from broker.core.words.errors import ConflictError, NotFoundError
from tests.support.identities import NOW, key_of

PACE = Pace(cache_s=60, token_s=50, skew_s=5, known_s=20, rotate_s=600)
KEYS = [key_of(f"signing {n}", Algorithm.ES256).public() for n in range(40)]


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def ring() -> Ring:
    return first_ring(KEYS[0], KEYS[1], now=NOW)


def states(of: Ring, seconds: float) -> list[str]:
    return [state_of(key, now=after(seconds), pace=PACE).value for key in of.keys]


def test_a_key_goes_from_pending_to_active_to_retiring_to_removed():
    turned = rotated(ring(), KEYS[2], now=after(10), pace=PACE)
    assert states(turned, 10) == ["active", "pending", "pending"]
    # Published at 0, so it signs at twice 60 s and not a moment earlier.
    assert states(turned, 119) == ["active", "pending", "pending"]
    assert states(turned, 120) == ["retiring", "active", "pending"]
    # The last token ends 50 s later; clocks differ by 5, and what is known by 60 + 20.
    assert states(turned, 120 + 134) == ["retiring", "active", "pending"]
    assert states(turned, 120 + 135) == ["removed", "active", "pending"]


def test_a_key_that_everybody_knows_signs_at_once():
    turned = rotated(ring(), KEYS[2], now=after(500), pace=PACE)
    assert states(turned, 500) == ["retiring", "active", "pending"]
    assert signing_key(turned, now=after(500), pace=PACE) is turned.keys[1]


def test_a_second_rotation_waits_for_the_first():
    turned = rotated(ring(), KEYS[2], now=after(10), pace=PACE)
    with pytest.raises(ConflictError, match="under way"):
        rotated(turned, KEYS[3], now=after(119), pace=PACE)
    again = rotated(turned, KEYS[3], now=after(120), pace=PACE)
    assert states(again, 120) == ["retiring", "active", "pending", "pending"]


def test_what_was_removed_leaves_the_ring_with_the_next_rotation():
    turned = rotated(ring(), KEYS[2], now=after(500), pace=PACE)
    later = rotated(turned, KEYS[3], now=after(2_000), pace=PACE)
    assert [key.kid for key in later.keys] == [key.kid for key in KEYS[1:4]]


def test_a_rotation_is_due_when_the_active_key_has_signed_long_enough():
    assert not due(ring(), now=after(599), pace=PACE)
    assert due(ring(), now=after(600), pace=PACE)
    turned = rotated(ring(), KEYS[2], now=after(600), pace=PACE)
    assert not due(turned, now=after(600), pace=PACE)
    waiting = rotated(ring(), KEYS[2], now=after(10), pace=Pace(rotate_s=0))
    assert not due(waiting, now=after(11), pace=Pace(rotate_s=0))


def test_a_compromised_key_is_dropped_and_the_next_one_signs_from_that_moment():
    dropped = compromised(ring(), KEYS[0].kid, KEYS[2], now=after(1), pace=PACE)
    assert states(dropped, 1) == ["compromised", "active", "pending"]
    assert {key.kid for key in published(dropped, now=after(1), pace=PACE)} == {
        KEYS[1].kid,
        KEYS[2].kid,
    }


def test_a_replica_whose_clock_is_behind_signs_with_the_key_that_is_about_to():
    dropped = compromised(ring(), KEYS[0].kid, KEYS[2], now=after(9), pace=PACE)
    found = signing_key(dropped, now=after(5), pace=PACE)
    assert found is not None
    assert found.kid == KEYS[1].kid


def test_dropping_the_pending_key_leaves_the_active_one_signing():
    turned = rotated(ring(), KEYS[2], now=after(10), pace=PACE)
    dropped = compromised(turned, KEYS[1].kid, KEYS[3], now=after(20), pace=PACE)
    active = signing_key(dropped, now=after(5_000), pace=PACE)
    assert active is not None
    assert active.kid == KEYS[0].kid
    assert next_key(dropped, now=after(20), pace=PACE) is dropped.keys[2]


@pytest.mark.parametrize("kid", ["", "nobody", KEYS[39].kid])
def test_only_a_published_key_can_be_dropped(kid):
    with pytest.raises(NotFoundError):
        compromised(ring(), kid, KEYS[2], now=NOW, pace=PACE)


def test_dropping_one_key_after_the_other_keeps_the_ring_within_its_bounds():
    now, found = NOW, ring()
    for fresh in KEYS[2:]:
        now += timedelta(seconds=1)
        signs = signing_key(found, now=now, pace=PACE)
        assert signs is not None
        found = compromised(found, signs.kid, fresh, now=now, pace=PACE)
        assert len(found.keys) <= RING_KEYS_MAX
        assert next_key(found, now=now, pace=PACE) is not None
    assert len(found.keys) == RING_KEYS_MAX


def test_the_times_of_the_product_leave_room_for_replicas_that_lag():
    pace = Pace()
    assert pace.lead.total_seconds() == 2 * pace.cache_s
    assert pace.cache_s > RING_AGE_S_MAX + 2 * pace.skew_s


@dataclass
class World:
    """Replicas that lag and whose clocks differ, and others who keep what they read."""

    now: float = 0.0
    rings: list[tuple[float, Ring]] = field(default_factory=lambda: [(0.0, ring())])
    fresh: count[int] = field(default_factory=lambda: count(2))
    emergencies: dict[str, float] = field(default_factory=dict)
    early: set[str] = field(default_factory=set)

    def key(self) -> PublicKey:
        return KEYS[next(self.fresh) % len(KEYS)]

    def as_known(self, *, at: float, lag: float) -> Ring:
        """Return the ring as a replica knows it that read it `lag` seconds ago."""
        return [made for since, made in self.rings if since <= max(0, at - lag)][-1]


def up_to(most: float, least: float = 0.0) -> st.SearchStrategy[float]:
    """Return spans between two bounds, and often a bound: there things go wrong."""
    bounds = st.sampled_from([least, most])
    return st.one_of(bounds, bounds, bounds, st.floats(least, most))


def turns(world: World) -> st.SearchStrategy[float]:
    """Return moments just around those in which some key begins or ends to sign."""
    moments = {
        (moment - NOW).total_seconds()
        for _, made in world.rings
        for key in made.keys
        for moment in (key.signs_from, key.signs_until)
        if moment is not None
    }
    offsets = st.sampled_from([-5.0, -1.0, -0.1, 0.0, 1.0, float(PACE.known_s)])
    near = st.tuples(st.sampled_from(sorted(moments)), offsets)
    return near.map(lambda found: max(0.0, sum(found)))


lags = up_to(PACE.known_s)
skews = up_to(PACE.skew_s / 2, -PACE.skew_s / 2)
steps = st.one_of(
    st.tuples(st.just("pass"), st.floats(0, 200)),
    st.tuples(st.just("rotate"), st.just(0.0)),
)


@given(st.lists(steps, max_size=25), st.data())
@settings(max_examples=500)
def test_every_token_verifies_wherever_it_is_shown_while_it_is_valid(moves, data):
    world = World()
    for what, seconds in moves:
        if what == "pass":
            world.now += seconds
        else:
            now = after(world.now)
            try:
                made = rotated(world.rings[-1][1], world.key(), now=now, pace=PACE)
            except ConflictError:
                continue
            world.rings.append((world.now, made))
    # A replica signs at some moment, with what it knew then and its own clock.
    signed_at = data.draw(st.one_of(turns(world), st.floats(0, world.now)))
    knew = world.as_known(at=signed_at, lag=data.draw(lags))
    clock = after(signed_at + data.draw(skews))
    signer = signing_key(knew, now=clock, pace=PACE)
    assert signer is not None
    assert signer.signs_from is not None
    assert signer.signs_from <= clock + timedelta(seconds=PACE.skew_s)
    # Somebody looks at the token while it lives, with keys that they read up to
    # `cache_s` ago from a replica that knew the ring of up to `known_s` before.
    last = PACE.token_s - 0.001
    shown_at = signed_at + data.draw(st.one_of(st.just(last), st.floats(0, last)))
    read_at = max(0.0, shown_at - data.draw(up_to(PACE.cache_s)))
    served = world.as_known(at=read_at, lag=data.draw(lags))
    keys = published(served, now=after(read_at + data.draw(skews)), pace=PACE)
    assert signer.kid in {key.kid for key in keys}


@given(
    st.lists(
        st.tuples(st.sampled_from(["pass", "rotate", "drop"]), st.integers(0, 300)),
        max_size=25,
    )
)
def test_whatever_happens_one_key_signs_and_another_one_waits(moves):
    now, found, fresh = NOW, ring(), count(2)
    dropped: set[str] = set()
    for what, number in moves:
        key = KEYS[next(fresh)]
        if what == "pass":
            now += timedelta(seconds=number)
        elif what == "rotate":
            try:
                found = rotated(found, key, now=now, pace=PACE)
            except ConflictError:
                continue
        else:
            known = published(found, now=now, pace=PACE)
            kid = known[number % len(known)].kid
            found = compromised(found, kid, key, now=now, pace=PACE)
            dropped.add(kid)
        signs = [
            k for k in found.keys if state_of(k, now=now, pace=PACE) is KeyState.ACTIVE
        ]
        assert len(signs) == 1
        assert next_key(found, now=now, pace=PACE) is not None
        kids = {k.kid for k in published(found, now=now, pace=PACE)}
        assert not kids & dropped
        assert len(found.keys) <= RING_KEYS_MAX
