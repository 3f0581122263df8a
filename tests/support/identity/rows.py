"""Rows as strategies: bodies of every kind, valid, and what a test makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from broker.core.words.identity import RegisteredKey
from broker.registry.authority import AuthorityRow
from broker.registry.people import Role
from broker.registry.reading import write_keys
from tests.support.identities import (
    AGENT_ID,
    ENVIRONMENT,
    NOW,
    PERSON_ID,
    TENANT,
    key_of,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

names = st.text(min_size=1, max_size=30).filter(str.isprintable)
words = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
tools = st.lists(
    st.sampled_from(["orders.get", "orders.refund", "customers.get"]), unique=True
)
key_lists = st.lists(
    st.sampled_from(["one", "two", "three"]), max_size=2, unique=True
).map(lambda found: write_keys([RegisteredKey(key_of(n).public()) for n in found]))

agents: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "name": names,
        "owner": st.just(PERSON_ID),
        "use_case": words,
        "tier_max": st.integers(1, 3),
        "tools": tools.map(sorted),
        "keys": key_lists,
        "status": st.sampled_from(["active", "suspended", "revoked"]),
    }
)
people: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "name": names,
        "roles": st.lists(st.sampled_from([*Role]), unique=True).map(
            lambda roles: sorted(role.value for role in roles)
        ),
        "console_votes": st.booleans(),
        "approval_limits": st.dictionaries(
            st.sampled_from(["USD", "EUR", "CHF"]), st.integers(0, 2**53 - 1)
        ),
        "keys": key_lists,
        "status": st.sampled_from(["active", "suspended", "removed"]),
    }
)
channels: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "name": names,
        "keys": key_lists,
        "use_cases": st.lists(words, max_size=3, unique=True).map(sorted),
        "verification_max": st.integers(0, 3),
        "status": st.sampled_from(["active", "suspended", "revoked"]),
    }
)
services: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "name": names,
        "purpose": st.just("worker"),
        "keys": key_lists,
        "status": st.sampled_from(["active", "suspended", "revoked"]),
    }
)
use_cases: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "name": names,
        "owner": st.just(PERSON_ID),
        "purpose": names,
        "tools": tools.map(sorted),
        "retention_days": st.integers(1, 36_525),
        "release": st.fixed_dictionaries(
            {
                "id": st.sampled_from(["", "demo-1"]),
                "grade": st.sampled_from(["observed", "attested", "absent"]),
            }
        ),
    }
)


def row_of(
    body: dict[str, Any], *, kind: str = "agent", **changes: Any
) -> AuthorityRow:
    """Return a row with this body."""
    fields: dict[str, Any] = {
        "kind": kind,
        "row_id": AGENT_ID,
        "revision": 1,
        "at": NOW,
        "by": ("bootstrap",),
        "tenant": TENANT,
        "environment": ENVIRONMENT,
        "body": body,
    }
    return AuthorityRow(**fields | changes)


AGENT_BODY: dict[str, Any] = {
    "name": "care-agent",
    "owner": PERSON_ID,
    "use_case": "retail-care",
    "tier_max": 3,
    "tools": ["orders.get"],
    "keys": write_keys([RegisteredKey(key_of("agent").public())]),
    "status": "active",
}
