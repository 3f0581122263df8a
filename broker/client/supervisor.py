"""A supervisor's client: what waits, votes, claims, questions, absences, the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.client.keys import new_id
from broker.client.session import Session
from broker.core.jws import sign
from broker.core.words.approval import VOTE_TYP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from broker.client.answers import Answer


class SupervisorClient(Session):
    """What a person does about approvals."""

    RESOURCE = "/console"

    async def approvals(
        self, query: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Return what waits for this person, page by page to the end."""
        wanted = dict(query or {})
        rows: list[Mapping[str, Any]] = []
        while True:
            answer = await self.call("GET", "/v1/approvals", params=wanted)
            found = answer.checked()
            rows += found["approvals"]
            cursor = found.get("next_cursor")
            if not cursor:
                return rows
            wanted["cursor"] = cursor

    async def card(self, approval_id: str) -> Mapping[str, Any]:
        """Return what an approver is shown about one approval."""
        return (await self.call("GET", f"/v1/approvals/{approval_id}")).checked()

    async def vote(self, approval_id: str, verdict: str, *, reason: str = "") -> Answer:
        """Look at the card, sign ``approve`` or ``reject`` over it, and send that."""
        return await self.vote_on(await self.card(approval_id), verdict, reason=reason)

    async def vote_on(
        self, card: Mapping[str, Any], verdict: str, *, reason: str = ""
    ) -> Answer:
        """Sign ``approve`` or ``reject`` over a card that was shown, and send the vote.

        The vote is signed with the person's own key; if the card is not what is asked
        any more, the broker refuses an approval.
        """
        path = f"/v1/approvals/{card['asked']['approval']}/votes"
        signed = self.signed_vote(card, verdict, reason=reason)
        return await self.call("POST", path, json={"vote": signed})

    def signed_vote(self, card: Mapping[str, Any], verdict: str, *, reason: str) -> str:
        """Return a vote over a card, signed with the person's own key."""
        claims = {
            "approval": str(card["asked"]["approval"]),
            "digest": card["asked"]["digest"],
            "iat": int(self.tokens.key.now().timestamp()),
            "jti": new_id(self.tokens.key.now()),
            "person": self.tokens.client_id.partition(":")[2],
            "reason": reason,
            "shown": card["shown"],
            "strength": "key",
            "verdict": verdict,
        }
        return sign(claims, key=self.tokens.key.key, typ=VOTE_TYP)

    async def reject_all(
        self, approvals: Sequence[str], *, reason: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Sign a no for each of these, with one reason, and send them together."""
        votes = []
        for approval_id in approvals:
            signed = self.signed_vote(
                await self.card(approval_id), "reject", reason=reason
            )
            votes.append({"approval": approval_id, "vote": signed})
        path = "/v1/approvals/rejections"
        found = (await self.call("POST", path, json={"votes": votes})).checked()
        results: Sequence[Mapping[str, Any]] = found["results"]
        return results

    async def claim(self, approval_id: str) -> Mapping[str, Any]:
        """Work on an approval."""
        path = f"/v1/approvals/{approval_id}/claim"
        return (await self.call("POST", path)).checked()

    async def release(self, approval_id: str) -> Mapping[str, Any]:
        """Give an approval back."""
        path = f"/v1/approvals/{approval_id}/claim"
        return (await self.call("DELETE", path)).checked()

    async def ask(self, approval_id: str, question: str) -> Mapping[str, Any]:
        """Ask the agent for information."""
        path = f"/v1/approvals/{approval_id}/questions"
        return (await self.call("POST", path, json={"question": question})).checked()

    async def away(
        self, method: str = "GET", body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Return whether this person is away; PUT and DELETE change it."""
        path, json = "/v1/approvals/away", dict(body) if body else None
        return (await self.call(method, path, json=json)).checked()

    async def approval_changes(self) -> AsyncIterator[str]:
        """Yield the name of each event of the stream, for as long as the token lasts.

        Raises:
            RefusedError: There is no token for this client, or no room for a stream.
            UnreachableError: Nobody answered, or the connection broke.
        """
        async for line in self.lines("/v1/approvals/events"):
            name, _, value = line.partition(": ")
            if name == "event":
                yield value
