"""Keep what was sent: an append-only journal that is durable before the edge dials.

One line per record: a checksum and canonical JSON. A warrant's newest record says where
its effectful request stands:

    (none)     nothing was sent by this edge
    sent       about to be sent, or sent: without `answered` nobody knows what happened
    answered   the upstream answered; status and receipt values are in the record
    void       nothing was sent, and nothing ever will be

A segment ends after SEGMENT_S_MAX or SEGMENT_BYTES_MAX. It is dropped, when another one
begins, RETENTION_S after its newest record or once there are SEGMENTS_MAX (1 GiB). The
horizon moves with it: for a warrant older than that the edge says that it cannot say,
never that nothing was sent.

Source: DESIGN, chapters 3 (invariants 3 and 6) and 4.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from broker.core.canonical import CanonicalError, canonical, parse_json
from broker.edge.identity import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SEGMENT_BYTES_MAX: Final = 16 * 1024 * 1024
SEGMENT_S_MAX: Final = 24 * 3600
SEGMENTS_MAX: Final = 64
RETENTION_S: Final = 35 * 24 * 3600
"""Longer than any month that somebody reconciles."""

RECORD_BYTES_MAX: Final = 65_536
SKEW_MS: Final = 2_000
"""How far a warrant's own time may be ahead: as far as the edge accepts it."""

_CHECKSUM_CHARS = 8
_OWNER_ONLY = 0o600
_WIDTH = 8

Word = Literal["sent", "answered", "void"]
_WORDS = frozenset({"sent", "answered", "void"})


class JournalError(RuntimeError):
    """The journal cannot be written or read; nothing effectful may be sent."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a warrant's newest record stands."""

    segment: int
    offset: int
    length: int


@dataclass(slots=True)
class Segment:
    """A file of the journal, with the times of its first and newest records."""

    number: int
    size: int
    begun_ms: int
    newest_ms: int


