"""The vault: what it seals opens in its own place, until its key is destroyed."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio

from broker.effects.clock import RandomIds
from broker.effects.database import Database
from broker.effects.vault import KEYS_KEPT_MAX, ErasedError, PayloadVault
from broker.ports import PayloadDraft

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEK = b"k" * 32
VALUE: dict[str, Any] = {"text": "Grüße, Noah", "units": 3, "deep": {"a": [1, None]}}
DRAFT = PayloadDraft(
    payload_id=RandomIds().new(),
    subject="customer-7",
    purpose="interaction",
    retention="interaction",
    data_class="free_text",
)


@pytest_asyncio.fixture
async def database(pg_broker_dsn: str) -> AsyncIterator[Database]:
    opened = Database(pg_broker_dsn, password="")
    yield opened
    await opened.close()


async def erase(owner_dsn: str, subject: str) -> None:
    """Destroy the keys of a subject, as its erasure does."""
    owner = await asyncpg.connect(owner_dsn)
    try:
        await owner.execute(
            "UPDATE subject_key SET wrapped = NULL, destroyed_at = now()"
            " WHERE subject = $1",
            subject,
        )
    finally:
        await owner.close()


async def test_what_is_sealed_opens_again_in_every_replica(database) -> None:
    sealed = await PayloadVault(database, kek=KEK).seal(VALUE, DRAFT)
    assert b"Noah" not in sealed.data
    assert sealed.ref.sha256 == hashlib.sha256(sealed.data).hexdigest()
    assert (sealed.ref.subject, sealed.ref.payload_id) == (
        DRAFT.subject,
        DRAFT.payload_id,
    )
    assert await PayloadVault(database, kek=KEK).open(DRAFT, sealed.data) == VALUE


async def test_the_same_value_is_never_sealed_to_the_same_bytes(database) -> None:
    vault = PayloadVault(database, kek=KEK)
    sealed = [(await vault.seal(VALUE, DRAFT)).data for _ in range(20)]
    assert len(set(sealed)) == 20


@pytest.mark.parametrize(
    "changes",
    [
        {"payload_id": "0197a000-0000-7000-8000-000000000099"},
        {"subject": "customer-8"},
        {"purpose": "action"},
        {"data_class": "arguments"},
    ],
)
async def test_a_payload_that_was_moved_does_not_open(database, changes) -> None:
    vault = PayloadVault(database, kek=KEK)
    sealed = await vault.seal(VALUE, DRAFT)
    with pytest.raises(ValueError, match="does not verify"):
        await vault.open(replace(DRAFT, **changes), sealed.data)


async def test_a_payload_that_was_changed_anywhere_does_not_open(database) -> None:
    vault = PayloadVault(database, kek=KEK)
    data = (await vault.seal(VALUE, DRAFT)).data
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(ValueError, match="does not verify"):
            await vault.open(DRAFT, bytes(changed))


@pytest.mark.parametrize("length", [12, 13, 27])
async def test_a_payload_that_was_cut_does_not_open(database, length) -> None:
    vault = PayloadVault(database, kek=KEK)
    data = (await vault.seal(VALUE, DRAFT)).data
    with pytest.raises(ValueError, match="does not verify"):
        await vault.open(DRAFT, data[:length])


async def test_what_an_erased_subject_left_cannot_be_read_or_added_to(
    database, pg_dsn
) -> None:
    vault, other = (PayloadVault(database, kek=KEK) for _ in range(2))
    sealed = await vault.seal(VALUE, DRAFT)
    await erase(pg_dsn, DRAFT.subject)
    vault.forget(DRAFT.subject)
    for one in (vault, other):
        with pytest.raises(ErasedError):
            await one.open(DRAFT, sealed.data)
        with pytest.raises(ErasedError):
            await one.seal(VALUE, DRAFT)


async def test_forgetting_one_subject_leaves_the_others_readable(
    database, pg_dsn
) -> None:
    vault = PayloadVault(database, kek=KEK)
    other = replace(DRAFT, subject="customer-8")
    await vault.seal(VALUE, DRAFT)
    kept = await vault.seal(VALUE, other)
    await erase(pg_dsn, DRAFT.subject)
    vault.forget(DRAFT.subject)
    assert await vault.open(other, kept.data) == VALUE


async def test_a_keyed_hash_is_the_same_everywhere_and_ends_with_the_key(
    database, pg_dsn
) -> None:
    def of(vault: PayloadVault, value: Any, **where: str) -> Any:
        named = {"subject": DRAFT.subject, "purpose": DRAFT.purpose} | where
        return vault.keyed_hash(value, **named)

    vault = PayloadVault(database, kek=KEK)
    first = await of(vault, VALUE)
    assert first == await of(PayloadVault(database, kek=KEK), VALUE)
    assert first != await of(vault, VALUE | {"units": 4})
    assert first != await of(vault, VALUE, subject="customer-8")
    assert first != await of(vault, VALUE, purpose="action")
    await erase(pg_dsn, DRAFT.subject)
    vault.forget(DRAFT.subject)
    with pytest.raises(ErasedError):
        await of(vault, VALUE)


async def test_a_reference_depends_on_the_kek_and_on_where_its_parts_end(
    database,
) -> None:
    vault = PayloadVault(database, kek=KEK)
    assert vault.reference("a", "bc") == vault.reference("a", "bc")
    others = [vault.reference("ab", "c"), vault.reference("abc"), vault.reference()]
    others.append(PayloadVault(database, kek=b"x" * 32).reference("a", "bc"))
    assert vault.reference("a", "bc") not in others
    assert len({*others}) == len(others)


async def test_a_fact_that_was_moved_or_changed_is_no_fact(database) -> None:
    vault = PayloadVault(database, kek=KEK)
    data = vault.seal_fact("here", {"units": 5})
    assert vault.open_fact("here", data) == {"units": 5}
    assert vault.open_fact("there", data) is None
    assert vault.open_fact("here", data[:-1] + bytes([data[-1] ^ 1])) is None
    assert PayloadVault(database, kek=b"x" * 32).open_fact("here", data) is None


@pytest.mark.parametrize("size", [0, 31, 33])
async def test_a_kek_of_another_length_is_refused(database, size) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PayloadVault(database, kek=b"k" * size)


class CountingDatabase:
    """A key table in memory that counts who was asked for."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.keys: dict[tuple[str, str], bytes] = {}

    async def value(self, sql: str, subject: str, purpose: str, fresh: bytes) -> bytes:
        self.asked[subject] += 1
        return self.keys.setdefault((subject, purpose), fresh)


async def test_so_many_keys_are_kept_and_the_one_unused_longest_goes_first() -> None:
    table = CountingDatabase()
    vault = PayloadVault(table, kek=KEK)  # type: ignore[arg-type]

    async def use(subject: int) -> None:
        await vault.keyed_hash(0, subject=f"s{subject}", purpose="p")

    for subject in range(KEYS_KEPT_MAX):
        await use(subject)
    await use(0)
    assert table.asked["s0"] == 1
    await use(KEYS_KEPT_MAX)
    await use(0)
    assert table.asked["s0"] == 1
    await use(1)
    assert table.asked["s1"] == 2
