"""Who may change what: a role is needed, and no interest in the matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.errors import ConflictError, ForbiddenError, InvalidError
from broker.registry.agents import parse_agent
from broker.registry.people import (
    ADMINISTRATORS_MIN,
    CURRENCIES_MAX,
    PersonRow,
    Role,
    as_active,
    as_removed,
    check_may_change_person,
    check_may_narrow,
    check_may_see,
    check_may_widen,
    parse_person,
    takes_two,
    widens,
    with_limits,
    with_roles,
)
from tests.support.identities import AGENT_ID, PERSON_ID
from tests.support.identity import rows
from tests.support.identity.rows import AGENT_BODY, row_of

OTHER_ID = PERSON_ID.replace("b1", "b2")
AGENT = parse_agent(row_of(AGENT_BODY))
role_sets = st.frozensets(st.sampled_from([*Role]))


def somebody(roles, *, person_id=OTHER_ID, active=True):
    return PersonRow(person_id, 1, "n", roles, {}, (), active)


def allowed(check, *args):
    try:
        check(*args)
    except ForbiddenError:
        return False
    return True


@given(roles=role_sets, active=st.booleans(), owner=st.booleans())
def test_each_right_follows_from_roles_and_from_having_no_interest(
    roles, active, owner
):
    me = somebody(roles, person_id=PERSON_ID if owner else OTHER_ID, active=active)
    strong = active and bool(roles & {Role.SECURITY, Role.ADMIN})
    assert allowed(check_may_narrow, me) is strong
    assert allowed(check_may_see, me) is (
        strong or (active and Role.COMPLIANCE in roles)
    )
    assert AGENT.owner == PERSON_ID
    assert allowed(check_may_widen, me, AGENT) is (strong and not owner)
    admin = active and Role.ADMIN in roles
    assert allowed(check_may_change_person, me, OTHER_ID) is (admin and owner)
    assert allowed(check_may_change_person, me, PERSON_ID) is (admin and not owner)


@given(roles=role_sets)
def test_nobody_grants_their_own_role(roles):
    with pytest.raises(ForbiddenError):
        check_may_change_person(somebody(roles), OTHER_ID)


@given(rows.people)
def test_an_approver_is_what_the_row_says(body):
    person = parse_person(row_of(body, kind="person"))
    approver = person.approver()
    assert approver.person_id == AGENT_ID
    assert approver.roles == set(body["roles"])
    assert approver.limits == body["approval_limits"]
    assert approver.active is (body["status"] == "active")
    assert not replace(person, active=False).approver().active


people_of = st.builds(
    PersonRow,
    person_id=st.just(OTHER_ID),
    revision=st.just(1),
    name=st.just("n"),
    roles=role_sets,
    limits=st.dictionaries(st.sampled_from(["USD", "EUR"]), st.integers(1, 9)),
    keys=st.just(()),
    active=st.booleans(),
)


@given(people_of, role_sets, st.booleans())
def test_taking_away_is_never_widening_and_giving_always_is(person, roles, active):
    less = replace(
        person,
        roles=person.roles - roles,
        limits={},
        active=person.active and active,
    )
    assert not widens(person, less)
    more = replace(person, roles=person.roles | roles)
    assert widens(person, more) is bool(roles - person.roles)


@given(people_of, st.sampled_from(["USD", "EUR", "CHF"]), st.integers(0, 10))
def test_a_limit_widens_exactly_when_it_is_higher_than_before(person, currency, limit):
    before = person.limits.get(currency, 0)
    try:
        after = with_limits(person, {currency: limit})
    except ConflictError:
        assert limit == before
        return
    assert widens(person, after) is (limit > before)


@given(people_of, st.lists(people_of, max_size=4))
def test_one_person_ends_an_administrator_only_where_more_than_two_are(person, others):
    gone = as_removed(person)
    administrators = sum(one.administers for one in [person, *others])
    alone = not takes_two(person, gone, [person, *others])
    assert alone is (not person.administers or administrators > ADMINISTRATORS_MIN)


def test_limits_go_up_to_their_bound_and_no_further():
    currencies = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(17)]
    person = somebody(frozenset())
    most = dict.fromkeys(currencies[:CURRENCIES_MAX], 1)
    assert len(with_limits(person, most).limits) == CURRENCIES_MAX
    with pytest.raises(InvalidError):
        with_limits(person, dict.fromkeys(currencies, 1))


def test_who_was_removed_stays_removed_and_has_nothing_left():
    gone = as_removed(somebody(frozenset({Role.ADMIN})))
    assert (gone.status, gone.roles, gone.keys) == ("removed", frozenset(), ())
    for again in (
        lambda: as_removed(gone),
        lambda: as_active(gone),
        lambda: with_roles(gone, add={Role.ADMIN}),
        lambda: with_limits(gone, {"USD": 1}),
    ):
        with pytest.raises(ConflictError, match="removed"):
            again()
