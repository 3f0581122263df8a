"""Name every limit of the reference CRM, in one place."""

from typing import Final

BODY_BYTES_MAX: Final = 128 * 1024
"""Of a request; large enough for the longest reply with every character escaped."""

BODY_DISCARDED_BYTES_MAX: Final = 1024**2
"""Read of a body that is too large, so that its sender hears why; then it is cut."""

BODY_WAIT_S_MAX: Final = 5.0
"""From the request's headers to the last byte of its body."""

CONNECTIONS_MAX: Final = 256
"""Open at once; the next one is answered 503."""

HEADER_BYTES_MAX: Final = 16 * 1024
"""Of the path, the query, and all header names and values together."""

JSON_DEPTH_MAX: Final = 8
"""Nested objects and arrays; the outermost object counts as one."""

ID_CHARS_MAX: Final = 64
NAME_CHARS_MAX: Final = 100
EMAIL_CHARS_MAX: Final = 254
ZIP_CHARS_MAX: Final = 16
REASON_CHARS_MAX: Final = 200
REFERENCE_CHARS_MAX: Final = 200
AUTHOR_CHARS_MAX: Final = 100
CHANNEL_CHARS_MAX: Final = 32
NOTE_CHARS_MAX: Final = 4_000
REPLY_CHARS_MAX: Final = 10_000
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255

AMOUNT_MINOR_UNITS_MAX: Final = 2**53 - 1
"""Cents: the largest integer that every JSON reader keeps exact (RFC 8259, 6)."""

NOTES_PER_ORDER_MAX: Final = 1_000
ENTRIES_PER_OBJECT_MAX: Final = 10_000
"""Refunds of one order, and replies to one customer."""

JOURNAL_PAGE_ENTRIES_MAX: Final = 10_000
"""Entries in one answer; ask again with ``since`` of the last one for more."""

IDEMPOTENCY_TTL_S_MAX: Final = 30 * 24 * 3600

CREDENTIAL_CHARS_MIN: Final = 16
CREDENTIAL_CHARS_MAX: Final = 1_024

FAULTS_MAX: Final = 64
FAULT_TIMES_MAX: Final = 1_000_000
FAULT_DELAY_S_MAX: Final = 600.0
FAULT_BODY_BYTES_MAX: Final = 1024**3
FAULT_TEXT_CHARS_MAX: Final = 500
"""Of a fault's path pattern and of its redirect's location."""

ADDRESS_CHARS_MAX: Final = 100
"""Of each part of an address."""

ITEMS_MAX: Final = 16
"""Items that one call returns, exchanges or modifies."""

SUMMARY_CHARS_MAX: Final = 2_000
"""Of what a person who takes over should know."""

EXPRESSION_CHARS_MAX: Final = 200
