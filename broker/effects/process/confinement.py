"""Keep a record of how connectors are confined, and of what may not run without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.warrants.sandbox import sandbox_detail
from broker.core.words.effect import Tier
from broker.core.words.entry import AuditEntry, EntryKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.core.warrants.sandbox import Sandbox
    from broker.ports import Clock, Ids, Journal, Shelf


class Confinement:
    """What the executor asks and tells about sandboxes."""

    def __init__(  # noqa: PLR0913  (parts, by name)
        self,
        shelf: Shelf,
        journal: Journal,
        clock: Clock,
        ids: Ids,
        *,
        whose: tuple[str, str, str],
        alarm: Callable[[str, Mapping[str, object]], None],
    ) -> None:
        """Keep whose log it is, and who cries when nothing confines.

        Args:
            shelf: Knows the tools.
            journal: Takes the entry.
            clock: Says when.
            ids: Names the entry.
            whose: Tenant, environment and replica.
            alarm: Told when connector code runs unconfined.
        """
        self._shelf = shelf
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._whose = whose
        self._alarm = alarm

    def consequential(self, name: str) -> bool:
        """Say whether a tool never runs unconfined; an unknown one never does."""
        tool = self._shelf.tool(name)
        return tool is None or tool.tier is Tier.CONSEQUENTIAL

    async def record(self, found: Sandbox) -> None:
        """Record how connectors are confined, as the runner says.

        Raises:
            LedgerUnavailableError: the log cannot take it; nothing may run.
        """
        tenant, environment, replica = self._whose
        await self._journal.record(
            AuditEntry(
                entry_id=self._ids.new(),
                kind=EntryKind.SANDBOX,
                at=self._clock.now(),
                tenant=tenant,
                environment=environment,
                detail=sandbox_detail(found),
                replica=replica,
            )
        )
        if found.switched_off:
            self._alarm("sandbox_switched_off", {"posture": found.posture})
