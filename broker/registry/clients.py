"""Clients: agents, people and services, as the token endpoint looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.identity.assertions import ClientId
from broker.core.identity.chain import agents_of, broken, person_of
from broker.core.words.subject import SubjectKind
from broker.registry.agents import parse_agent
from broker.registry.channels import parse_service
from broker.registry.people import parse_person
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.identity.chain import Link
    from broker.core.identity.workload import Federation
    from broker.core.words.identity import AccessToken, RegisteredKey
    from broker.registry.authority import AuthorityRow


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client with its keys; one that is not active has none.

    ``tools`` and ``tier_max`` are what an agent may be granted at all; nobody else has
    any. ``link`` is what a chain looks at, None for whoever is no active agent;
    ``federations`` are the issuers whose word counts for it.
    """

    client: ClientId
    revision: int
    keys: tuple[RegisteredKey, ...]
    tools: frozenset[str] = frozenset()
    tier_max: int = 0
    link: Link | None = None
    federations: tuple[Federation, ...] = ()

    @property
    def kids(self) -> frozenset[str]:
        """Return the names of its keys, and what stands for each of its issuers."""
        return frozenset(
            (
                *(slot.key.kid for slot in self.keys),
                *(one.kid for one in self.federations),
            )
        )


def parse_client(row: AuthorityRow) -> ClientRow:
    """Read a client out of a verified row of an agent, person or service.

    Raises:
        RowError: It is of another kind, or a field is wrong.
    """
    keys: tuple[RegisteredKey, ...]
    client = ClientId(SubjectKind.AGENT, row.row_id)
    match row.kind:
        case "agent":
            agent = parse_agent(row)
            if not agent.active:
                return ClientRow(client, row.revision, ())
            return ClientRow(
                client,
                row.revision,
                agent.keys,
                tools=agent.tools,
                tier_max=agent.tier_max,
                link=agent.link(),
                federations=agent.federations,
            )
        case "person":
            person = parse_person(row)
            keys = person.keys if person.active else ()
        case "service":
            service = parse_service(row)
            keys = service.keys if service.active else ()
        case _:
            msg = "only agents, people and services are clients"
            raise RowError(msg)
    client = ClientId(SubjectKind(row.kind), row.row_id)
    return ClientRow(client, row.revision, keys)


async def chain_stands(
    token: AccessToken,
    holder: ClientRow,
    *,
    client: Callable[[ClientId], Awaitable[ClientRow | None]],
) -> bool:
    """Return whether everybody on whose authority a token's holder acts still stands.

    Args:
        token: The token.
        holder: The row of whoever holds it.
        client: What looks a row up.
    """
    above = [
        ClientId(SubjectKind.AGENT, agent_id)
        for agent_id in agents_of(token.principal, token.actors)[1:]
    ]
    lender = person_of(token.principal)
    named = [*above, ClientId(SubjectKind.PERSON, lender)] if lender else above
    rows = [await client(one) for one in named]
    # A key that was dropped ends the tokens that it got, and what came of them.
    if len(rows) != len(token.lent_with) or any(
        row is None or kid not in row.kids
        for row, kid in zip(rows, token.lent_with, strict=True)
    ):
        return False
    links = [row.link if row else None for row in rows[: len(above)]]
    return not broken([holder.link, *links])
