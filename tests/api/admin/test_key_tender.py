"""The ring at a broker's start: made once, with the key that was a file before."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from broker.core.identity.signing_keys import Pace
from broker.core.jwk import Algorithm
from broker.effects.keyfiles import make_key, save_key
from broker.effects.signing import REFRESH_EVERY_S, SigningRing
from broker.wiring.keys import STALE_EVERY_S, TEND_EVERY_S, KeyTender
from tests.support.identity.halves import Drawer

if TYPE_CHECKING:
    from pathlib import Path

    from broker.settings import Settings


def tender(door: Any, state: Path) -> tuple[KeyTender, SigningRing]:
    ring = SigningRing(
        door.registry, Drawer(), clock=door.times, nonce_secret=b"n" * 32, pace=Pace()
    )
    settings = cast("Settings", SimpleNamespace(state=state))
    return KeyTender(settings, replace(door.desk, keys=ring), ring), ring


async def test_a_key_that_was_a_file_goes_into_the_ring_and_its_file_goes(
    door, tmp_path
):
    key = make_key(Algorithm.ES256)
    for folder in ("broker", "public"):
        save_key(tmp_path / folder / "token.jwk", key)
    tending, ring = tender(door, tmp_path)
    await tending.start()
    await tending.close()
    assert ring.token.kid == key.kid
    assert not list(tmp_path.rglob("token.jwk"))
    (made,) = door.registry.entries
    assert made.detail["what"] == "signing_key.first"


async def test_a_start_without_a_database_leaves_it_for_later(door, tmp_path):
    tending, ring = tender(door, tmp_path)
    door.registry.down = True
    await tending.start()
    door.registry.down = False
    await tending.tend()
    await tending.close()
    assert len(ring.tokens) == 2


async def test_what_is_due_is_done_where_there_is_no_temporal(door, tmp_path):
    tending, ring = tender(door, tmp_path)
    await tending.tend()
    first = ring.token.kid
    door.times.pass_(Pace().rotate_s)
    await tending.tend()
    assert ring.token.kid != first
    await door.registry.get("key_ring", "token")
    # Looked at often, and done seldom.
    entries = len(door.registry.entries)
    door.times.pass_(TEND_EVERY_S - 1)
    await tending.tend()
    assert len(door.registry.entries) == entries


@pytest.mark.parametrize("often", [REFRESH_EVERY_S, TEND_EVERY_S, STALE_EVERY_S])
def test_how_often_it_looks_is_far_below_what_it_looks_for(often):
    assert often < Pace().rotate_s / 100
