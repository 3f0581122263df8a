"""The ring of signing keys as a row: it reads back, and nothing else passes for one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from broker.core.identity.signing_keys import (
    RING_KEYS_MAX,
    Pace,
    Ring,
    SigningKey,
    compromised,
    first_ring,
    rotated,
)
from broker.core.jwk import Algorithm, private_to_jwk
from broker.registry.keys.signing import RING_ID, RING_KIND, parse_ring, ring_body
from broker.registry.reading import RowError
from tests.support.identities import NOW, key_of
from tests.support.identity.rows import row_of

KEYS = [key_of(f"signing {n}", Algorithm.ES256).public() for n in range(9)]


def read(body: dict[str, Any]) -> Ring:
    return parse_ring(row_of(body, kind=RING_KIND, row_id=RING_ID))


def ring() -> Ring:
    made = first_ring(KEYS[0], KEYS[1], now=NOW)
    turned = rotated(made, KEYS[2], now=NOW, pace=Pace())
    later = NOW + timedelta(seconds=1)
    return compromised(turned, KEYS[1].kid, KEYS[3], now=later, pace=Pace())


def test_a_ring_reads_back_as_it_was_written():
    found = read(ring_body(ring()))
    assert [key.kid for key in found.keys] == [key.kid for key in ring().keys]
    assert ring_body(found) == ring_body(ring())


def test_a_ring_holds_up_to_its_bound_and_not_one_more():
    keys = [SigningKey(key, NOW) for key in KEYS]
    assert len(read(ring_body(Ring(tuple(keys[:RING_KEYS_MAX])))).keys) == 8
    for count in (0, RING_KEYS_MAX + 1):
        with pytest.raises(RowError, match="keys"):
            read(ring_body(Ring(tuple(keys[:count]))))


@pytest.mark.parametrize(
    "changes",
    [
        {"jwk": None},
        {"jwk": private_to_jwk(key_of("signing 0", Algorithm.ES256))},
        {"kid": KEYS[5].kid},
        {"kid": None},
        {"published_at": None},
        {"signs_from": "soon"},
        {"surprise": 1},
    ],
)
def test_a_key_that_is_not_all_that_it_must_be_spoils_the_ring(changes):
    body = ring_body(ring())
    body["keys"][0] |= changes
    with pytest.raises(RowError):
        read(body)


def test_a_key_of_another_sort_twice_the_same_or_no_key_spoils_the_ring():
    eddsa = SigningKey(key_of("other", Algorithm.EDDSA).public(), NOW)
    twice = SigningKey(KEYS[0], NOW)
    for keys in ((eddsa,), (twice, twice)):
        with pytest.raises(RowError):
            read(ring_body(Ring(keys)))
    wrong: list[dict[str, Any]] = [{}, {"keys": {}}, {"keys": ["x"]}]
    for body in (*wrong, ring_body(ring()) | {"more": 1}):
        with pytest.raises(RowError):
            read(body)
