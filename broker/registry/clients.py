"""Clients: agents, people and services, as the token endpoint looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.identity.assertions import ClientId
from broker.core.words.subject import SubjectKind
from broker.registry.agents import parse_agent
from broker.registry.channels import parse_service
from broker.registry.people import parse_person
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from broker.core.words.identity import RegisteredKey
    from broker.registry.authority import AuthorityRow


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client with its keys; one that is not active has none.

    ``tools`` are what an agent may be granted at all; nobody else has any.
    """

    client: ClientId
    revision: int
    keys: tuple[RegisteredKey, ...]
    tools: frozenset[str] = frozenset()

    @property
    def kids(self) -> frozenset[str]:
        """Return the names of its keys."""
        return frozenset(slot.key.kid for slot in self.keys)


def parse_client(row: AuthorityRow) -> ClientRow:
    """Read a client out of a verified row of an agent, person or service.

    Raises:
        RowError: It is of another kind, or a field is wrong.
    """
    keys: tuple[RegisteredKey, ...]
    tools: frozenset[str] = frozenset()
    match row.kind:
        case "agent":
            agent = parse_agent(row)
            keys, tools = (agent.keys, agent.tools) if agent.active else ((), tools)
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
    return ClientRow(client, row.revision, keys, tools)
