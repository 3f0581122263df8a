"""The last step of authenticate: does this caller belong into this interaction, now.

Token and proof were verified before (``authenticate``); here they meet the rows that
say whether agent, grant and interaction still stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.identity.chain import person_of, root_of
from broker.core.words.action import Requester
from broker.core.words.decision import Reason
from broker.core.words.subject import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from broker.core.words.action import Bound
    from broker.core.words.subject import Caller, Interaction
    from broker.core.words.tool import Tool


def admit(
    caller: Caller,
    interaction: Interaction | None,
    *,
    epochs: Mapping[str, int],
    now: datetime,
) -> Reason | None:
    """Return why this caller may not act here now, or None.

    An interaction that does not exist and one of another agent give the same reason. A
    delegated caller acts in the conversations of its chain's root, and in no other.
    """
    return next(
        (
            reason
            for failed, reason in _checks(caller, interaction, epochs, now)
            if failed
        ),
        None,
    )


def admit_order(
    caller: Caller,
    interaction: Interaction | None,
    *,
    epochs: Mapping[str, int],
    now: datetime,
) -> Reason | None:
    """Return why this person may not order something about a conversation, or None.

    It may have ended long ago. Their token must name the epochs that void the order.
    """
    voids = {f"global:{caller.environment}", f"person:{caller.subject_id}"}
    if caller.kind is not SubjectKind.PERSON:
        return Reason("not_a_person", "only people order this")
    if caller.expires_at <= now:
        return Reason("token_expired", "the token has expired")
    known = voids <= {scope for scope, _ in caller.epochs.scopes}
    if not known or not caller.epochs.current_under(dict(epochs)):
        return Reason("revoked", "this identity was revoked")
    there = interaction is not None and (
        (interaction.tenant, interaction.environment)
        == (caller.tenant, caller.environment)
    )
    return None if there else Reason("no_such_interaction", "no such interaction")


def over_grant(caller: Caller, tool: Tool, bound: Bound) -> Reason | None:
    """Return why the token does not cover this call, or None if it does."""
    highest = caller.grant.tier_max
    if highest is not None and tool.tier > highest:
        return Reason("above_token_grant", "the token does not cover this tier")
    cap = caller.grant.amount_max_minor_units
    if cap is None or bound.amount is None:
        return None
    if bound.amount.currency != caller.grant.currency or bound.amount.minor_units > cap:
        return Reason("above_token_grant", "the token does not cover this amount")
    return None


def requester_of(caller: Caller, *, owners: Iterable[str] = ()) -> Requester:
    """Freeze who asked, and who else has a part in it.

    ``owners`` are those of the agents on whose authority the caller acts.
    """
    lender = person_of(caller.principal)
    people = {*owners, *([lender] if lender else ())}
    return Requester(
        agent_id=caller.subject_id,
        instance_id=caller.instance_id,
        kid=caller.kid,
        grant_id=caller.grant_id,
        proof_of_possession=caller.proof_of_possession,
        epochs=caller.epochs.scopes,
        principal=caller.principal,
        actors=caller.actors,
        barred=tuple(sorted(people)),
        counts=caller.counts,
    )


def requester_of_order(caller: Caller, of: Requester) -> Requester:
    """Freeze who ordered that something is taken back, and who may not sign it.

    The person is the requester: what voids their token voids this. Barred, beside the
    owner of the agent that did it, is whoever had a part in what is taken back.
    """
    return Requester(
        agent_id=of.agent_id,
        instance_id=caller.instance_id,
        kid=caller.kid,
        grant_id=caller.grant_id,
        proof_of_possession=caller.proof_of_possession,
        epochs=caller.epochs.scopes,
        barred=tuple(sorted({*of.barred, caller.subject_id})),
    )


def _checks(
    caller: Caller,
    interaction: Interaction | None,
    epochs: Mapping[str, int],
    now: datetime,
) -> Iterator[tuple[bool, Reason]]:
    """Give each condition that refuses, in order; later ones rely on earlier ones."""
    yield (
        caller.kind is not SubjectKind.AGENT,
        Reason("not_an_agent", "only agents act"),
    )
    expired = "the token has expired"
    yield caller.expires_at <= now, Reason("token_expired", expired)
    revoked = Reason("revoked", "this identity was revoked")
    yield not caller.epochs.current_under(dict(epochs)), revoked
    unknown = Reason("no_such_interaction", "no such interaction for this agent")
    if interaction is None:
        yield True, unknown
        return
    root = root_of(caller.subject_id, principal=caller.principal, actors=caller.actors)
    yield interaction.agent_id != root, unknown
    yield interaction.tenant != caller.tenant, unknown
    yield interaction.environment != caller.environment, unknown
    bound_to = caller.grant.interaction_id
    other = bound_to not in {"", interaction.interaction_id}
    yield (
        other,
        Reason("other_interaction", "the token is bound to another interaction"),
    )
    customer = caller.grant.customer_ref
    other_customer = customer not in {"", interaction.customer_ref}
    yield (
        other_customer,
        Reason("other_customer", "the token is bound to another customer"),
    )
    closed = interaction.closed_at is not None and interaction.closed_at <= now
    yield closed, Reason("interaction_closed", "the interaction has ended")
    silent = "nothing was said in the interaction for too long"
    yield interaction.silent(now), Reason("interaction_expired", silent)
    bearer = not caller.proof_of_possession and not bound_to
    text = "a bearer token must be bound to one interaction"
    yield bearer, Reason("bearer_unbound", text)
