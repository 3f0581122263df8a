"""A person's client: the queue of approvals, votes, and the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.client.keys import new_id
from broker.client.supervisor import SupervisorClient
from broker.core.jws import sign
from broker.core.words.approval import RESOLUTION_TYP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.client.answers import Answer


class PersonClient(SupervisorClient):
    """Speaks to the console's API as one person."""

    async def me(self) -> Mapping[str, Any]:
        """Return who this is: signing in is getting a token, and this shows it."""
        return (await self.call("GET", "/v1/admin/me")).checked()

    async def console_link(self) -> Mapping[str, Any]:
        """Return a link that signs this person in to the console, once."""
        return (await self.call("POST", "/v1/console/links")).checked()

    async def unknown(self) -> Sequence[Mapping[str, Any]]:
        """Return actions whose outcome nobody knows."""
        found = (await self.call("GET", "/v1/admin/actions/unknown")).checked()
        rows: Sequence[Mapping[str, Any]] = found["unknown"]
        return rows

    async def undo(self, action_id: str, *, reason: str) -> Answer:
        """Ask for an action to be taken back, by what its tool declares."""
        path = f"/v1/admin/actions/{action_id}/undo"
        return await self.call("POST", path, json={"reason": reason})

    async def codec_rotated(self, kid: str, *, reason: str = "") -> Mapping[str, Any]:
        """Say that this key seals what goes to Temporal from now on."""
        said = {"key": kid, "reason": reason}
        return (
            await self.call("POST", "/v1/admin/codec/rotations", json=said)
        ).checked()

    async def reconcile_unknown(self) -> Mapping[str, Any]:
        """Have the edge and the upstream asked now what became of them."""
        path = "/v1/admin/actions/unknown/reconcile"
        return (await self.call("POST", path)).checked()

    async def resolve(
        self, row: Mapping[str, Any], *, happened: bool, amount: int | None, reason: str
    ) -> Answer:
        """Sign what became of an unknown action that was looked at, and send that."""
        said = {"happened": happened, "amount_minor_units": amount, "reason": reason}
        now = self.tokens.key.now()
        claims = {
            **said,
            "action": row["action"],
            "digest": row["digest"],
            "iat": int(now.timestamp()),
            "jti": new_id(now),
            "person": self.person_id,
        }
        body = {**said, "signature": self.sign(claims, typ=RESOLUTION_TYP)}
        path = f"/v1/admin/actions/{row['action']}/resolve"
        return await self.call("POST", path, json=body)

    async def decision(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what would be decided, by what, and what would make it pass."""
        return (await self.call("POST", "/v1/decisions", json=dict(body))).checked()

    async def agents(self) -> Sequence[Mapping[str, Any]]:
        """Return every agent."""
        found = (await self.call("GET", "/v1/admin/agents")).checked()
        agents: Sequence[Mapping[str, Any]] = found["agents"]
        return agents

    async def agent(self, agent_id: str) -> Mapping[str, Any]:
        """Return one agent, with its instances and when its keys were used."""
        return (await self.call("GET", f"/v1/admin/agents/{agent_id}")).checked()

    async def register_agent(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Register an agent."""
        return (await self.call("POST", "/v1/admin/agents", json=body)).checked()

    async def change_agent(
        self, agent_id: str, what: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Change an agent: suspend, resume, revoke, grant or ungrant."""
        path = f"/v1/admin/agents/{agent_id}/{what}"
        return (await self.call("POST", path, json=dict(body or {}))).checked()

    async def kill_switch(self, what: str = "", *, reason: str = "") -> Answer:
        """Return the kill switch, or turn it ``on`` or ``off``."""
        path = "/v1/admin/kill-switch"
        if not what:
            return await self.call("GET", path)
        return await self.call("POST", f"{path}/{what}", json={"reason": reason})

    async def signing_keys(self, what: str = "", *, reason: str = "") -> Answer:
        """Return the broker's own keys; or ``rotate``, or ``KID/compromised``."""
        path = "/v1/admin/keys"
        if not what:
            return await self.call("GET", path)
        return await self.call("POST", f"{path}/{what}", json={"reason": reason})

    async def stale(self) -> Sequence[Mapping[str, Any]]:
        """Return agents' keys past their age, and agents that nobody uses."""
        found = (await self.call("GET", "/v1/admin/keys/stale")).checked()
        rows: Sequence[Mapping[str, Any]] = found["stale"]
        return rows

    async def timeline(
        self, agent_id: str, *, entries_from: int = 0, actions_until: str = ""
    ) -> Mapping[str, Any]:
        """Return what an agent could do, from when to when, and what it did."""
        path = f"/v1/admin/agents/{agent_id}/timeline"
        params = {"entries_from": str(entries_from), "actions_until": actions_until}
        return (await self.call("GET", path, params=params)).checked()

    async def end_instance(
        self, agent_id: str, instance: str, *, reason: str = ""
    ) -> Mapping[str, Any]:
        """End one running copy of an agent."""
        path = f"/v1/admin/agents/{agent_id}/instances/{instance}/revoke"
        return (await self.call("POST", path, json={"reason": reason})).checked()

    async def permissions(self, days: int) -> Mapping[str, Any]:
        """Return what connectors ask for, who holds it, and what was used since."""
        path, params = "/v1/admin/permissions", {"days": str(days)}
        return (await self.call("GET", path, params=params)).checked()

    async def use_cases(self) -> Sequence[Mapping[str, Any]]:
        """Return every use case with its tools."""
        answer = (await self.call("GET", "/v1/admin/use-cases")).checked()
        found: Sequence[Mapping[str, Any]] = answer["use_cases"]
        return found

    async def change_use_case(
        self, use_case: str, what: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Add tools to a use case, or drop some."""
        path = f"/v1/admin/use-cases/{use_case}/{what}"
        return (await self.call("POST", path, json=body)).checked()

    async def order_probe(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an order to try a credential, once."""
        path = "/v1/admin/credentials/probes"
        return (await self.call("POST", path, json=body)).checked()

    async def people(self) -> Sequence[Mapping[str, Any]]:
        """Return everybody."""
        found = (await self.call("GET", "/v1/admin/people")).checked()
        people: Sequence[Mapping[str, Any]] = found["people"]
        return people

    async def person(self, person_id: str) -> Mapping[str, Any]:
        """Return one person, and when their keys were used."""
        return (await self.call("GET", f"/v1/admin/people/{person_id}")).checked()

    async def add_person(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add a person."""
        return (await self.call("POST", "/v1/admin/people", json=body)).checked()

    async def change_person(
        self, person_id: str, what: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Change a person: roles, limits, suspend, resume or remove."""
        path = f"/v1/admin/people/{person_id}/{what}"
        return (await self.call("POST", path, json=dict(body))).checked()

    async def channels(self) -> list[Mapping[str, Any]]:
        """Return every channel."""
        found = (await self.call("GET", "/v1/admin/channels")).checked()
        return list(found["channels"])

    async def change_channel(
        self, channel_id: str, what: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Change a channel: ``suspend``, or ask for another ``key``."""
        path = f"/v1/admin/channels/{channel_id}/{what}"
        return (await self.call("POST", path, json=dict(body))).checked()

    async def changes(self) -> Sequence[Mapping[str, Any]]:
        """Return the changes that wait for a second person."""
        found = (await self.call("GET", "/v1/admin/changes")).checked()
        waiting: Sequence[Mapping[str, Any]] = found["changes"]
        return waiting

    async def change(self, change_id: str) -> Mapping[str, Any]:
        """Return one change."""
        return (await self.call("GET", f"/v1/admin/changes/{change_id}")).checked()

    async def approve_change(
        self, change_id: str, *, revision: int, reason: str = ""
    ) -> Mapping[str, Any]:
        """Approve a change as it was at a revision."""
        path = f"/v1/admin/changes/{change_id}/approve"
        body = {"revision": revision, "reason": reason}
        return (await self.call("POST", path, json=body)).checked()

    async def reject_change(
        self, change_id: str, *, reason: str = ""
    ) -> Mapping[str, Any]:
        """Reject a change, or take it back."""
        path = f"/v1/admin/changes/{change_id}/reject"
        return (await self.call("POST", path, json={"reason": reason})).checked()

    @property
    def person_id(self) -> str:
        """Return the id of who this is."""
        return self.tokens.client_id.partition(":")[2]

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        """Sign claims with the person's own key, as this type and no other."""
        return sign(dict(claims), key=self.tokens.key.key, typ=typ)

    async def budgets(self, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """Return budgets, newest windows first."""
        found = await self.call("GET", "/v1/admin/budgets", params=query)
        return list(found.checked()["budgets"])

    async def reservations(self, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """Return reservations, last moved first."""
        found = await self.call("GET", "/v1/admin/reservations", params=query)
        return list(found.checked()["reservations"])

    async def release_budget(self, budget_id: str, *, reason: str) -> Mapping[str, Any]:
        """Let a frozen budget admit again."""
        path = f"/v1/admin/budgets/{budget_id}/release"
        return (await self.call("POST", path, json={"reason": reason})).checked()

    async def reconcile(self) -> Mapping[str, Any]:
        """Compare budgets with the log."""
        return (await self.call("POST", "/v1/admin/budgets/reconcile")).checked()

    async def limits(self) -> list[Mapping[str, Any]]:
        """Return the limit of each budget rule, and what was set beside the policy."""
        found = await self.call("GET", "/v1/admin/limits")
        return list(found.checked()["limits"])

    async def set_limit(self, rule: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Lower a limit, or propose to raise it."""
        path = f"/v1/admin/limits/{rule}"
        return (await self.call("POST", path, json=dict(body))).checked()

    async def sign_limit(self, rule: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Sign a raise that somebody else proposed."""
        path = f"/v1/admin/limits/{rule}/sign"
        return (await self.call("POST", path, json=dict(body))).checked()

    async def standing_approvals(self) -> list[Mapping[str, Any]]:
        """Return standing approvals, the first to end first."""
        found = await self.call("GET", "/v1/admin/standing")
        return list(found.checked()["standing"])

    async def standing_agents(self) -> list[Mapping[str, Any]]:
        """Return the agents that one can be for: id, name and use case."""
        found = await self.call("GET", "/v1/admin/standing/agents")
        return list(found.checked()["agents"])

    async def standing_approval(self, approval_id: str) -> Mapping[str, Any]:
        """Return one standing approval."""
        return (await self.call("GET", f"/v1/admin/standing/{approval_id}")).checked()

    async def propose_standing(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Propose terms, with the first signature."""
        path = "/v1/admin/standing"
        return (await self.call("POST", path, json=dict(body))).checked()

    async def change_standing(
        self, approval_id: str, what: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Sign a standing approval, or revoke it."""
        path = f"/v1/admin/standing/{approval_id}/{what}"
        return (await self.call("POST", path, json=dict(body))).checked()
