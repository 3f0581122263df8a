"""Chains of agents: who they are, and when one does not stand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.core.identity.chain import (
    Link,
    agents_of,
    behalf_of,
    broken,
    delegation_of,
    is_part_of,
    parse_agent,
    parse_principal,
    person_of,
    root_of,
)
from broker.core.words.action import Requester
from tests.core.test_admission import CALLER

P, C, G = (f"0197a000-0000-7000-8000-00000000d00{n}" for n in range(3))
PERSON = f"person:{P}"


def link(agent_id: str, *delegates: str, use_case: str = "care") -> Link:
    return Link(agent_id, use_case, frozenset(delegates))


def asked(agent_id: str, *, principal: str = "", actors: tuple[str, ...] = ()):
    return Requester(
        agent_id,
        "i",
        "k",
        "g",
        proof_of_possession=True,
        epochs=(),
        principal=principal,
        actors=actors,
    )


def test_the_current_actor_comes_first_and_the_root_last() -> None:
    actors = (f"agent:{G}", f"agent:{C}")
    assert agents_of(f"agent:{P}", actors) == (G, C, P)
    assert agents_of(PERSON, actors) == (G, C)
    assert agents_of("", ()) == ()
    assert root_of(G, principal=f"agent:{P}", actors=actors) == P
    assert root_of(G, principal="customer:r", actors=actors) == C
    assert root_of(G, principal="", actors=()) == G


@pytest.mark.parametrize(
    ("subject", "kind"),
    [(f"agent:{P}", "agent"), (PERSON, "person"), ("customer:r-1", "customer")],
)
def test_a_principal_has_a_kind(subject: str, kind: str) -> None:
    assert parse_principal(subject) == (kind, subject.partition(":")[2])
    assert behalf_of(subject) == kind
    assert (person_of(subject) != "") is (kind == "person")


@pytest.mark.parametrize("subject", ["", "agent:x", f"service:{P}", "customer:a b"])
def test_nobody_else_is_a_principal(subject: str) -> None:
    assert parse_principal(subject) is None
    assert parse_agent(subject) == ""


def test_a_chain_stands_while_each_agent_may_delegate_to_the_next() -> None:
    assert broken([link(G)]) == ""
    assert broken([link(G), link(C, G), link(P, C)]) == ""


@pytest.mark.parametrize(
    "links",
    [
        [link(G), link(C, G), link(P)],
        [link(G), link(C, P), link(P, C)],
        [link(G), link(C, G), link(P, G)],
        [link(G), None],
        [None, link(P, G)],
        [link(G), link(C, G, use_case="sales")],
        [link(G, C), link(C, G), link(G, C)],
    ],
)
def test_a_chain_that_misses_a_link_does_not_stand(links: list[Link | None]) -> None:
    assert broken(links)


def test_entries_name_principal_and_actors_of_a_chain_and_nothing_without_one() -> None:
    who = asked(C, principal=f"agent:{P}", actors=(f"agent:{C}",))
    assert delegation_of(who) == {
        "delegation": {"principal": f"agent:{P}", "actors": [f"agent:{C}"]}
    }
    assert delegation_of(asked(C)) == {}


def test_who_lent_authority_sees_what_was_done_and_who_borrowed_sees_no_more() -> None:
    lent = asked(C, principal=f"agent:{P}", actors=(f"agent:{C}",))
    parent, child = (replace(CALLER, subject_id=one) for one in (P, C))
    borrowed = replace(child, principal=f"agent:{P}", actors=(f"agent:{C}",))
    assert is_part_of(parent, lent)
    assert is_part_of(borrowed, lent)
    assert is_part_of(child, lent)
    assert not is_part_of(borrowed, asked(C))
    assert not is_part_of(borrowed, asked(P))
    assert not is_part_of(replace(CALLER, subject_id=G), lent)
