"""Interactions and turns: what a channel says about a conversation, under its own key.

Agents never open interactions and never report turns: the customer of an action, the
level of verification and the customer's words come from here and from the edge only.

Source: DESIGN, chapter 7 (Interactions).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from broker.core import record
from broker.core.identity.channel import (
    claimed_channel,
    verify_ending,
    verify_interaction_assertion,
    verify_turn,
)
from broker.core.sealed import interaction as interactions
from broker.core.warrants.orders import is_id
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.errors import (
    ConflictError,
    ForbiddenError,
    InteractionEndedError,
    NotFoundError,
    UnauthenticatedError,
)
from broker.core.words.subject import Interaction, VerificationLevel
from broker.ports import NewTurn, PayloadDraft

if TYPE_CHECKING:
    from broker.core.identity.channel import ChannelFacts
    from broker.core.words.identity import InteractionOpening, OneUse
    from broker.ports import Ports, Sealed

PURPOSE = "interaction"
ENDINGS_MAX = 3
"""How often an ending is tried again because the customer was bound meanwhile."""


async def open_interaction(ports: Ports, assertion: str, *, issuer: str) -> Interaction:
    """Open the interaction that a channel asserts.

    Raises:
        UnauthenticatedError: not signed by a channel's key, or used before.
        ForbiddenError: the channel may not say this, or the agent is not there.
        InvalidError: a claim has the wrong form.
    """
    await ports.journal.ready()
    now = ports.clock.now()
    channel = await channel_of(ports, assertion)
    opening = verify_interaction_assertion(
        assertion, channel=channel, issuer=issuer, now=now
    )
    await only_once(ports, opening.one_use)
    view = await ports.authority.view(opening.agent_id, [])
    if view.agent is None or view.agent.use_case != opening.use_case:
        msg = "there is no such agent for this use case"
        raise ForbiddenError(msg, pointer="/agent")
    interaction = _interaction(ports, opening, environment=view.agent.environment)
    payload = await ports.vault.seal(
        interactions.to_payload(interaction), _draft(ports, interaction, "interaction")
    )
    evidence = await ports.vault.seal(
        {"assertion": assertion}, _draft(ports, interaction, "assertion")
    )
    entry = _entry(ports, interaction, EntryKind.INTERACTION, (payload, evidence))
    await ports.store.open(interaction, payload=payload, also=(evidence,), entry=entry)
    return interaction


async def add_turn(
    ports: Ports, interaction_id: str, assertion: str, *, issuer: str
) -> str:
    """Keep what the customer or the agent said; return the turn's id.

    Raises:
        UnauthenticatedError: not signed by the channel that opened the interaction.
        NotFoundError: there is no such interaction for this channel.
        InteractionEndedError: it is over.
    """
    await ports.journal.ready()
    channel, interaction = await where(ports, interaction_id, assertion)
    turn = verify_turn(
        assertion,
        interaction_id=interaction_id,
        channel=channel,
        issuer=issuer,
        now=ports.clock.now(),
    )
    await only_once(ports, turn.one_use)
    if interaction.ended(ports.clock.now()):
        msg = "this interaction has ended"
        raise InteractionEndedError(msg, hint="open a new one")
    turn_id = ports.ids.new()
    payload = await ports.vault.seal(
        {"text": turn.text, "assertion": assertion},
        _draft(ports, interaction, "free_text"),
    )
    entry = _entry(
        ports,
        interaction,
        EntryKind.TURN,
        (payload,),
        detail={"turn": turn_id, "speaker": turn.speaker, "channel_kid": turn.kid},
    )
    await ports.store.add_turn(
        NewTurn(turn_id, interaction, turn.speaker, turn.at, payload, entry)
    )
    return turn_id


async def end_interaction(
    ports: Ports, interaction_id: str, assertion: str, *, issuer: str
) -> Interaction:
    """End an interaction for good; one that its channel ended before stays as it is.

    No agent begins anything in it any more. What people were asked before stays asked:
    they end it, or policy and time do.

    Raises:
        UnauthenticatedError: not signed by the channel that opened it, or used before.
        NotFoundError: there is no such interaction for this channel.
        ConflictError: the customer was bound meanwhile, each time.
    """
    await ports.journal.ready()
    channel, interaction = await where(ports, interaction_id, assertion)
    use = verify_ending(
        assertion,
        interaction_id=interaction_id,
        channel=channel,
        issuer=issuer,
        now=ports.clock.now(),
    )
    await only_once(ports, use)
    for _ in range(ENDINGS_MAX):
        if interaction.closed_at is not None:
            return interaction
        closed = replace(interaction, closed_at=ports.clock.now())
        payload = await ports.vault.seal(
            interactions.to_payload(closed), _draft(ports, closed, "interaction")
        )
        evidence = await ports.vault.seal(
            {"assertion": assertion}, _draft(ports, closed, "assertion")
        )
        entry = _entry(
            ports,
            closed,
            EntryKind.INTERACTION,
            (payload, evidence),
            detail={"ended_by": closed.channel_id},
        )
        if await ports.store.end(
            closed, payload=payload, also=(evidence,), entry=entry
        ):
            return closed
        _, interaction = await where(ports, interaction_id, assertion)
    msg = "the interaction changed meanwhile"
    raise ConflictError(msg, hint="sign its ending once more")


async def where(
    ports: Ports, interaction_id: str, assertion: str
) -> tuple[ChannelFacts, Interaction]:
    """Return the channel that speaks, and its interaction.

    Raises:
        UnauthenticatedError: no active channel has this name.
        NotFoundError: there is no such interaction for this channel.
    """
    channel = await channel_of(ports, assertion)
    known = is_id(interaction_id)
    interaction = await ports.store.interaction(interaction_id) if known else None
    if interaction is None or interaction.channel_id != channel.channel_id:
        msg = "there is no such interaction for this channel"
        raise NotFoundError(msg)
    return channel, interaction


async def channel_of(ports: Ports, assertion: str) -> ChannelFacts:
    """Return the active channel that an assertion says it is from.

    Raises:
        UnauthenticatedError: there is none.
    """
    channel = await ports.authority.channel(claimed_channel(assertion))
    if channel is None:
        msg = "no active channel signed this"
        raise UnauthenticatedError(msg)
    return channel


async def only_once(ports: Ports, use: OneUse) -> None:
    """Require that an assertion was never used before.

    Raises:
        UnauthenticatedError: it was.
    """
    if not await ports.replay.first_ever(use):
        msg = "this assertion was used before"
        raise UnauthenticatedError(msg, hint="sign a new one, with its own jti")


def _interaction(
    ports: Ports, opening: InteractionOpening, *, environment: str
) -> Interaction:
    ref = ""
    if opening.customer:
        ref = customer_ref(ports, ports.tenant, opening.use_case, opening.customer)
    return Interaction(
        interaction_id=ports.ids.new(),
        tenant=ports.tenant,
        environment=environment,
        use_case=opening.use_case,
        agent_id=opening.agent_id,
        channel_id=opening.channel_id,
        channel=opening.channel,
        customer_id=opening.customer,
        customer_ref=ref,
        verification=opening.verification,
        topics=opening.topics,
        customer_flags=opening.customer_flags,
        locale=opening.locale,
        purpose=opening.purpose,
        consent_version=opening.consent_version,
        release="",
        ai_disclosed_at=opening.ai_disclosed_at,
        opened_at=ports.clock.now(),
    )


def customer_ref(ports: Ports, tenant: str, use_case: str, customer: str) -> str:
    """Return the opaque reference of a customer: the same only within one use case."""
    return ports.vault.reference("customer", tenant, use_case, customer)[:32]


def _draft(ports: Ports, interaction: Interaction, data_class: str) -> PayloadDraft:
    return PayloadDraft(
        payload_id=ports.ids.new(),
        subject=interaction.customer_ref or interaction.interaction_id,
        purpose=PURPOSE,
        retention="interaction",
        data_class=data_class,
    )


def _entry(
    ports: Ports,
    interaction: Interaction,
    kind: EntryKind,
    payloads: tuple[Sealed, ...],
    *,
    detail: dict[str, Any] | None = None,
) -> AuditEntry:
    return AuditEntry(
        entry_id=ports.ids.new(),
        kind=kind,
        at=ports.clock.now(),
        tenant=interaction.tenant,
        environment=interaction.environment,
        context=record.context_of(None, interaction),
        detail=detail or {"opened_by": interaction.channel_id},
        payloads=tuple(sealed.ref for sealed in payloads),
        replica=ports.replica,
    )


def with_customer(
    ports: Ports, now: Interaction, customer_id: str
) -> Interaction | None:
    """Return an interaction with the customer that a verification found.

    Once bound, always bound: details of another customer give None.
    """
    if now.bound and now.customer_id != customer_id:
        return None
    return replace(
        now,
        customer_id=customer_id,
        customer_ref=now.customer_ref
        or customer_ref(ports, now.tenant, now.use_case, customer_id),
        verification=max(now.verification, VerificationLevel.MATCHED),
    )
