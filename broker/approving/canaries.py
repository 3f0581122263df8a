"""Canaries: plant actions that must be rejected, and judge who rejected them.

A canary goes the way of every action that waits: the same policy decides it, the same
rows, lists, cards and votes hold it. It is another kind of action, which the database
itself lets be neither ready nor executing, and it takes nothing from a budget. What
people said of it is counted afterwards, from their signed votes.

Source: notes on monitors (approver vigilance); docs/canaries.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from broker import case as cases
from broker import deciding, evidence
from broker.conversation import customer_ref
from broker.core import record
from broker.core.canonical import digest
from broker.core.sealed import interaction as interactions
from broker.core.vigilance import scenes
from broker.core.vigilance.evidence import ALARM_AT, SEEN_MAX, alarms
from broker.core.vigilance.evidence import evidence as weight
from broker.core.words.action import ActionKind, ActionRequest
from broker.core.words.approval import VoteWord
from broker.core.words.decision import Escalate, Reason
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.labels import Integrity
from broker.core.words.subject import VerificationLevel
from broker.ports import NewTurn, PayloadDraft, Shown, StoredWord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.case import Case
    from broker.core.vigilance.scenes import Scene
    from broker.core.words.action import ActionRecord
    from broker.core.words.subject import Interaction
    from broker.core.words.tool import Tool
    from broker.ports import Ports
    from broker.ports.vigilance import EndedCanary, Vigil
    from broker.registry.vigilance.rows import Right

JUDGED_AT_ONCE_MAX: Final = 20
DAY_S: Final = 86_400
SUSPENDED: Final = "approval_right.suspend"

_SAID_BEFORE = (timedelta(seconds=95), timedelta(seconds=60))
_PURPOSE = "interaction"


@dataclass(frozen=True, slots=True)
class Score:
    """How one person did with canaries since their right was last given back."""

    person_id: str
    seen: int
    missed: int

    @property
    def evidence(self) -> float:
        """Return the evidence that they miss more than is tolerated."""
        return weight(self.missed, seen=self.seen)


async def watch(ports: Ports, vigil: Vigil) -> None:
    """Plant what is due, and judge what has ended; off, only the latter."""
    switch = await vigil.switch()
    if switch.on:
        seed = ports.ids.new()
        if await vigil.due(pause_s=_pause_s(seed, per_day=switch.per_day)):
            await plant(ports, vigil, agent_id=switch.agent, seed=seed)
    for one in await vigil.unjudged(limit=JUDGED_AT_ONCE_MAX):
        await judge(ports, vigil, one)


async def plant(ports: Ports, vigil: Vigil, *, agent_id: str, seed: str) -> str | None:
    """Put a canary before people; return its action, None if none can be now.

    It looks like the newest real action of this agent. Where there is none, the agent
    is not active, or policy would not ask people alone, nothing is planted.
    """
    newest = await ports.store.newest(agent_id=agent_id, limit=1)
    like = await ports.store.action(newest[0]) if newest else None
    tool = ports.shelf.tool(scenes.TOOL)
    if like is None or tool is None:
        return None
    where = await ports.store.interaction(like.request.interaction_id)
    made = scenes.scene(seed)
    if where is None:
        return None
    interaction = await _open(ports, where, made)
    case = await _case(ports, like, tool, interaction, made)
    if case is None:
        return None
    imagined = replace(ports, handles=_Handles(tool, made))
    case, decision = await deciding.authorized(imagined, case)
    decision, verdict = await deciding.guarded(imagined, case, decision)
    if not isinstance(decision, Escalate) or decision.quorum.customer:
        # What a customer should confirm as well would stand out: none ever would.
        return None
    shown = {"name": made.name, "record": dict(made.record)}
    case = replace(case, lines=(), scene=shown)
    kept = await evidence.keep_decision(ports, case, decision, verdict, None)
    if kept.word is not StoredWord.OK:
        return None
    # If we die here, it is asked and never judged; nothing else comes of it.
    await vigil.planted(kept.action_id, flaw=made.flaw.value, seed=seed)
    return kept.action_id


async def judge(ports: Ports, vigil: Vigil, one: EndedCanary) -> None:
    """Log who caught an ended canary and who missed it, and weigh what it comes to."""
    said = await _last_words(ports, one.approval_id)
    action = await ports.store.action(one.action_id)
    if action is None:
        return
    entries = [
        _entry(ports, action, one.flaw, person_id=person_id, word=word)
        for person_id, word in sorted(said.items())
    ]
    if not await vigil.judged(one.action_id, entries):
        return
    for person_id in sorted(said):
        # If we die before this, the next canary that they decide weighs the same.
        await _weigh(ports, vigil, action, person_id)


async def score(ports: Ports, vigil: Vigil, person_id: str) -> tuple[Score, Right]:
    """Count a person's canaries from their signed votes."""
    right, since = await vigil.right(person_id)
    asked = await vigil.faced(
        person_id, since=None if right.suspended else since, limit=SEEN_MAX
    )
    words = [(await _last_words(ports, one)).get(person_id) for one in asked]
    counted = [word for word in words if word is not None]
    missed = sum(word is VoteWord.APPROVE for word in counted)
    return Score(person_id, len(counted), missed), right


