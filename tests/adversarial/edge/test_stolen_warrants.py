"""Forged, replayed, expired and misdirected warrants, against real edges."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from broker.core.jwk import SEED_BYTES
from broker.core.jws import Algorithm, private_from_seed, public_to_jwk, sign
from broker.core.warrants.orders import warrant_claims
from broker.core.words.warrant import RECEIPT_TYP, WARRANT_TYP
from tests.edge.lab import ISSUER, WARRANT_KEY, running_lab, signed
from tests.edge.process import EdgeProcess, make_edge


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hs256(header: dict[str, str], body: str, *, secret: bytes) -> str:
    """Sign with a secret that everybody knows: the public key."""
    said = f"{b64(json.dumps(header).encode())}.{body}"
    mac = hmac.new(secret, said.encode(), hashlib.sha256).digest()
    return f"{said}.{b64(mac)}"


async def test_a_forged_warrant_is_refused(lab) -> None:
    order = lab.order()
    claims = warrant_claims(order, issuer=ISSUER)
    good = signed(order)
    head, body, signature = good.split(".")
    stranger = private_from_seed(b"x" * SEED_BYTES, algorithm=Algorithm.EDDSA)
    es256 = private_from_seed(b"x" * SEED_BYTES, algorithm=Algorithm.ES256)
    header = {"alg": "EdDSA", "kid": WARRANT_KEY.kid, "typ": WARRANT_TYP}
    public = json.dumps(public_to_jwk(WARRANT_KEY.public()))
    richer = b64(json.dumps(claims | {"arguments": {"amount": 10**9}}).encode())
    forged = [
        signed(order, key=stranger),
        signed(order, key=es256),
        sign(claims, key=WARRANT_KEY, typ=RECEIPT_TYP),
        sign(claims, key=WARRANT_KEY, typ="at+jwt"),
        f"{head}.{richer}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}.{b64(bytes(64))}",
        f"{b64(json.dumps(header | {'alg': 'none'}).encode())}.{body}.",
        f"{b64(json.dumps(header | {'alg': 'None'}).encode())}.{body}.{signature}",
        f"{b64(json.dumps(header | {'jwk': public}).encode())}.{body}.{signature}",
        hs256(header | {"alg": "HS256"}, body, secret=public.encode()),
        good + "=",
        good + ".x",
        " " + good,
        good.replace(".", ". "),
    ]
    for token in forged:
        assert await lab.refused(token) == "warrant_invalid", token
    # None of them has spent the real one.
    await lab.call(good)


async def test_a_receipt_is_no_warrant(lab) -> None:
    order = lab.order()
    await (await lab.call(order)).refund()
    said = await lab.control(op="receipt", warrant=order.warrant_id)
    assert await lab.refused(said["receipt"]) == "warrant_invalid"


async def test_an_expired_warrant_is_refused(lab) -> None:
    now = datetime.now(UTC)
    old = lab.order(
        issued_at=now - timedelta(seconds=9), expires_at=now - timedelta(milliseconds=1)
    )
    assert await lab.refused(old) == "warrant_expired"


async def test_a_warrant_shown_to_a_second_edge_is_refused_there(lab) -> None:
    async with running_lab() as other:
        order = lab.order()
        assert await other.refused(order) == "wrong_edge"
        await lab.call(order)
        assert await other.refused(order) == "wrong_edge"
        both = replace(order, edge=other.identity.edge)
        assert await other.refused(both) == "wrong_edge"


async def test_a_replayed_warrant_is_refused_after_every_kind_of_end(lab) -> None:
    done, cut, asked = (lab.order() for _ in range(3))
    await (await lab.call(done)).refund()
    (await lab.call(cut)).close()
    await lab.ask(asked)
    for order in (done, cut, asked):
        for _ in range(2):
            assert await lab.refused(order) == "warrant_spent"
    assert len(lab.upstream.seen) == 1


async def test_a_connector_that_stole_a_warrant_cannot_use_its_own_connection_for_it(
    lab,
) -> None:
    child = await lab.call(lab.order("orders.get"))
    stolen = signed(lab.order())
    await child.send(json.dumps({"op": "call", "warrant": stolen}).encode())
    await child.send(b"\r\n\r\n")
    refused = await child.read()
    assert refused is not None
    assert refused.status == 400
    assert await child.hung_up()


@pytest_asyncio.fixture
async def twins(edge, pg_edge_dsn, crm, own_folder) -> AsyncIterator[list[EdgeProcess]]:
    """Two edge processes on one database."""
    twin = make_edge(
        own_folder / "twin",
        database=pg_edge_dsn,
        crm_url=crm.url,
        credential=crm.credential,
    )
    await twin.start()
    yield [edge, twin]
    twin.stop()


async def test_of_two_edges_on_one_database_each_takes_only_its_own(twins, crm) -> None:
    first, second = twins
    arguments = {"order_id": "W2378156"}
    order = first.order("orders.get", arguments, customer_id="sofia_li_9219")
    answer, _ = await second.show(order)
    assert answer["error"]["code"] == "wrong_edge"
    answers = await asyncio.gather(*(first.show(order) for _ in range(30)))
    assert sum(answer["ok"] for answer, _ in answers) == 1


@pytest.mark.parametrize("size", [131_073, 2**31, 2**32 - 1])
async def test_a_frame_that_claims_to_be_huge_is_not_waited_for(lab, size) -> None:
    reader, writer = await lab.connect()
    writer.write(size.to_bytes(4, "big") + b"{")
    assert await reader.read() == b""
