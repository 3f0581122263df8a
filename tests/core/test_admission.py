"""Who may act in which interaction, now."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.core.admission import (
    admit,
    admit_order,
    requester_of,
    requester_of_order,
)
from broker.core.words.subject import (
    INTERACTION_SILENT_S_MAX,
    Caller,
    Epochs,
    Grant,
    SubjectKind,
)
from tests.support.cases import AGENT_ID, INTERACTION_ID, NOW, interaction

CALLER = Caller(
    kind=SubjectKind.AGENT,
    subject_id=AGENT_ID,
    tenant="demo",
    environment="dev",
    token_id="t",
    grant_id="g",
    instance_id="i",
    kid="k",
    proof_of_possession=True,
    expires_at=NOW + timedelta(minutes=5),
    epochs=Epochs((("global:dev", 3),)),
    grant=Grant(),
)


def ages(count: int) -> timedelta:
    return count * timedelta(seconds=INTERACTION_SILENT_S_MAX)


def code(caller: Caller = CALLER, *, epoch: int = 3, **changes: Any) -> str:
    found = admit(caller, interaction(**changes), epochs={"global:dev": epoch}, now=NOW)
    return found.code if found else ""


def test_an_agent_may_act_in_its_own_interaction() -> None:
    assert code() == ""


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        (replace(CALLER, kind=SubjectKind.PERSON), "not_an_agent"),
        (replace(CALLER, expires_at=NOW), "token_expired"),
        (replace(CALLER, subject_id="another"), "no_such_interaction"),
        (replace(CALLER, tenant="other"), "no_such_interaction"),
        (replace(CALLER, environment="prod"), "no_such_interaction"),
        (replace(CALLER, grant=Grant(interaction_id="x")), "other_interaction"),
        (replace(CALLER, proof_of_possession=False), "bearer_unbound"),
    ],
)
def test_everybody_else_is_turned_away_with_a_reason(
    caller: Caller, expected: str
) -> None:
    assert code(caller) == expected


def test_a_bearer_token_may_act_where_it_is_bound_to() -> None:
    bound = Grant(interaction_id=INTERACTION_ID)
    assert code(replace(CALLER, proof_of_possession=False, grant=bound)) == ""


def test_an_epoch_that_moved_on_revokes() -> None:
    assert code(epoch=4) == "revoked"


def test_a_closed_interaction_is_closed() -> None:
    assert code(closed_at=NOW) == "interaction_closed"
    assert code(closed_at=NOW + timedelta(seconds=1)) == ""


def test_an_interaction_in_which_nothing_was_said_for_too_long_has_ended() -> None:
    still = NOW - ages(1) + timedelta(seconds=1)
    assert code(opened_at=still) == ""
    assert code(opened_at=NOW - ages(1)) == "interaction_expired"
    # What counts is the newest of what was said in it.
    assert code(opened_at=NOW - ages(9), heard_at=still) == ""
    aged = code(opened_at=NOW - ages(9), heard_at=NOW - ages(1))
    assert aged == "interaction_expired"


def test_unknown_and_foreign_interactions_look_the_same() -> None:
    unknown = admit(CALLER, None, epochs={}, now=NOW)
    foreign = admit(CALLER, interaction(agent_id="x"), epochs={}, now=NOW)
    assert unknown == foreign


PERSON = replace(
    CALLER,
    kind=SubjectKind.PERSON,
    subject_id="p",
    epochs=Epochs((("global:dev", 3), ("person:p", 1))),
)


def order(caller: Caller = PERSON, *, person: int = 1, **changes: Any) -> str:
    epochs = {"global:dev": 3, "person:p": person}
    found = admit_order(caller, interaction(**changes), epochs=epochs, now=NOW)
    return found.code if found else ""


def test_a_person_may_order_something_about_a_conversation_that_is_over() -> None:
    assert order(closed_at=NOW - timedelta(days=1), agent_id="anybody") == ""
    assert order(opened_at=NOW - ages(2)) == ""


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        (CALLER, "not_a_person"),
        (replace(PERSON, expires_at=NOW), "token_expired"),
        (replace(PERSON, tenant="other"), "no_such_interaction"),
        # Without their epoch nothing would void the order.
        (replace(PERSON, epochs=Epochs((("global:dev", 3),))), "revoked"),
        (replace(PERSON, epochs=Epochs((("person:p", 1),))), "revoked"),
    ],
)
def test_an_order_is_refused_to_everybody_else_with_a_reason(
    caller: Caller, expected: str
) -> None:
    assert order(caller) == expected


def test_an_order_ends_with_the_persons_epoch() -> None:
    assert order(person=2) == "revoked"
    assert admit_order(PERSON, None, epochs={}, now=NOW) is not None


def test_whoever_had_a_part_in_the_first_action_is_barred_from_its_undo() -> None:
    first = requester_of(replace(CALLER, subject_id="a"), owners=["x"])
    asked = requester_of_order(PERSON, first)
    assert asked.barred == ("p", "x")
    assert asked.agent_id == "a"
    assert asked.epochs == PERSON.epochs.scopes
