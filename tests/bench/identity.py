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
from tests.support.identities import INTERACTION_ID, ISSUER, key_of

CALLS = 200
TOKEN_MS_MAX, CALL_MS_MAX = 0.8, 0.25
"""CPU that a token and a verified call may take, in milliseconds of one core."""

URL = f"{ISSUER}/v1/tools"


def rows() -> list[Row]:
    """Measure a verified call and an issued token."""
    return asyncio.run(_rows())


async def _rows() -> list[Row]:
    async with open_door() as door:
        _remember(door.registry)
        calls, bearers, tokens, raw, signs = [], [], [], [], []
        each: list[float] = []
        for _ in range(TURNS):
            raw.append(_raw_verify_us())
            signs.append(_raw_sign_us())
            calls.append(await _call_us(door))
            bearers.append(await _bearer_us(door))
            tokens.append(await _token_us(door, each))
        verify, sign = median(raw), median(signs)
        each.sort()
        return [
            row("a raw ES256 signature, CPU", sign, "us", sign),
            *_promised(median(tokens), median(calls), median(bearers)),
            row(
                "a token issued, p50, against two raw verifies and a signature",
                each[len(each) // 2],
                "us",
                2 * verify + sign,
            ),
            row(
                "a token issued, p99, against its p50",
                each[len(each) * 99 // 100],
                "us",
                each[len(each) // 2],
            ),
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


def _promised(token_us: float, call_us: float, bearer_us: float) -> list[Row]:
    """Return what is promised in CPU of one core."""
    issued = "tokens issued in a second of one core, against what is promised"
    return [
        row(
            "a token issued with its proof, CPU, against its promise",
            token_us / 1e3,
            "ms",
            TOKEN_MS_MAX,
        ),
        row(issued, 1e6 / token_us, "/s", 1e3 / TOKEN_MS_MAX),
        row(
            "a verified call with its proof, CPU, against its promise",
            call_us / 1e3,
            "ms",
            CALL_MS_MAX,
        ),
        row(
            "a verified Bearer call, CPU, against its promise",
            bearer_us / 1e3,
            "ms",
            CALL_MS_MAX,
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


def _raw_sign_us() -> float:
    material = key_of("instance").material
    assert isinstance(material, ec.EllipticCurvePrivateKey)
    began = time.process_time()
    for _ in range(CALLS):
        material.sign(b"x", ec.ECDSA(SHA256()))
    return (time.process_time() - began) / CALLS * 1e6


async def _bearer_us(door: Door) -> float:
    form = door.form(scope=f"interaction:{INTERACTION_ID}")
    token = (await door.ask(form, proof=None)).json()["access_token"]
    target = Target("GET", door.desk.origins, "/v1/tools")
    began = time.process_time()
    for _ in range(CALLS):
        await establish(
            door.desk,
            kind=SubjectKind.AGENT,
            target=target,
            authorization=[f"Bearer {token}"],
            proofs=[],
        )
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


async def _token_us(door: Door, each: list[float]) -> float:
    asked = [(door.form(), door.proof()) for _ in range(CALLS)]
    began = time.process_time()
    for form, proof in asked:
        at_s = time.perf_counter()
        answer = await answer_token(door.desk, form, proofs=[proof])
        each.append((time.perf_counter() - at_s) * 1e6)
        assert answer.status == 200
    return (time.process_time() - began) / CALLS * 1e6
