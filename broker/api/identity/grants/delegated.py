"""Delegated tokens: look everybody in the chain up, and say what is left for the child.

Each agent of the chain must be active now, registered as one that the agent before it
may delegate to, and revoked under none of the scopes that void a token of the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.api.identity.grants.errors import InvalidGrantError
from broker.api.identity.grants.exchange import check_audience
from broker.api.identity.grants.remember import arrived, the_interaction
from broker.api.identity.grants.request import Exchanged, widening
from broker.core.authenticate import ClientId, instance_id, revocation_scopes
from broker.core.identity.chain import agents_of, broken, root_of
from broker.core.identity.exchange import (
    Ceiling,
    ChainError,
    child_chain,
    child_counts,
    child_end,
    child_epochs,
    child_grant,
)
from broker.core.identity.grants import GrantError
from broker.core.words.identity import AccessToken
from broker.core.words.subject import Epochs, Grant, SubjectKind

if TYPE_CHECKING:
    from broker.api.identity.grants.request import Plan, TokenRequest
    from broker.registry.clients import ClientRow


@dataclass(frozen=True, slots=True)
class _Lender:
    """Whose authority it is, through whom until now, and how far it reaches."""

    principal: str
    actors: tuple[str, ...]
    grant: Grant
    customer_ref: str
    token: AccessToken | None


async def delegated(
    request: TokenRequest, plan: Plan, exchanged: Exchanged
) -> AccessToken:
    """Return the token that an exchange gives, to be signed.

    Raises:
        OAuth2Error: Somebody of the chain does not stand, or nothing is left.
    """
    desk, holder = request.desk, str(plan.client.client)
    assert plan.proof is not None  # noqa: S101  (an exchange always has one)
    instance, link = instance_id(holder, jkt=plan.proof.jkt), desk.ids.new()
    scopes = revocation_scopes(
        holder, environment=desk.environment, instance=instance, grant=link
    )
    epochs = await arrived(request, plan, instance=instance, scopes=scopes)
    own = Epochs(tuple((scope, epochs.get(scope, 0)) for scope in sorted(scopes)))
    lender = await _lender(request, plan, exchanged)
    actors = _chain(holder, lender)
    rows = await _rows(request, plan, lender, actors)
    grant = _grant(request, lender, plan, rows)
    root = root_of(
        plan.client.client.subject_id, principal=lender.principal, actors=actors
    )
    interaction = await the_interaction(request, grant.interaction_id, agent_id=root)
    parent, now = lender.token, request.now.replace(microsecond=0)
    return AccessToken(
        kind=SubjectKind.AGENT,
        subject_id=plan.client.client.subject_id,
        audience=plan.audience,
        token_id=desk.ids.new(),
        grant_id=parent.grant_id if parent else link,
        instance_id=instance,
        client_kid=plan.assertion.kid,
        jkt=plan.proof.jkt,
        tenant=desk.tenant,
        environment=desk.environment,
        issued_at=now,
        expires_at=child_end(parent.expires_at if parent else None, now=now),
        epochs=child_epochs(parent.epochs, dict(own.scopes)) if parent else own,
        grant=grant,
        policy=await desk.identities.policy_version(),
        customer_ref=interaction.customer_ref if interaction else lender.customer_ref,
        principal=lender.principal,
        actors=actors,
        delegation_id=link,
        lent_with=(parent.client_kid, *parent.lent_with) if parent else (),
        counts=child_counts(parent, grant, name=link),
    )


async def _lender(request: TokenRequest, plan: Plan, exchanged: Exchanged) -> _Lender:
    subject = exchanged.subject
    if subject is None:
        return await _customer(request, plan, exchanged.interaction_id)
    for token in (subject, exchanged.actor):
        if token is not None and not await _stands(request, token):
            msg = "a token of this exchange does not stand any more"
            raise InvalidGrantError(msg)
    check_audience(subject, plan.audience, issuer=request.desk.issuer)
    return _Lender(
        principal=subject.principal or subject.subject,
        actors=subject.actors,
        grant=subject.grant,
        customer_ref=subject.customer_ref,
        token=subject,
    )


async def _customer(request: TokenRequest, plan: Plan, interaction_id: str) -> _Lender:
    """Return the customer of an open interaction of this very agent."""
    found = await request.desk.interactions.interaction(interaction_id)
    mine = found is not None and found.agent_id == plan.client.client.subject_id
    ended = found is not None and found.ended(request.desk.clock.now())
    if found is None or not mine or ended or not found.bound:
        # Unknown, foreign, closed and nobody's are the same for whoever asks.
        msg = "there is no such open interaction with a customer for this client"
        raise InvalidGrantError(msg)
    return _Lender(
        principal=f"customer:{found.customer_ref}",
        actors=(),
        grant=Grant(interaction_id=interaction_id, customer_ref=found.customer_ref),
        customer_ref=found.customer_ref,
        token=None,
    )


async def _stands(request: TokenRequest, token: AccessToken) -> bool:
    kids, epochs = await request.desk.identities.standing(token)
    return token.client_kid in kids and token.epochs.current_under(dict(epochs))


def _chain(holder: str, lender: _Lender) -> tuple[str, ...]:
    try:
        return child_chain(holder, principal=lender.principal, actors=lender.actors)
    except ChainError as error:
        raise InvalidGrantError(str(error)) from None


async def _rows(
    request: TokenRequest, plan: Plan, lender: _Lender, actors: tuple[str, ...]
) -> list[ClientRow]:
    """Return the rows of the chain's agents, this one first."""
    above = agents_of(lender.principal, actors)[1:]
    rows = [plan.client]
    for agent_id in above:
        row = await request.desk.identities.client(
            ClientId(SubjectKind.AGENT, agent_id)
        )
        if row is not None:
            rows.append(row)
    links = [row.link for row in rows]
    if len(rows) <= len(above) or broken(links):
        msg = "this agent may not act for the subject of this token"
        raise InvalidGrantError(msg)
    return rows


def _grant(
    request: TokenRequest, lender: _Lender, plan: Plan, rows: list[ClientRow]
) -> Grant:
    try:
        return child_grant(
            lender.grant,
            rows=[Ceiling(row.tools, row.tier_max) for row in rows],
            asked=plan.grant,
        )
    except GrantError as error:
        raise widening(request.form)(str(error)) from None
