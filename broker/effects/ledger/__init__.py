"""Keep the audit log in PostgreSQL, and have its head signed.

jobs           what callers hand in: entries, staged entries, rows of their own
group_commit   many callers, one transaction
integration    that transaction: lock the head, hash, append
history        read entries and proofs back
checkpoints    ask for signatures, and know how far they lag behind
signer_client  speak to the signer process
postgres       the ledger that the others of this room use
"""

from broker.effects.ledger.checkpoints import CheckpointKeeper, NewOrigin
from broker.effects.ledger.history import Entry, History
from broker.effects.ledger.jobs import SqlCall
from broker.effects.ledger.postgres import PostgresLedger
from broker.effects.ledger.signer_client import SignerClient

__all__ = [
    "CheckpointKeeper",
    "Entry",
    "History",
    "NewOrigin",
    "PostgresLedger",
    "SignerClient",
    "SqlCall",
]
