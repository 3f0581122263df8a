"""Seal one audit entry into the exact bytes that the log hashes, and open them again.

A leaf is a flattened JWS in its canonical form: payload, protected header, signature,
in this order and without a space. There is exactly one spelling, so that nobody can
change a byte of a stored leaf and still have a valid signature.

Source: RFC 7515 section 7.2.2; RFC 8037 section 3.1 (EdDSA); RFC 8785.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from broker.core.canonical import JsonInput, canonical
from broker.core.jws import JwsError, Problem, check, claims_of, sign, unpack
from broker.core.words.entry import EntryKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.jwk import PrivateKey, PublicKey

ENTRY_TYP: Final = "counterfoil-entry+jws"
"""Header ``typ`` of an entry; no other artefact is accepted in its place."""

LEAF_BYTES_MAX: Final = 65_536
"""Longest leaf. What is larger stays outside the log and is named by its digest."""

EntryProblem: TypeAlias = Literal[
    "too_large",
    "malformed",
    "not_canonical",
    "unknown_key",
    "bad_signature",
    "duplicate",
    "missing",
]

_LEAF = re.compile(
    rb'\{"payload":"([A-Za-z0-9_-]+)","protected":"([A-Za-z0-9_-]+)",'
    rb'"signature":"([A-Za-z0-9_-]+)"\}'
)
_ENTRY_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_IDENTITIES = frozenset({"agent", "change", "channel", "person", "service"})
_OF_ITS_AGENT = frozenset({EntryKind.TOKEN, EntryKind.REFUSED})
# Bare, as a client's id (agent:ID), or as that of a change (agent-ID).
_IDENTITY = re.compile(
    r"(?:[a-z]{1,16}[:-])?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
_PROBLEMS: Final[dict[Problem, EntryProblem]] = {
    Problem.TOO_LARGE: "too_large",
    Problem.UNKNOWN_KEY: "unknown_key",
    Problem.SIGNATURE: "bad_signature",
}


class EntryError(ValueError):
    """Bytes that are no entry of this log.

    Attributes:
        problem: Stable word for what is wrong.
    """

    def __init__(self, *, problem: EntryProblem, detail: str) -> None:
        """Keep the stable word apart from the sentence for people."""
        super().__init__(detail)
        self.problem: EntryProblem = problem


def seal_entry(entry: Mapping[str, Any], *, key: PrivateKey) -> bytes:
    """Sign an entry and return the leaf, whose bytes are what the log keeps.

    Args:
        entry: A JSON object with at least ``entry_id`` (a lower-case UUID), ``kind``
            and ``at``.
        key: The entry key.

    Raises:
        EntryError: The entry lacks a field, holds something that JSON cannot carry, or
            would make a leaf longer than LEAF_BYTES_MAX.
    """
    _require_fields(entry)
    try:
        token = sign(entry, key=key, typ=ENTRY_TYP)
        protected, payload, signature = token.split(".")
        # What could not be opened again must never be written.
        claims_of(unpack(token))
    except JwsError as error:
        raise _refused(error) from None
    leaf = canonical(
        {"payload": payload, "protected": protected, "signature": signature}
    )
    _require_size(leaf)
    return leaf


def open_entry(leaf: bytes, keys: Mapping[str, PublicKey]) -> dict[str, Any]:
    """Return the entry that one of the given keys signed.

    Args:
        leaf: The exact bytes from the log.
        keys: Entry keys by key id, retired ones included.

    Raises:
        EntryError: The bytes are no leaf, not canonical, or not signed by these keys.
    """
    _require_size(leaf)
    match = _LEAF.fullmatch(leaf)
    if match is None:
        raise EntryError(problem="malformed", detail="the leaf is no flattened JWS")
    payload, protected, signature = match.groups()
    try:
        parts = unpack(b".".join((protected, payload, signature)))
        if parts.typ != ENTRY_TYP:
            raise EntryError(problem="malformed", detail=f"not a {ENTRY_TYP}")
        key = keys.get(parts.kid)
        if key is None:
            raise EntryError(
                problem="unknown_key", detail="the entry's key is not known"
            )
        check(parts, key=key)
        entry = claims_of(parts)
    except JwsError as error:
        raise _refused(error) from None
    if canonical(cast("JsonInput", entry)) != parts.payload:
        raise EntryError(problem="not_canonical", detail="the entry is not canonical")
    _require_fields(entry)
    return entry


def action_id_of(entry: Mapping[str, Any]) -> str | None:
    """Return the id of the action that an entry is about, or None.

    It stands in the envelope's ``action`` object; see broker/core/words/entry.py.
    """
    action = entry.get("action")
    found = action.get("action_id") if isinstance(action, dict) else None
    return found if isinstance(found, str) else None


def about_of(entry: Mapping[str, Any]) -> str | None:
    """Return the id of what an entry is about: the action, or else the identity.

    What is in neither is about nobody in particular. An identity stands in the context
    (whoever got a token, or showed one that was refused) or in the detail: the row that
    changed, the subject of a revocation, or who a refused request said it was.
    """
    action_id = action_id_of(entry)
    if action_id is not None:
        return action_id
    detail, context = _object(entry, "detail"), _object(entry, "context")
    if entry["kind"] in _OF_ITS_AGENT and isinstance(context.get("agent"), str):
        return str(context["agent"])
    found = [detail.get("id")] if detail.get("kind") in _IDENTITIES else []
    found += [detail.get("subject"), detail.get("claimed")]
    for one in found:
        match = _IDENTITY.fullmatch(one) if isinstance(one, str) else None
        if match is not None:
            return match[1]
    return None


def _object(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def _require_fields(entry: Mapping[str, Any]) -> None:
    entry_id = entry.get("entry_id")
    if not isinstance(entry_id, str) or _ENTRY_ID.fullmatch(entry_id) is None:
        raise EntryError(problem="malformed", detail="an entry has an entry_id")
    for name in ("kind", "at"):
        if not isinstance(entry.get(name), str):
            raise EntryError(problem="malformed", detail=f"an entry has a text {name}")


def _require_size(leaf: bytes) -> None:
    if len(leaf) > LEAF_BYTES_MAX:
        detail = f"a leaf has at most {LEAF_BYTES_MAX} bytes, got {len(leaf)}"
        raise EntryError(problem="too_large", detail=detail)


def _refused(error: JwsError) -> EntryError:
    problem = _PROBLEMS.get(error.problem, "malformed")
    return EntryError(problem=problem, detail=f"the entry's signature: {error}")
