"""Temporal's remote codec: who may look, what is opened, and that it is recorded."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest_asyncio
from temporalio.api.common.v1 import Payload

from broker.api.admin.codec import DECODE_BYTES_MAX, PAYLOADS_MAX
from broker.core.approvals.codec import CODEC_NONCE_BYTES, CodecKeys, codec_key, seal
from broker.core.words.entry import EntryKind
from tests.support.approvals.office import Office, open_office
from tests.support.flow.house import PEOPLE, open_house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/v1/admin/codec/decode"
ROTATIONS = "/v1/admin/codec/rotations"
KEYS = CodecKeys(
    tuple(codec_key(hashlib.sha256(word).digest()) for word in (b"n", b"o"))
)
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=b'"an approval"')
RUN = "0197a000-0000-7000-8000-0000000000aa"


@pytest_asyncio.fixture
async def office(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[Office]:
    async with (
        open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
        open_office(house) as opened,
    ):
        opened.app.state.codec = KEYS
        opened.app.state.codec_origins = ("https://temporal.example",)
        yield opened


def sealed(keys: CodecKeys = KEYS, **changes: bytes) -> dict[str, Any]:
    metadata, data = seal(
        keys,
        CLEAR.SerializeToString(),
        nonce=b"n" * CODEC_NONCE_BYTES,
        workflow_id=RUN,
    )
    metadata |= changes
    return {
        "metadata": {k: base64.b64encode(v).decode() for k, v in metadata.items()},
        "data": base64.b64encode(data).decode(),
    }


async def test_an_operator_sees_what_temporal_keeps_and_the_log_says_so(
    office: Office,
) -> None:
    old = CodecKeys(KEYS.keys[1:])
    body = {"payloads": [sealed(), sealed(old)]}
    answer = await office.call("carol", "POST", PATH, json=body)
    assert answer.status_code == 200, answer.text
    shown = {
        "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
        "data": base64.b64encode(CLEAR.data).decode(),
    }
    assert answer.json() == {"payloads": [shown, shown]}
    entries = [
        e for e in await office.house.all_entries() if e["kind"] == EntryKind.DECODED
    ]
    [entry] = entries
    assert entry["detail"] == {
        "by": f"person:{PEOPLE['carol']}",
        "runs": [RUN],
        "payloads": 2,
    }


async def test_nobody_else_is_answered(office: Office) -> None:
    body = {"payloads": [sealed()]}
    for who in ("alice", "olivia", "worker"):
        answer = await office.call(who, "POST", PATH, json=body)
        assert answer.status_code in {401, 403}, (who, answer.text)


async def test_what_is_not_sealed_by_us_is_refused_and_so_is_the_rest(
    office: Office,
) -> None:
    foreign = CodecKeys((codec_key(b"f" * 32),))
    for wrong in (
        sealed(foreign),
        sealed(run=b"another"),
        sealed(run=b""),
        sealed(encoding=b"json/plain"),
        {"metadata": {}, "data": ""},
        {"metadata": {"encoding": "%%"}, "data": ""},
        {"data": "x"},
    ):
        body = {"payloads": [sealed(), wrong]}
        answer = await office.call("carol", "POST", PATH, json=body)
        assert answer.status_code == 422, (wrong, answer.text)
        assert "an approval" not in answer.text
    kinds = [e["kind"] for e in await office.house.all_entries()]
    assert EntryKind.DECODED not in kinds


async def test_so_many_payloads_are_opened_at_once_and_no_more(office: Office) -> None:
    for count, status in ((PAYLOADS_MAX, 200), (PAYLOADS_MAX + 1, 422)):
        body = {"payloads": [sealed()] * count}
        answer = await office.call("carol", "POST", PATH, json=body)
        assert answer.status_code == status, answer.text
    body = {"payloads": [{"data": "A" * DECODE_BYTES_MAX}]}
    answer = await office.call("carol", "POST", PATH, json=body)
    assert answer.status_code == 413


async def test_a_page_of_another_origin_may_not_call_unless_it_is_configured(
    office: Office,
) -> None:
    for origin, status in (
        ("https://temporal.example", 204),
        ("https://evil.example", 403),
        ("", 403),
    ):
        answer = await office.http.options(PATH, headers={"origin": origin})
        assert answer.status_code == status
        told = answer.headers.get("access-control-allow-origin")
        assert told == (origin if status == 204 else None)


async def test_who_has_another_key_seal_stands_in_the_log(office: Office) -> None:
    newest, other = (one.kid for one in KEYS.keys)
    body = {"key": other, "reason": "yearly"}
    answer = await office.call("carol", "POST", ROTATIONS, json=body)
    assert answer.json() == {"seals": other, "sealed_before": newest}
    [entry] = [
        one
        for one in await office.house.all_entries()
        if one["detail"].get("what") == "codec_key.rotate"
    ]
    assert entry["kind"] == EntryKind.AUTHORITY
    assert entry["detail"] == {
        "what": "codec_key.rotate",
        "by": f"person:{PEOPLE['carol']}",
        "reason": "yearly",
        "seals": other,
        "sealed_before": newest,
    }


async def test_a_rotation_that_is_none_is_not_recorded(office: Office) -> None:
    newest, other = (one.kid for one in KEYS.keys)
    for who, key, status in (
        ("carol", newest, 409),
        ("carol", "unknown", 409),
        ("carol", "", 422),
        ("alice", other, 403),
        ("olivia", other, 403),
    ):
        answer = await office.call(who, "POST", ROTATIONS, json={"key": key})
        assert answer.status_code == status, (who, key, answer.text)
    said = [one["detail"].get("what") for one in await office.house.all_entries()]
    assert "codec_key.rotate" not in said
