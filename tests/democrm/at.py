"""A time for tests that need no other."""

from datetime import UTC, datetime

from infra.democrm.words import Occasion

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
OCCASION = Occasion(now=NOW, idempotency_key=None)
