"""Every kind of entry belongs to one of the seven stages."""

from __future__ import annotations

from broker.core.words.entry import ENTRY_SCHEMA, STAGES, EntryKind


def test_every_kind_of_entry_belongs_to_a_stage() -> None:
    assert {kind.value.partition(".")[0] for kind in EntryKind} <= set(STAGES)
    assert ENTRY_SCHEMA == 1


def test_the_stages_stand_in_the_order_of_the_path() -> None:
    assert STAGES == (
        "authenticate",
        "authorize",
        "limit",
        "guard",
        "approve",
        "execute",
        "record",
    )
