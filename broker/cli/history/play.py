"""Play sixty days: who comes is let through the flow, and who is asked says something.

Everything that decides is the flow's own: the policy of the state, its budgets, the
guards, quorums and the second look before something would be executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Any, Final, cast

from broker import case as cases
from broker import evidence, flow
from broker.approving import ballots, ending
from broker.cli.history.money import Money
from broker.cli.history.shop import ATTACKER, Fate, Shop, Visit, Wish, visits
from broker.cli.history.stage import (
    STAMP,
    DrawnIds,
    OpenRates,
    QuietJournal,
    Seen,
    SetAuthority,
    SetClock,
    ShopInMemory,
    StampingVault,
)
from broker.cli.history.store import Kept, MemoryStore
from broker.conversation import PURPOSE, customer_ref
from broker.core import approve, record
from broker.core.sealed.interaction import to_payload
from broker.core.words.action import ActionRecord, ActionState
from broker.core.words.approval import Approver, Vote, VoteWord
from broker.core.words.decision import Reason
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.subject import (
    Caller,
    Epochs,
    Grant,
    Interaction,
    SubjectKind,
    VerificationLevel,
)
from broker.ports import (
    AuthorityView,
    Desk,
    Executor,
    NewTurn,
    OnDesk,
    PayloadDraft,
    PolicyRoom,
    Ports,
    Queue,
    Replay,
    Sealed,
    Shelf,
    Store,
    Unresolved,
    Vault,
)

DAYS: Final = 60
SEED: Final = 7
_NO_REASON: Final = "looked at the order and the conversation"
_REJECTED: Final = "not what our policy on goodwill means"
_PLANTED: Final = "the payment method stood in a note that somebody else wrote"


@dataclass(frozen=True, slots=True)
class World:
    """What a history is made in: the state's own policy, people, agent and channel."""

    tenant: str
    environment: str
    agent_id: str
    channel_id: str
    view: AuthorityView
    people: Mapping[str, Approver]
    shelf: Shelf
    vault: Vault
    shop: Shop
    loaded_at: datetime


@dataclass(frozen=True, slots=True)
class History:
    """A history that was played: its rows, its money, and the days that it covers."""

    kept: Kept
    money: Money
    first: datetime
    days: int
    seed: int


async def played(world: World, *, seed: int = SEED, days: int = DAYS) -> History:
    """Return the ``days`` days before the one of ``loaded_at``, as they never were.

    The same seed, world and day give the same rows, but for the nonces of what is
    sealed.
    """
    today = datetime.combine(world.loaded_at.date(), time(), UTC)
    first = today - timedelta(days=days)
    player = _Player(world, seed=seed, first=first, end=today)
    for visit in visits(world.shop, seed=seed, first=first, days=days):
        await player.serve(visit)
    player.store.kept.entries.sort(key=lambda entry: entry.at)
    return History(player.store.kept, player.store.money, first, days, seed)


