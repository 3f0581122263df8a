"""The Authority port: what the signed rows say now, for the flow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.core.identity.chain import broken
from broker.core.words.errors import StoreUnavailableError
from broker.effects.parsed import Parsed
from broker.ports import AuthorityView, Shadowed
from broker.registry.agents import parse_agent
from broker.registry.channels import parse_channel
from broker.registry.emergency.kill_switch import parse_kill_switch
from broker.registry.limits.beside import narrowed, parse_limit
from broker.registry.limits.release import RELEASE_KIND, parse_release
from broker.registry.people import parse_person
from broker.registry.standing import parse_standing_approval, standing_holds
from broker.registry.vigilance.rows import RIGHT_KIND, parse_right

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from broker.core.authenticate import ChannelFacts
    from broker.core.words.approval import Approver, StandingApproval
    from broker.effects.database import Database
    from broker.effects.registry import Registry
    from broker.ports import Policy
    from broker.registry.agents import AgentRow
    from broker.registry.authority import AuthorityRow
    from broker.registry.people import PersonRow
    from broker.registry.standing import SignedStanding

_VIEW = "SELECT authority_view($1, $2, $3)"


class SignedAuthority:
    """Agents, people, channels, the policy and standing approvals, each verified."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        *,
        read_policy: Callable[[AuthorityRow], Policy],
    ) -> None:
        """Keep where rows come from, and how a policy is read out of one.

        ``read_policy`` raises RowError for a policy that cannot be used.
        """
        self._database = database
        self._registry = registry
        self._agents = Parsed(parse_agent)
        self._channels = Parsed(parse_channel)
        self._people = Parsed(parse_person)
        self._rights = Parsed(parse_right)
        self._switches = Parsed(parse_kill_switch)
        self._policies = Parsed(read_policy)
        self._limits = Parsed(parse_limit)
        self._releases = Parsed(parse_release)
        self._standing = Parsed(parse_standing_approval)
        self._signers: tuple[str, ...] = ()

    async def view(
        self,
        agent_id: str,
        scopes: Sequence[str],
        *,
        chain: Sequence[str] = (),
        ended: bool = False,
    ) -> AuthorityView:
        """Return what holds now for this agent and these revocation scopes.

        ``chain`` are the agents on whose authority it acts, the nearest first. With
        ``ended`` an agent is described that is not active, too: for what people do.

        Raises:
            StoreUnavailableError: The database does not answer, there is no policy
                that verifies, or nobody can tell what restricts it: nothing can be
                decided.
        """
        asked = self._signers
        found = await self._database.value(
            _VIEW, [agent_id, *chain], list(asked), list(scopes)
        )
        heads = [(kind, row_id, newest) for kind, row_id, newest in found["heads"]]
        by_kind: dict[str, list[AuthorityRow]] = {}
        for row in await self._registry.all_in_force(heads):
            by_kind.setdefault(row.kind, []).append(row)
        policy = self._in_force(next(iter(by_kind.get("policy", [])), None))
        policy = self._narrowed(policy, by_kind.get("limit", []))
        agents = self._active(by_kind.get("agent", []), ended=ended)
        agent = agents.get(agent_id)
        above = [agents.get(one) for one in chain]
        standing: tuple[StandingApproval, ...] = ()
        if agent is not None:
            standing = await self._standing_for(agent, by_kind, asked=asked)
        return AuthorityView(
            agent=agent.facts() if agent is not None else None,
            epochs=found["epochs"],
            policy=policy,
            standing=standing,
            stopped=self._stopped(by_kind.get("kill_switch", [])),
            chain=tuple(one.facts() for one in above if one is not None),
            broken=broken([one.link() if one else None for one in (agent, *above)]),
        )

    async def policy(self) -> Policy:
        """Return the policy in force.

        Raises:
            StoreUnavailableError: There is none that verifies.
        """
        return self._in_force(await self._registry.get("policy", "main"))

    async def shadow(self) -> Shadowed | None:
        """Return what runs beside it, None if nothing does that can be evaluated."""
        row = await self._registry.get("policy", "shadow")
        if row is None or row.body.get("status") != "on":
            return None
        policy = self._policies.of(row)
        return Shadowed(policy, row.revision, row.at) if policy else None

    async def approvers(self) -> Mapping[str, Approver]:
        """Return everybody who may hold an approving role, by person id.

        Raises:
            RowHiddenError: Nobody can tell who that is, or whose right is suspended.
        """
        rows = [self._people.of(row) for row in await self._registry.list("person")]
        people = {one.person_id: one for one in rows if one is not None}
        rights = await self._registry.those(RIGHT_KIND, sorted(people))
        suspended = self._suspended(rights)
        return {
            one: replace(person.approver(), suspended=one in suspended)
            for one, person in people.items()
        }

    def _suspended(self, rows: Sequence[AuthorityRow]) -> set[str]:
        """Return whose right to approve is suspended; a row that says nothing does."""
        rights = [(row.row_id, self._rights.of(row)) for row in rows]
        return {one for one, right in rights if right is None or right.suspended}

    async def channel(self, channel_id: str) -> ChannelFacts | None:
        """Return what an active channel may say, or None."""
        channel = self._channels.of(await self._registry.get("channel", channel_id))
        return channel.facts() if channel is not None and channel.active else None

    def _active(
        self, rows: Sequence[AuthorityRow], *, ended: bool
    ) -> dict[str, AgentRow]:
        agents = [one for row in rows if (one := self._agents.of(row)) is not None]
        return {one.agent_id: one for one in agents if one.active or ended}

    async def released(self, budget_id: str) -> Mapping[str, int]:
        """Return up to which freeze a budget's windows were released by people."""
        row = await self._registry.get(RELEASE_KIND, budget_id)
        return self._releases.of(row) or {}

    def _stopped(self, rows: Sequence[AuthorityRow]) -> bool:
        """Return whether the kill switch is on; a row that says nothing means yes."""
        switches = [self._switches.of(row) for row in rows]
        return any(switch is None or switch.on for switch in switches)

    def _in_force(self, row: AuthorityRow | None) -> Policy:
        policy = self._policies.of(row)
        if policy is None:
            msg = "there is no policy that verifies, so nothing can be decided"
            raise StoreUnavailableError(msg, hint="publish one")
        return policy

    def _narrowed(self, policy: Policy, rows: Sequence[AuthorityRow]) -> Policy:
        """Lower the budgets that people have set lower than the policy does."""
        lower = {}
        for row in rows:
            one = self._limits.of(row)
            if one is None:
                msg = "a limit beside the policy cannot be read by this version"
                raise StoreUnavailableError(msg, hint="run the version that wrote it")
            if one.limit is not None:
                lower[one.rule_id] = one.limit
        if not lower:
            return policy
        return replace(policy, budgets=narrowed(policy.budgets, lower))

    async def _standing_for(
        self,
        agent: AgentRow,
        rows: Mapping[str, Sequence[AuthorityRow]],
        *,
        asked: Collection[str],
    ) -> tuple[StandingApproval, ...]:
        """Return the standing approvals of an agent that two people really signed.

        One rests while the right to approve of one of them is suspended. ``rows`` are
        by kind, ``asked`` whom among the signers they were asked for.
        """
        candidates = [
            one
            for row in rows.get("standing_approval", [])
            if (one := self._standing.of(row)) is not None
            and one.approval.active
            and agent.agent_id in one.approval.agents
        ]
        known = await self._signers_of(candidates, rows, asked=asked)
        return tuple(
            one.approval
            for one in candidates
            if standing_holds(one, people=known, owner=agent.owner)
        )

    async def _signers_of(
        self,
        candidates: Sequence[SignedStanding],
        rows: Mapping[str, Sequence[AuthorityRow]],
        *,
        asked: Collection[str],
    ) -> dict[str, PersonRow]:
        """Return the signers who may approve, by id."""
        people, rights = rows.get("person", []), rows.get(RIGHT_KIND, [])
        wanted = {signer for one in candidates for signer in one.approval.signed_by}
        new = sorted(wanted - {*asked})
        if new:
            people = [*people, *await self._registry.those("person", new)]
            rights = [*rights, *await self._registry.those(RIGHT_KIND, new)]
            # The next view asks for them together with everything else.
            self._signers = tuple(sorted({*self._signers, *new}))
        suspended = self._suspended(rights)
        known = [self._people.of(row) for row in people]
        return {
            one.person_id: one
            for one in known
            if one is not None and one.person_id not in suspended
        }