async def _weigh(
    ports: Ports, vigil: Vigil, action: ActionRecord, person_id: str
) -> None:
    found, right = await score(ports, vigil, person_id)
    if right.suspended or not alarms(found.missed, seen=found.seen):
        return
    now = ports.clock.now()
    gone = replace(
        right, suspended=True, missed=found.missed, seen=found.seen, asked_by=""
    )
    entry = AuditEntry(
        entry_id=ports.ids.new(),
        kind=EntryKind.AUTHORITY,
        at=now,
        tenant=action.tenant,
        environment=action.environment,
        detail={
            "what": SUSPENDED,
            "id": person_id,
            "missed": found.missed,
            "seen": found.seen,
            # More says nothing more, and might be no number in JSON.
            "evidence": round(min(found.evidence, 1_000 * ALARM_AT)),
        },
        replica=ports.replica,
    )
    await vigil.suspend(gone, at=now, entry=entry)


async def _last_words(ports: Ports, approval_id: str) -> dict[str, VoteWord]:
    """Return what each person said last, of the votes whose signatures verify."""
    votes, _ = await ports.desk.votes(approval_id)
    ordered = sorted(votes, key=lambda vote: (vote.at, vote.vote_id))
    return {vote.person_id: vote.word for vote in ordered}


async def _open(ports: Ports, where: Interaction, made: Scene) -> Interaction:
    """Open a conversation that never was, like one that the channel had."""
    now = ports.clock.now()
    opened = replace(
        where,
        interaction_id=ports.ids.new(),
        customer_id=made.customer_id,
        customer_ref=customer_ref(
            ports, where.tenant, where.use_case, made.customer_id
        ),
        customer_flags=(),
        verification=max(where.verification, VerificationLevel.MATCHED),
        opened_at=now - 2 * _SAID_BEFORE[0],
        closed_at=None,
    )
    payload = await ports.vault.seal(
        interactions.to_payload(opened), _draft(ports, opened, "interaction")
    )
    entry = _made_up(ports, opened, "interaction")
    await ports.store.open(opened, payload=payload, also=(), entry=entry)
    for (speaker, text), before in zip(made.said, _SAID_BEFORE, strict=True):
        sealed = await ports.vault.seal(
            {"text": text, "assertion": ""}, _draft(ports, opened, "free_text")
        )
        entry = _made_up(ports, opened, "turn")
        turn = NewTurn(ports.ids.new(), opened, speaker, now - before, sealed, entry)
        await ports.store.add_turn(turn)
    return opened


async def _case(
    ports: Ports, like: ActionRecord, tool: Tool, where: Interaction, made: Scene
) -> Case | None:
    """Gather the case as if the agent asked now, under the epochs of now."""
    request = ActionRequest(
        action_id=ports.ids.new(),
        tool=tool.name,
        arguments=made.arguments,
        arguments_digest=digest(dict(made.arguments)),
        interaction_id=where.interaction_id,
        reason=made.reason,
        citations=(),
        idempotency_key="",
        asked_at=ports.clock.now(),
        kind=ActionKind.CANARY,
    )
    scopes = [scope for scope, _ in like.requester.epochs]
    view = await ports.authority.view(like.requester.agent_id, scopes)
    epochs = tuple((scope, view.epochs.get(scope, 0)) for scope in scopes)
    asked = replace(
        like,
        request=request,
        requester=replace(like.requester, epochs=epochs),
        customer_ref=where.customer_ref,
        manifest=tool.digest,
        # Nobody signs for it in advance.
        approval_id=request.action_id,
        standing_approval="",
    )
    case = await cases.reopened(ports, asked)
    return None if isinstance(case, Reason) else case


@dataclass(frozen=True, slots=True)
class _Handles:
    """What would have been read in a conversation that never was."""

    tool: Tool
    made: Scene

    async def origins(
        self, interaction: Interaction, values: Mapping[str, Any]
    ) -> Mapping[str, Sequence[Shown]]:
        """Return that the system of record showed what the scene bears out."""
        del interaction
        kinds = {one.pointer: one.kind for one in self.tool.binding.objects}
        return {
            pointer: (
                Shown(Integrity.SYSTEM_OF_RECORD, "orders.get", kinds.get(pointer, "")),
            )
            for pointer in values
            if pointer in self.made.known
        }

    async def ceilings(
        self, objects: Sequence[tuple[str, str, str]]
    ) -> Mapping[tuple[str, str, str], int]:
        """Return none: no edge ever saw these objects."""
        del objects
        return {}


def _pause_s(seed: str, *, per_day: int) -> float:
    """Return when the next is due: a half to one and a half times the usual pause."""
    chance = int(digest([seed, "pause"])[:8], 16) / 0xFFFFFFFF
    return DAY_S / per_day * (0.5 + chance)


def _draft(ports: Ports, where: Interaction, data_class: str) -> PayloadDraft:
    return PayloadDraft(
        payload_id=ports.ids.new(),
        subject=where.customer_ref,
        purpose=_PURPOSE,
        retention="interaction",
        data_class=data_class,
    )


def _made_up(ports: Ports, where: Interaction, what: str) -> AuditEntry:
    return AuditEntry(
        entry_id=ports.ids.new(),
        kind=EntryKind.CANARY,
        at=ports.clock.now(),
        tenant=where.tenant,
        environment=where.environment,
        context=record.context_of(None, where),
        detail={"made_up": what},
        replica=ports.replica,
    )


def _entry(
    ports: Ports, action: ActionRecord, flaw: str, *, person_id: str, word: VoteWord
) -> AuditEntry:
    return AuditEntry(
        entry_id=ports.ids.new(),
        kind=EntryKind.CANARY,
        at=ports.clock.now(),
        tenant=action.tenant,
        environment=action.environment,
        action={
            "action_id": action.request.action_id,
            "action_kind": action.request.kind.value,
            "tool": action.request.tool,
        },
        detail={
            "approval": action.approval_id,
            "flaw": flaw,
            "person": person_id,
            "caught": word is VoteWord.REJECT,
        },
        replica=ports.replica,
    )
