"""Who may change what: a role is needed, and no interest in the matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.errors import ForbiddenError
from broker.registry.agents import parse_agent
from broker.registry.people import (
    PersonRow,
    Role,
    check_may_change_person,
    check_may_narrow,
    check_may_see,
    check_may_widen,
    parse_person,
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