class _Player:
    """Plays one conversation after the other."""

    def __init__(
        self, world: World, *, seed: int, first: datetime, end: datetime
    ) -> None:
        self._world, self._end = world, end
        self._dice = Random(seed + 1)  # noqa: S311  (a drawn history)
        self._clock = SetClock(first)
        vault = StampingVault(world.vault)
        self._seen = Seen(vault)
        self._shop = ShopInMemory(world.shop, self._clock)
        self.store = MemoryStore(
            vault=vault,
            shelf=world.shelf,
            clock=self._clock,
            seen=self._seen,
            loaded_at=world.loaded_at,
        )
        view = replace(world.view, standing=(), stopped=False)
        self._ports = Ports(
            clock=self._clock,
            ids=DrawnIds(self._clock, seed),
            shelf=world.shelf,
            authority=SetAuthority(view, world.people),
            rates=OpenRates(),
            handles=self._seen,
            vault=vault,
            store=cast("Store", self.store),
            executor=cast("Executor", self._shop),
            journal=QuietJournal(),
            # Nothing of a history is asked at these.
            replay=cast("Replay", None),
            desk=cast("Desk", None),
            queue=cast("Queue", None),
            policies=cast("PolicyRoom", None),
            unknown=cast("Unresolved", None),
            replica=STAMP,
            tenant=world.tenant,
        )

    async def serve(self, visit: Visit) -> None:
        """Play one conversation from its first word to its end."""
        self._clock.at = visit.at
        where = await self._opened(visit)
        await self._say(where, "customer", visit.said)
        await self._ask(where, "customers.get", {})
        self._shop.fails = visit.fails
        order = {"order_id": visit.order["order_id"]}
        await self._ask(where, "orders.get", order)
        self._shop.fails = False
        answer = await self._wanted(where, visit)
        await self._ask(where, "answers.send", {"text": answer})
        await self._say(where, "agent", answer)
        await self.store.close(where.interaction_id, self._ports.ids.new())

    async def _wanted(self, where: Interaction, visit: Visit) -> str:
        """Do what the customer came for, and return what they are told."""
        order_id = visit.order["order_id"]
        match visit.wish:
            case Wish.GESTURE | Wish.ITEM | Wish.ORDER | Wish.PLANTED:
                done = await self._refund(where, visit)
                return "It is on its way." if done else "I am sorry, we cannot do that."
            case Wish.CANCEL:
                why = self._dice.choice(("no longer needed", "ordered by mistake"))
                wanted = {"order_id": order_id, "reason": why}
                asked = await self._ask(where, "orders.cancel", wanted)
                done = await self._decided(asked, visit)
                return "It is cancelled." if done else "It could not be cancelled."
            case Wish.QUESTION:
                return f"Your order is {visit.order['status']}."
            case Wish.PERSON:
                said = {"summary": "The customer asks for a person."}
                await self._ask(where, "customers.hand_over", said)
                return "Somebody will take over."
            case Wish.STRANGER:
                # An order that was not shown here: the guard stops it.
                other = self._dice.choice(sorted(self._world.shop.orders))
                await self._ask(where, "orders.get", {"order_id": other})
                return "I can only look at your own orders."

    async def _refund(self, where: Interaction, visit: Visit) -> bool:
        payee = visit.order["payments"][0]["payment_method_id"]
        wanted = {
            "order_id": visit.order["order_id"],
            "amount_minor_units": visit.amount,
            "currency": "USD",
            "payment_method_id": ATTACKER if visit.wish is Wish.PLANTED else payee,
        }
        return await self._decided(
            await self._ask(where, "orders.refund", wanted), visit
        )

    async def _ask(
        self, where: Interaction, tool: str, arguments: Mapping[str, Any]
    ) -> ActionRecord | None:
        """Let the agent ask for something, a few seconds after the last."""
        self._clock.pass_s(self._dice.randint(2, 9))
        ask = cases.Ask(
            caller=self._caller(),
            tool=tool,
            arguments=arguments,
            interaction_id=where.interaction_id,
            reason="the customer asked for it",
        )
        return (await flow.submit(self._ports, ask)).record

    # ------------------------------------------------------------------------- people

    async def _decided(self, asked: ActionRecord | None, visit: Visit) -> bool:
        """Let people do what they do; return whether it was executed."""
        if asked is not None and asked.state is ActionState.PENDING_APPROVAL:
            await self._answered(asked, visit)
            await flow.settle(self._ports, asked.request.action_id)
            asked = await self.store.action(asked.request.action_id)
        return asked is not None and asked.state is ActionState.DONE

    async def _answered(self, asked: ActionRecord, visit: Visit) -> None:
        found = await self.store.approval(asked.approval_id)
        assert found is not None  # noqa: S101  (it was asked)
        request = found[0]
        able = [
            person_id
            for person_id, person in sorted(self._world.people.items())
            if approve.may_sign(person, request, at=self._clock.now()) is None
        ]
        needed, fate = request.quorum.approvers_min, visit.fate
        if fate is Fate.APPROVE and len(able) < needed:
            fate = Fate.EXPIRE
        # A history ends before the day on which it is loaded, and so does all of it.
        if fate is Fate.EXPIRE and request.expires_at >= self._end:
            fate = Fate.WITHDRAW
        left_s = (self._end - self._clock.now()).total_seconds()
        thinks_s = min(visit.thinks_s, left_s / (needed + 1))
        match fate:
            case Fate.APPROVE:
                for person_id in self._dice.sample(able, needed):
                    self._clock.pass_s(thinks_s)
                    await self._vote(asked, person_id, VoteWord.APPROVE, _NO_REASON)
            case Fate.REJECT:
                self._clock.pass_s(thinks_s)
                person_id = self._dice.choice(able or sorted(self._world.people))
                planted = visit.wish is Wish.PLANTED
                why = _PLANTED if planted else _REJECTED
                await self._vote(asked, person_id, VoteWord.REJECT, why)
            case Fate.WITHDRAW:
                self._clock.pass_s(thinks_s)
                await ending.withdraw(self._ports, asked)
            case Fate.EXPIRE:
                self._clock.at = request.expires_at
                reason = Reason("approval_expired", "nobody signed in time")
                ended = ActionState.EXPIRED
                await evidence.keep_unexecuted(self._ports, asked, reason, ended)

    async def _vote(
        self, asked: ActionRecord, person_id: str, word: VoteWord, why: str
    ) -> None:
        found = await self.store.approval(asked.approval_id)
        case = await cases.reopened(self._ports, asked)
        assert found is not None  # noqa: S101  (it was asked)
        assert not isinstance(case, Reason)  # noqa: S101  (nothing changes here)
        request, votes = found
        vote = Vote(
            vote_id=self._ports.ids.new(),
            approval_id=asked.approval_id,
            person_id=person_id,
            word=word,
            digest=request.digest,
            shown="",
            strength=STAMP,
            reason=why,
            at=self._clock.now().replace(microsecond=0),
        )
        tally = approve.tally(
            request, [*votes, vote], people=self._world.people, now=self._clock.now()
        )
        put = ballots.Asked(cast("OnDesk", None), asked, case, request)
        one = ballots.Signed("", vote, {"word": word.value, "reason": why})
        await self.store.cast(
            await ballots.ballot_of(self._ports, put, one, tally, frozenset())
        )

    # -------------------------------------------------------------------- conversations

    async def _opened(self, visit: Visit) -> Interaction:
        ports, world = self._ports, self._world
        use_case = world.view.agent.use_case if world.view.agent else ""
        customer = str(visit.customer["customer_id"])
        opened = Interaction(
            interaction_id=ports.ids.new(),
            tenant=world.tenant,
            environment=world.environment,
            use_case=use_case,
            agent_id=world.agent_id,
            channel_id=world.channel_id,
            channel="webchat",
            customer_id=customer,
            customer_ref=customer_ref(ports, world.tenant, use_case, customer),
            verification=VerificationLevel.MATCHED,
            topics=(),
            locale="en-US",
            purpose="service",
            consent_version="",
            release="",
            ai_disclosed_at=visit.at,
            opened_at=visit.at,
        )
        payload = await self._sealed(opened, to_payload(opened), "interaction")
        said = {"opened_by": world.channel_id}
        entry = self._entry(opened, EntryKind.INTERACTION, payload, said)
        await self.store.open(opened, payload=payload, also=(), entry=entry)
        return opened

    async def _say(self, where: Interaction, speaker: str, text: str) -> None:
        turn_id = self._ports.ids.new()
        payload = await self._sealed(where, {"text": text}, "free_text")
        said = {"turn": turn_id, "speaker": speaker, "channel_kid": None}
        entry = self._entry(where, EntryKind.TURN, payload, said)
        at = self._clock.now()
        await self.store.add_turn(NewTurn(turn_id, where, speaker, at, payload, entry))

    async def _sealed(
        self, where: Interaction, value: Mapping[str, Any], data_class: str
    ) -> Sealed:
        draft = PayloadDraft(
            payload_id=self._ports.ids.new(),
            subject=where.customer_ref,
            purpose=PURPOSE,
            retention="interaction",
            data_class=data_class,
        )
        return await self._ports.vault.seal(value, draft)

    def _entry(
        self,
        where: Interaction,
        kind: EntryKind,
        payload: Sealed,
        detail: Mapping[str, Any],
    ) -> AuditEntry:
        return AuditEntry(
            entry_id=self._ports.ids.new(),
            kind=kind,
            at=self._clock.now(),
            tenant=where.tenant,
            environment=where.environment,
            context=record.context_of(None, where),
            detail=detail,
            payloads=(payload.ref,),
            replica=STAMP,
        )

    def _caller(self) -> Caller:
        world = self._world
        scopes = (f"global:{world.environment}", f"agent:{world.agent_id}")
        epochs = tuple((scope, world.view.epochs.get(scope, 0)) for scope in scopes)
        return Caller(
            kind=SubjectKind.AGENT,
            subject_id=world.agent_id,
            tenant=world.tenant,
            environment=world.environment,
            token_id=STAMP,
            grant_id=STAMP,
            instance_id=STAMP,
            kid=STAMP,
            proof_of_possession=True,
            expires_at=self._clock.now() + timedelta(minutes=5),
            epochs=Epochs(epochs),
            grant=Grant(),
        )
