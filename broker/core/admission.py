"""The last step of authenticate: does this caller belong into this interaction, now.

Token and proof were verified before (``authenticate``); here they meet the rows that
say whether agent, grant and interaction still stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.words.decision import Reason
from broker.core.words.subject import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from broker.core.words.subject import Caller, Interaction


def admit(
    caller: Caller,
    interaction: Interaction | None,
    *,
    epochs: Mapping[str, int],
    now: datetime,
) -> Reason | None:
    """Return why this caller may not act here now, or None.

    An interaction that does not exist and one of another agent give the same reason.
    """
    return next(
        (
            reason
            for failed, reason in _checks(caller, interaction, epochs, now)
            if failed
        ),
        None,
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
    yield interaction.agent_id != caller.subject_id, unknown
    yield interaction.tenant != caller.tenant, unknown
    yield interaction.environment != caller.environment, unknown
    bound_to = caller.grant.interaction_id
    other = bound_to not in {"", interaction.interaction_id}
    yield (
        other,
        Reason("other_interaction", "the token is bound to another interaction"),
    )
    closed = interaction.closed_at is not None and interaction.closed_at <= now
    yield closed, Reason("interaction_closed", "the interaction has ended")
    bearer = not caller.proof_of_possession and not bound_to
    text = "a bearer token must be bound to one interaction"
    yield bearer, Reason("bearer_unbound", text)
