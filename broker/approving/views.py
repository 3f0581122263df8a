"""Who was shown which card, with which digest, and when: one entry for each view.

A vote says what a person signed; a view says what they had on the screen before, and
for how long. It names the person by id and the card by its digest, and nothing of what
stands on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker import evidence
from broker.core.words.entry import EntryKind

if TYPE_CHECKING:
    from broker.approving.ballots import Asked
    from broker.ports import Ports


@dataclass(frozen=True, slots=True)
class Onlooker:
    """Who looks, and through what.

    ``through`` is console or api; ``strength`` how they were signed in; ``session`` the
    console's session, empty elsewhere.
    """

    person_id: str
    through: str
    strength: str
    session: str = ""


async def note(ports: Ports, asked: Asked, shown: str, who: Onlooker) -> None:
    """Record that this person is shown this card; the same within a minute is one.

    Raises:
        StoreUnavailableError: it cannot be recorded, and so nothing may be shown.
    """
    detail = {
        "approval": asked.request.approval_id,
        "person": who.person_id,
        "digest": asked.request.digest,
        "shown": shown,
        "state": asked.desk.state.value,
        "through": who.through,
        "strength": who.strength,
        "session": who.session or None,
    }
    entry = await evidence.entry_of(ports, asked.case, EntryKind.VIEW, detail, ())
    await ports.desk.viewed(
        asked.request.approval_id, person_id=who.person_id, shown=shown, entry=entry
    )
