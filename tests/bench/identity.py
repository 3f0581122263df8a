"""Measure the front door against the signatures that it cannot do without.

A call verifies one proof, and the token only when it is new. A token request verifies
an assertion and a proof, and signs. The rows and memories behind the door are fakes
that answer at once, so that what is measured is our own work.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from broker.api.identity.front import establish
from broker.api.identity.issue import answer_token
from broker.core.authenticate import Target
from broker.core.words.subject import SubjectKind
from tests.bench.measure import TURNS, Row, row
from tests.support.door import Door, open_door
from tests.support.fake_registry import FakeRegistry
from tests.support.identities import ISSUER, key_of

CALLS = 200
URL = f"{ISSUER}/v1/tools"


def rows() -> list[Row]:
    """Measure a verified call and an issued token."""
    return asyncio.run(_rows())


async def _rows() -> list[Row]:
    async with open_door() as door:
        _remember(door.registry)
        calls, tokens, raw = [], [], []
        for _ in range(TURNS):
            raw.append(_raw_verify_us())
            calls.append(await _call_us(door))
            tokens.append(await _token_us(door))
        verify = median(raw)
        return [
            row(
                "a verified call with its proof, CPU, against one raw ES256 verify",
                median(calls),
                "us",
                verify,
            ),
            row(
                "a token issued with its proof, CPU, against two raw ES256 verifies",
                median(tokens),
                "us",
                2 * verify,
            ),
        ]


def _remember(registry: FakeRegistry) -> None:
    """Verify each row once, as the adapter does."""
    seen: dict[tuple[str, str, int], object] = {}
    verified = registry._verified  # noqa: SLF001

    def remembered(kind: str, row_id: str, revision: int) -> object:
        key = (kind, row_id, revision)
        if key not in seen:
            seen[key] = verified(kind, row_id, revision)
        return seen[key]

    registry._verified = remembered  # type: ignore[method-assign,assignment]  # noqa: SLF001


def _raw_verify_us() -> float:
    material = key_of("instance").material
    assert isinstance(material, ec.EllipticCurvePrivateKey)
    signature, key = material.sign(b"x", ec.ECDSA(SHA256())), material.public_key()
    began = time.process_time()
    for _ in range(CALLS):
        key.verify(signature, b"x", ec.ECDSA(SHA256()))
    return (time.process_time() - began) / CALLS * 1e6


async def _call_us(door: Door) -> float:
    token = await door.token()
    proofs = [door.proof("GET", URL, token=token) for _ in range(CALLS)]
    target = Target("GET", door.desk.origins, "/v1/tools")
    began = time.process_time()
    for proof in proofs:
        await establish(
            door.desk,
            kind=SubjectKind.AGENT,
            target=target,
            authorization=[f"DPoP {token}"],
            proofs=[proof],
        )
    return (time.process_time() - began) / CALLS * 1e6


async def _token_us(door: Door) -> float:
    asked = [(door.form(), door.proof()) for _ in range(CALLS)]
    began = time.process_time()
    for form, proof in asked:
        answer = await answer_token(door.desk, form, proofs=[proof])
        assert answer.status == 200
    return (time.process_time() - began) / CALLS * 1e6