@dataclass(slots=True)
class _Waiting:
    line: bytes
    warrant: bytes
    at_ms: int
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Journal:
    """The journal of one edge; used from one event loop, written by one thread.

    Records that arrive while the disk is busy share the next write and sync.
    """

    def __init__(
        self,
        folder: Path,
        *,
        edge: str,
        now_ms: Callable[[], int],
        new: bool = False,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        """Open the journal and read it through.

        Args:
            folder: Where the segments are; the caller holds its lock.
            edge: Whose journal it is.
            now_ms: The time in milliseconds since 1970.
            new: The edge was made just now, so that no journal of it can be lost.
            sync: Makes what was written to a descriptor durable, or raises OSError.

        Raises:
            JournalError: A record in the middle is damaged, or the journal is that of
                another edge.
        """
        self._folder = folder
        self._edge = edge
        self._now_ms = now_ms
        self._sync = sync
        self._index: dict[bytes, Place] = {}
        self._segments: list[Segment] = []
        self._waiting: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._broken = ""
        self._fd = -1
        self.horizon_ms = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._recover(new=new)

    async def close(self) -> None:
        """Finish what is waiting, and close the file."""
        if self._flusher is not None:
            await self._flusher
        self._thread.shutdown(wait=True)
        os.close(self._fd)

    @property
    def broken(self) -> str:
        """Return why nothing can be written any more, or nothing."""
        return self._broken

    async def append(self, word: Word, *, warrant: str, **said: Any) -> None:  # noqa: ANN401
        """Write a record; once this returns it is on the disk.

        Raises:
            JournalError: It is not, or nobody knows. After a failed sync the kernel may
                have dropped the pages, so the journal takes nothing more until the
                process was started anew and has read what is really there.
        """
        if self._broken:
            raise JournalError(self._broken)
        at_ms = self._now_ms()
        line = _line({"at": at_ms, "k": word, "w": warrant, **said})
        waiting = _Waiting(line, UUID(warrant).bytes, at_ms)
        waiting.done.add_done_callback(_heard)
        self._waiting.append(waiting)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        # The record is written whether or not somebody still waits for it.
        await asyncio.shield(waiting.done)

    def last(self, warrant: str) -> dict[str, Any] | None:
        """Return a warrant's newest record that is on the disk.

        Raises:
            JournalError: It cannot be read back.
        """
        place = self._index.get(UUID(warrant).bytes)
        if place is None:
            return None
        try:
            with self._path(place.segment).open("rb") as file:
                file.seek(place.offset)
                line = file.read(place.length)
        except OSError as error:
            msg = f"segment {place.segment}: {error.strerror}"
            raise JournalError(msg) from None
        record = _record(line)
        if record is None:
            msg = f"segment {place.segment} changed after it was written"
            raise JournalError(msg)
        return record

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._thread, self._write, batch)
            except (OSError, JournalError) as error:
                self._broken = f"the journal cannot be written: {error}"
                for waiting in [*batch, *self._waiting]:
                    if not waiting.done.done():
                        waiting.done.set_exception(JournalError(self._broken))
                self._waiting = []
                return
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_result(None)

    def _write(self, batch: list[_Waiting]) -> None:
        """Write a batch and sync it; runs in the journal's thread."""
        if self._is_full(self._segments[-1]):
            self._rotate()
        segment = self._segments[-1]
        places = []
        offset = segment.size
        for waiting in batch:
            places.append(Place(segment.number, offset, len(waiting.line)))
            offset += len(waiting.line)
        _write_all(self._fd, b"".join(waiting.line for waiting in batch))
        # If we die before this returns, nothing was dialled for any of the batch.
        self._sync(self._fd)
        segment.size = offset
        segment.newest_ms = max(segment.newest_ms, *(w.at_ms for w in batch))
        for waiting, place in zip(batch, places, strict=True):
            self._index[waiting.warrant] = place

    def _is_full(self, segment: Segment) -> bool:
        age_ms = self._now_ms() - segment.begun_ms
        return segment.size >= SEGMENT_BYTES_MAX or age_ms > SEGMENT_S_MAX * 1000

    def _rotate(self) -> None:
        """Begin a segment, and drop those that are too old or too many."""
        now_ms = self._now_ms()
        old = [
            segment
            for at, segment in enumerate(self._segments)
            if now_ms - segment.newest_ms > RETENTION_S * 1000
            or len(self._segments) - at >= SEGMENTS_MAX
        ]
        horizon_ms = max(
            self.horizon_ms, *(segment.newest_ms + SKEW_MS for segment in old), 0
        )
        os.close(self._fd)
        self._begin(self._segments[-1].number + 1, horizon_ms=horizon_ms)
        # If we die here, old segments stay and are dropped by the next rotation.
        dropped = {segment.number for segment in old}
        for number in dropped:
            self._path(number).unlink(missing_ok=True)
        self._segments = [s for s in self._segments if s.number not in dropped]
        self._index = {
            warrant: place
            for warrant, place in self._index.items()
            if place.segment not in dropped
        }

    def _begin(self, number: int, *, horizon_ms: int) -> None:
        now_ms = self._now_ms()
        head = _line(
            {
                "at": now_ms,
                "edge": self._edge,
                "horizon": horizon_ms,
                "k": "begin",
                "n": number,
            }
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path(number), flags, _OWNER_ONLY)
        _write_all(self._fd, head)
        os.fsync(self._fd)
        sync_folder(self._folder)
        self._segments.append(Segment(number, len(head), now_ms, now_ms))
        self.horizon_ms = horizon_ms

    def _recover(self, *, new: bool) -> None:
        numbers = sorted(int(path.stem) for path in self._folder.glob("[0-9]*.log"))
        torn = False
        for number in numbers:
            torn = self._read(number, newest=number == numbers[-1])
        if not numbers or torn:
            # A record that was cut off could have been anybody's, and a journal that is
            # not there could have held anything: of older warrants we know nothing.
            last = numbers[-1] if numbers else 0
            known_ms = self._now_ms() + (0 if new else SKEW_MS)
            self._begin(last + 1, horizon_ms=max(self.horizon_ms, known_ms))
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path(numbers[-1]), flags)

    def _read(self, number: int, *, newest: bool) -> bool:
        """Read a segment into the index; return whether its end was cut off."""
        path = self._path(number)
        segment = Segment(number, 0, 0, 0)
        lines = path.read_bytes().splitlines(keepends=True)
        for at, line in enumerate(lines):
            record = _record(line)
            if record is None:
                if newest and at == len(lines) - 1:
                    self._segments.append(segment)
                    self._cut(path, segment.size)
                    return True
                msg = f"{path}: the record at {segment.size} is damaged"
                raise JournalError(msg)
            if at == 0:
                self._check_head(path, record, number=number)
                segment.begun_ms = record["at"]
            elif record["k"] in _WORDS:
                place = Place(number, segment.size, len(line))
                self._index[UUID(record["w"]).bytes] = place
            segment.size += len(line)
            segment.newest_ms = max(segment.newest_ms, record["at"])
        self._segments.append(segment)
        return not lines

    def _cut(self, path: Path, size: int) -> None:
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def _check_head(self, path: Path, record: dict[str, Any], *, number: int) -> None:
        if record["k"] != "begin" or record["n"] != number:
            msg = f"{path} does not begin as a segment"
            raise JournalError(msg)
        if record["edge"] != self._edge:
            msg = f"{path} is the journal of another edge"
            raise JournalError(msg)
        self.horizon_ms = max(self.horizon_ms, record["horizon"])

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:0{_WIDTH}d}.log"


def read_records(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every sound record, oldest first; for people and tests."""
    for path in sorted(folder.glob("[0-9]*.log")):
        for line in path.read_bytes().splitlines(keepends=True):
            record = _record(line)
            if record is not None:
                yield record


def _heard(done: asyncio.Future[None]) -> None:
    """Take note of an error that nobody waits for any more; `broken` tells of it."""
    if not done.cancelled():
        done.exception()


def _line(record: dict[str, Any]) -> bytes:
    try:
        body = canonical(record)
    except CanonicalError as error:
        msg = f"a record is no JSON: {error}"
        raise JournalError(msg) from None
    line = b"%08x %s\n" % (zlib.crc32(body), body)
    if len(line) > RECORD_BYTES_MAX:
        msg = f"a record is longer than {RECORD_BYTES_MAX} bytes"
        raise JournalError(msg)
    return line


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line, or None if it is damaged or cut off."""
    body = line[_CHECKSUM_CHARS + 1 : -1]
    if line != b"%08x %s\n" % (zlib.crc32(body), body):
        return None
    try:
        record = parse_json(body, bytes_max=RECORD_BYTES_MAX, depth_max=8)
    except CanonicalError:
        return None
    return record if isinstance(record, dict) else None


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
