"""Write the whole log as JSON lines, and verify such a file with nothing else at hand.

The first line is the header: the log's keys, the entry keys, and checkpoints in rising
order, of which the last covers the file. Then one line per entry, then a trailer.

A file cannot vouch for the keys that it brings along. Whoever verifies it compares them
with keys known from elsewhere: the pins of `verify_export`.

Source: docs/adr/0007.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from broker.core.canonical import CanonicalError, canonical, parse_json
from broker.core.jwk import JwsError, public_from_jwk, public_to_jwk
from broker.core.transparency.checkpoint import CheckpointError, open_checkpoint
from broker.core.transparency.encoding import (
    EncodingError,
    from_base64,
    to_base64,
)
from broker.core.transparency.entry_leaf import (
    LEAF_BYTES_MAX,
    EntryError,
    action_id_of,
    open_entry,
)
from broker.core.transparency.merkle import Frontier, append, leaf_hash
from broker.core.transparency.signed_note import NoteError, NoteVerifier, parse_vkey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from broker.core.canonical import JsonInput, JsonValue
    from broker.core.jwk import PublicKey
    from broker.core.transparency.checkpoint import Checkpoint

EXPORT_FORMAT: Final = "counterfoil-audit-export-1"
"""Names this format in the header."""

HEADER_BYTES_MAX: Final = 262_144
"""Longest header line."""

ENTRY_LINE_BYTES_MAX: Final = 4 * (LEAF_BYTES_MAX // 3 + 1) + 200
"""Longest line of an entry."""

CHECKPOINTS_MAX: Final = 64
"""Most checkpoints in a header."""

KEYS_MAX: Final = 256
"""Most keys of one kind in a header."""

ExportProblem: TypeAlias = Literal[
    "header", "key", "checkpoint", "line", "seq", "entry_id", "entry", "root", "trailer"
]


class ExportError(ValueError):
    """A file is not the log that its checkpoint was signed for.

    Attributes:
        problem: Stable word for what is wrong.
        seq: Position of the entry concerned, or None.
        entry_id: Its id as far as the file says it, or None.
    """

    def __init__(
        self,
        *,
        problem: ExportProblem,
        detail: str,
        seq: int | None = None,
        entry_id: str | None = None,
    ) -> None:
        """Name the entry in the message, where there is one."""
        where = "" if seq is None else f"entry {seq}"
        if entry_id is not None:
            where = f"{where} ({entry_id})".strip()
        super().__init__(f"{where}: {detail}" if where else detail)
        self.problem: ExportProblem = problem
        self.detail = detail
        self.seq = seq
        self.entry_id = entry_id


@dataclass(frozen=True, slots=True)
class Pins:
    """Keys that the verifier knows from elsewhere; an empty set pins nothing.

    Attributes:
        log_vkeys: Verifier keys of the log, old origins included.
        entry_kids: Key ids of entry keys; an id is the key's own hash.
    """

    log_vkeys: frozenset[str] = frozenset()
    entry_kids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verified:
    """What a file was shown to be.

    Attributes:
        checkpoint: The signed head that covers all its entries.
        log_vkeys: Keys that signed its checkpoints.
        entry_kids: Keys named in the header for entries.
        actions: Number of different action ids.
    """

    checkpoint: Checkpoint
    log_vkeys: tuple[str, ...]
    entry_kids: tuple[str, ...]
    actions: int


def header_line(
    *,
    log_keys: Sequence[NoteVerifier],
    entry_keys: Iterable[PublicKey],
    checkpoints: Sequence[str],
) -> bytes:
    """Write the first line.

    Args:
        log_keys: The log's keys, of every origin that signed one of the checkpoints.
        entry_keys: Every key that signed an entry.
        checkpoints: Signed notes by rising size; the last one covers all entries.
    """
    return _line(
        {
            "format": EXPORT_FORMAT,
            "log_keys": [each.vkey for each in log_keys],
            "entry_keys": [public_to_jwk(key) for key in entry_keys],
            "checkpoints": list(checkpoints),
        }
    )


def entry_line(*, seq: int, entry_id: str, leaf: bytes) -> bytes:
    """Write the line of one entry; its leaf is carried byte by byte."""
    return _line({"seq": seq, "entry_id": entry_id, "leaf": to_base64(leaf)})


def trailer_line(checkpoint: Checkpoint) -> bytes:
    """Write the last line, so that a file cut short shows."""
    return _line({"entries": checkpoint.size, "root": to_base64(checkpoint.root)})


def verify_export(lines: Iterable[bytes], *, pins: Pins | None = None) -> Verified:
    """Verify a file: every signature, every hash, every number.

    Args:
        lines: The file's lines, each with its newline.
        pins: Keys known from elsewhere. What is pinned must match the file.

    Raises:
        ExportError: Something does not hold; it names the first entry concerned.
    """
    rest = iter(lines)
    first = next(rest, b"")
    header = _Header.read(first, pins or Pins())
    reading = _Reading(header)
    for line in rest:
        reading.take(line)
    return reading.finish()


@dataclass(frozen=True, slots=True)
class _Header:
    log_keys: dict[str, NoteVerifier]
    entry_keys: dict[str, PublicKey]
    checkpoints: tuple[Checkpoint, ...]

    @classmethod
    def read(cls, line: bytes, pins: Pins) -> _Header:
        value = _object(line, bytes_max=HEADER_BYTES_MAX, problem="header")
        if set(value) != {"format", "log_keys", "entry_keys", "checkpoints"}:
            raise ExportError(problem="header", detail="the header's fields are wrong")
        if value["format"] != EXPORT_FORMAT:
            raise ExportError(problem="header", detail=f"not {EXPORT_FORMAT}")
        log_keys = _log_keys(_texts(value["log_keys"], many=KEYS_MAX), pins.log_vkeys)
        entry_keys = _entry_keys(value["entry_keys"], pins.entry_kids)
        notes = _texts(value["checkpoints"], many=CHECKPOINTS_MAX)
        heads = tuple(_open(note, log_keys) for note in notes)
        sizes = [each.size for each in heads]
        if not heads or sizes != sorted(set(sizes)):
            detail = "there is no checkpoint, or they do not rise"
            raise ExportError(problem="checkpoint", detail=detail)
        return cls(log_keys, entry_keys, heads)


@dataclass(slots=True)
class _Reading:
    header: _Header
    frontier: Frontier = field(default_factory=Frontier)
    entry_ids: set[bytes] = field(default_factory=set)
    action_ids: set[str] = field(default_factory=set)
    passed: int = 0
    ended: bool = False

    def take(self, line: bytes) -> None:
        if self.ended:
            raise ExportError(problem="trailer", detail="something follows the trailer")
        seq = self.frontier.size
        value = _object(line, bytes_max=ENTRY_LINE_BYTES_MAX, problem="line", seq=seq)
        if set(value) == {"entries", "root"}:
            self._end(value)
            return
        entry_id, leaf = _entry_fields(value, seq)
        self._open_entry(leaf, seq=seq, entry_id=entry_id)
        self.frontier = append(self.frontier, [leaf_hash(leaf)]).frontier
        self._compare_checkpoints()

    def finish(self) -> Verified:
        if not self.ended:
            detail = (
                f"the file ends after {self.frontier.size} entries, without trailer"
            )
            raise ExportError(problem="trailer", detail=detail)
        return Verified(
            self.header.checkpoints[-1],
            tuple(each.vkey for each in self.header.log_keys.values()),
            tuple(self.header.entry_keys),
            len(self.action_ids),
        )

    def _open_entry(self, leaf: bytes, *, seq: int, entry_id: str) -> None:
        try:
            entry = open_entry(leaf, self.header.entry_keys)
        except EntryError as error:
            raise ExportError(
                problem="entry", detail=str(error), seq=seq, entry_id=entry_id
            ) from None
        if entry["entry_id"] != entry_id:
            detail = f"the signed entry is {entry['entry_id']}, another one"
            raise ExportError(
                problem="entry_id", detail=detail, seq=seq, entry_id=entry_id
            )
        packed = bytes.fromhex(entry_id.replace("-", ""))
        if packed in self.entry_ids:
            detail = "an earlier entry has the same id"
            raise ExportError(
                problem="entry_id", detail=detail, seq=seq, entry_id=entry_id
            )
        self.entry_ids.add(packed)
        action_id = action_id_of(entry)
        if action_id is not None:
            self.action_ids.add(action_id)

    def _compare_checkpoints(self) -> None:
        """Compare the root wherever the log signed one, to say where it went wrong."""
        head = self._next_head()
        if head is None:
            detail = "there are more entries than the newest checkpoint covers"
            raise ExportError(problem="root", detail=detail, seq=self.frontier.size - 1)
        if head.size == self.frontier.size:
            self._compare(head)

    def _next_head(self) -> Checkpoint | None:
        heads = self.header.checkpoints
        while self.passed < len(heads) and heads[self.passed].size < self.frontier.size:
            self.passed += 1
        return heads[self.passed] if self.passed < len(heads) else None

    def _compare(self, head: Checkpoint) -> None:
        if self.frontier.root == head.root:
            return
        since = self.header.checkpoints[self.passed - 1].size if self.passed else 0
        detail = (
            f"the root differs from the signed one: of the entries {since} to "
            f"{head.size - 1} one was replaced, removed, added or moved"
        )
        raise ExportError(problem="root", detail=detail, seq=since)

    def _end(self, value: Mapping[str, JsonValue]) -> None:
        head = self.header.checkpoints[-1]
        if self.frontier.size != head.size:
            detail = f"{self.frontier.size} entries, and {head.size} were signed for"
            raise ExportError(problem="root", detail=detail, seq=self.frontier.size)
        # An empty log has no entry at which its root would have been compared.
        self._compare(head)
        if value != {"entries": head.size, "root": to_base64(head.root)}:
            detail = "the trailer does not state the entries and the root"
            raise ExportError(problem="trailer", detail=detail)
        self.ended = True


def _entry_fields(value: Mapping[str, JsonValue], seq: int) -> tuple[str, bytes]:
    """Return entry id and leaf of a line that must hold entry ``seq``."""
    entry_id, leaf = value.get("entry_id"), value.get("leaf")
    if set(value) != {"seq", "entry_id", "leaf"} or not isinstance(entry_id, str):
        raise ExportError(problem="line", detail="the line's fields are wrong", seq=seq)
    found = value["seq"]
    if found != seq or isinstance(found, bool):
        detail = f"the line says {found}: an entry is missing, added or moved"
        raise ExportError(problem="seq", detail=detail, seq=seq, entry_id=entry_id)
    try:
        return entry_id, from_base64(leaf if isinstance(leaf, str) else "\n")
    except EncodingError as error:
        detail = f"the leaf is {error}"
        raise ExportError(
            problem="line", detail=detail, seq=seq, entry_id=entry_id
        ) from None


def _log_keys(vkeys: Sequence[str], pinned: Collection[str]) -> dict[str, NoteVerifier]:
    try:
        keys = [parse_vkey(each) for each in vkeys]
    except NoteError as error:
        raise ExportError(problem="key", detail=f"a log key: {error}") from None
    if len({each.name for each in keys}) != len(keys):
        raise ExportError(problem="key", detail="two log keys have one name")
    if pinned and not {each.vkey for each in keys} <= set(pinned):
        detail = "the file brings a log key that is not the expected one"
        raise ExportError(problem="key", detail=detail)
    return {each.name: each for each in keys}


def _entry_keys(value: JsonValue, pinned: Collection[str]) -> dict[str, PublicKey]:
    keys: dict[str, PublicKey] = {}
    listed = value if isinstance(value, list) and len(value) <= KEYS_MAX else [None]
    for each in listed:
        try:
            key = public_from_jwk(each if isinstance(each, dict) else {})
        except JwsError as error:
            raise ExportError(problem="key", detail=f"an entry key: {error}") from None
        keys[key.kid] = key
    if pinned and not set(keys) <= set(pinned):
        detail = "the file brings an entry key that is not an expected one"
        raise ExportError(problem="key", detail=detail)
    return keys


def _open(note: str, log_keys: Mapping[str, NoteVerifier]) -> Checkpoint:
    log = log_keys.get(note.partition("\n")[0])
    if log is None:
        detail = "a checkpoint is of a log whose key the file does not bring"
        raise ExportError(problem="checkpoint", detail=detail)
    try:
        return open_checkpoint(note, log)
    except CheckpointError as error:
        raise ExportError(problem="checkpoint", detail=str(error)) from None


def _texts(value: JsonValue, *, many: int) -> list[str]:
    if (
        not isinstance(value, list)
        or len(value) > many
        or not all(isinstance(each, str) for each in value)
    ):
        detail = f"the header wants lists of at most {many} texts"
        raise ExportError(problem="header", detail=detail)
    return cast("list[str]", value)


def _object(
    line: bytes, *, bytes_max: int, problem: ExportProblem, seq: int | None = None
) -> dict[str, JsonValue]:
    try:
        value = parse_json(line, bytes_max=bytes_max, depth_max=3)
    except CanonicalError as error:
        raise ExportError(problem=problem, detail=str(error), seq=seq) from None
    if not isinstance(value, dict):
        raise ExportError(problem=problem, detail="the line is no object", seq=seq)
    return value


def _line(value: Mapping[str, JsonInput]) -> bytes:
    return canonical(value) + b"\n"
