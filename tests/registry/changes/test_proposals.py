"""A change as a signed row: it reads back, waits so long, and takes another person."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.errors import ConflictError, ForbiddenError
from broker.registry.changes.proposals import (
    CHANGE_DAYS_MAX,
    SECONDERS,
    ChangeStatus,
    Proposal,
    approved,
    parse_proposal,
    proposal_body,
    rejected,
)
from broker.registry.people import PersonRow, Role
from broker.registry.reading import RowError
from tests.support.identities import AGENT_ID, NOW, PERSON_ID
from tests.support.identity.rows import AGENT_BODY, row_of

OTHER_ID = PERSON_ID.replace("b1", "b2")
THIRD_ID = PERSON_ID.replace("b1", "b3")
CHANGE = Proposal(
    what="agent.grant",
    kind="agent",
    row_id=AGENT_ID,
    after=3,
    body=AGENT_BODY,
    asked_by=PERSON_ID,
    asked_at=NOW,
)


def read(proposal=CHANGE, **changes):
    body = proposal_body(proposal) | changes
    return parse_proposal(
        row_of(body, kind="change", row_id=f"agent-{AGENT_ID}", revision=1)
    )


def person(person_id=OTHER_ID, roles=frozenset({Role.COMPLIANCE}), *, active=True):
    return PersonRow(person_id, 1, "n", roles, {}, (), active)


def second(actor, proposal=CHANGE, *, now=NOW, revision=3, interested=()):
    return approved(proposal, actor, now=now, revision=revision, interested=interested)


def test_a_change_reads_back_as_it_was_written():
    assert read() == replace(CHANGE, revision=1)
    full = replace(CHANGE, narrows=True, overlap_s=7 * 86_400, reason="why")
    assert read(full) == replace(full, revision=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": OTHER_ID},
        {"kind": "policy"},
        {"after": -1},
        {"body": []},
        {"narrows": 1},
        {"overlap_s": 7 * 86_400 + 1},
        {"asked_by": "carol"},
        {"asked_at": "now"},
        {"status": "done"},
        {"surprise": 1},
    ],
)
def test_a_change_that_is_wrong_in_one_field_is_none(changes):
    with pytest.raises(RowError):
        read(**changes)


@given(
    roles=st.frozensets(st.sampled_from([*Role])),
    active=st.booleans(),
    who=st.sampled_from([PERSON_ID, OTHER_ID, THIRD_ID]),
)
def test_it_takes_another_active_person_with_a_role_and_without_interest(
    roles, active, who
):
    actor = person(who, roles, active=active)
    may = active and bool(roles & SECONDERS) and who == OTHER_ID
    try:
        ended = second(actor, interested={THIRD_ID})
    except ForbiddenError:
        assert not may
        return
    assert may
    assert (ended.status, ended.ended_by) == (ChangeStatus.APPROVED, OTHER_ID)


def test_it_waits_until_its_last_moment_and_for_its_row_alone():
    last = NOW + timedelta(days=CHANGE_DAYS_MAX)
    assert second(person(), now=last - timedelta(microseconds=1))
    with pytest.raises(ConflictError, match="too long"):
        second(person(), now=last)
    for revision in (2, 4):
        with pytest.raises(ConflictError, match="has changed"):
            second(person(), revision=revision)


def test_what_has_ended_is_not_decided_again():
    for ended in (second(person()), rejected(CHANGE, person())):
        with pytest.raises(ConflictError, match=ended.status.value):
            second(person(), ended)
        with pytest.raises(ConflictError, match=ended.status.value):
            rejected(ended, person())


def test_who_asked_may_take_it_back_and_who_has_no_role_may_not():
    asker = person(PERSON_ID, frozenset({Role.SECURITY}))
    assert rejected(CHANGE, asker).status is ChangeStatus.REJECTED
    with pytest.raises(ForbiddenError):
        rejected(CHANGE, person(roles=frozenset({Role.SUPERVISOR})))
