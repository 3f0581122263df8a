"""One error tree: a question that could not be answered, for a stated reason.

A ``Deny`` is a value and lives in ``decision``; an exception here means that the
question itself was malformed, came too early, or could not be decided. Every class
has one stable code, one HTTP status and a section in docs/errors.md.

BrokerError
├── RequestError            the caller sent something that can never succeed
│   ├── MalformedError          400  not JSON, not the expected media type
│   ├── TooLargeError           413  a size or depth limit
│   ├── InvalidError            422  a field has the wrong type, range or format
│   ├── NotFoundError           404  no such thing for this caller
│   ├── ConflictError           409  the same key was used for something else
│   ├── ApprovalStaleError      409  the action changed after the approver saw it
│   ├── ApprovalClaimedError    409  somebody else works on it now
│   └── InteractionEndedError   409  the conversation is over
├── IdentityError           who asks is not established
│   ├── UnauthenticatedError    401
│   ├── ProofError              401  DPoP proof missing, wrong or replayed
│   │   └── NonceNeededError        401  the proof must carry the server's nonce
│   └── ForbiddenError          403  authenticated, and not entitled to ask this
├── RateLimitedError        429
│   └── ApprovalsCappedError    429  this person said yes too often within the hour
└── UnavailableError        503  a part is down; nothing was done
    ├── LedgerUnavailableError   the log cannot take the entry
    ├── StoreUnavailableError    PostgreSQL does not answer
    │   └── RowHiddenError           forged rows lie on top of a signed one
    └── ExecutorUnavailableError no sandbox or edge to run it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class BrokerError(Exception):
    """A request that the broker refused, or could not finish, for a stated reason."""

    code: ClassVar[str] = "broker-error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The broker could not finish this request"

    def __init__(
        self,
        detail: str,
        *,
        hint: str = "",
        pointer: str = "",
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep what happened (``detail``) apart from what to do next (``hint``).

        Args:
            detail: What happened, without secrets, tokens or personal data.
            hint: What the caller should do next.
            pointer: JSON pointer of the field at fault, if there is one.
            retry_after_s: Seconds after which the same request may succeed.
            headers: Further response headers, such as RateLimit.
        """
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.pointer = pointer
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})


class RequestError(BrokerError):
    """The caller sent something that cannot succeed as it is."""

    code = "request-error"
    status = 400
    title = "The request cannot be processed"


class MalformedError(RequestError):
    """The body is not the JSON that this endpoint takes."""

    code = "malformed"
    status = 400
    title = "The body is malformed"


class TooLargeError(RequestError):
    """A size, depth or count limit was passed."""

    code = "too-large"
    status = 413
    title = "The request is too large"


class InvalidError(RequestError):
    """A field has the wrong type, range or format."""

    code = "invalid"
    status = 422
    title = "A field is invalid"


class NotFoundError(RequestError):
    """There is no such thing, or not for this caller."""

    code = "not-found"
    status = 404
    title = "Not found"


class ConflictError(RequestError):
    """The same key was used before for something else."""

    code = "conflict"
    status = 409
    title = "The request conflicts with an earlier one"


class ApprovalStaleError(RequestError):
    """The action changed after the approver saw it."""

    code = "approval-stale"
    status = 409
    title = "The approval no longer matches the action"


class ApprovalClaimedError(RequestError):
    """Somebody else works on this approval, and their claim has not ended."""

    code = "approval-claimed"
    status = 409
    title = "Somebody else works on this approval"


class InteractionEndedError(RequestError):
    """The interaction has ended, and nothing opens it again."""

    code = "interaction-ended"
    status = 409
    title = "The interaction has ended"


class IdentityError(BrokerError):
    """Who asks is not established."""

    code = "identity-error"
    status = 401
    title = "The caller is not established"


class UnauthenticatedError(IdentityError):
    """There is no valid token."""

    code = "unauthenticated"
    status = 401
    title = "A valid token is needed"


class ProofError(IdentityError):
    """The proof of possession is missing, wrong, expired or was used before."""

    code = "proof-invalid"
    status = 401
    title = "The proof of possession is not valid"


class NonceNeededError(ProofError):
    """The proof must be made again, with the nonce that comes with this answer."""

    code = "proof-nonce-needed"
    status = 401
    title = "The proof must carry the server's nonce"

    def __init__(self, detail: str, *, nonce: str) -> None:
        """Keep the nonce, which the answer carries in its ``DPoP-Nonce`` header."""
        hint = "make the proof again with this nonce"
        super().__init__(detail, hint=hint, headers={"DPoP-Nonce": nonce})
        self.nonce = nonce


class ForbiddenError(IdentityError):
    """The caller is known and may not ask this."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class RateLimitedError(BrokerError):
    """Too many requests in too short a time."""

    code = "rate-limited"
    status = 429
    title = "Too many requests"


class ApprovalsCappedError(RateLimitedError):
    """This person said yes as often as policy lets anybody within an hour."""

    code = "approvals-capped"
    status = 429
    title = "Too many approvals within an hour"


class UnavailableError(BrokerError):
    """A part that is needed to decide is down; nothing was done."""

    code = "unavailable"
    status = 503
    title = "Not able to decide now"


class LedgerUnavailableError(UnavailableError):
    """The log cannot take the entry, so the answer is no."""

    code = "ledger-unavailable"
    title = "The log cannot take the entry"


class RestoredError(UnavailableError):
    """The database was restored, and nobody has compared it with the edges yet."""

    code = "restored"
    title = "The database was restored"


class StoreUnavailableError(UnavailableError):
    """The database does not answer."""

    code = "store-unavailable"
    title = "The database does not answer"


class RowHiddenError(StoreUnavailableError):
    """A row of authority lies behind more rows that do not verify than are read."""

    code = "row-hidden"
    title = "Authority is hidden behind rows that do not verify"


class ExecutorUnavailableError(UnavailableError):
    """No sandbox or edge is there to execute."""

    code = "executor-unavailable"
    title = "The executor does not answer"
