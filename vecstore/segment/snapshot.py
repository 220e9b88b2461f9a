"""What one search sees: sources, and which of their rows are live.

A snapshot is a frozen value. Writes publish a new one; whoever holds an old one keeps reading it,
as segments are never changed and blocks of the write buffer are never modified.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from vecstore.segment.base import Source
from vecstore.segment.bits import Allowed, pack_mask, unpack_mask
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.manifest import Manifest
from vecstore.segment.tombstones import dead_mask
from vecstore.types import Bool, Int64, Uint64

Tombstones: TypeAlias = Mapping[int, bytes]
Clock: TypeAlias = Callable[[], float]
"""Seconds since 1970."""


class Live:
    """A source and its live rows, worked out when first asked for.

    Attributes:
        source: the rows.
        clock: tells which rows have expired.
    """

    __slots__ = ("_alive", "_by_field", "_tombstones", "_until", "_written", "clock", "source")

    def __init__(
        self,
        source: Source,
        tombstones: Tombstones,
        written: Bool | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.source = source
        self.clock = clock
        self._tombstones = tombstones
        self._written = written
        self._alive: Bool | None = None
        self._by_field: dict[str, Allowed] = {}
        self._until: float | None = None  # when the next row expires, and the two above are old

    @property
    def written(self) -> Bool:
        """bool [N], True for rows that were neither deleted nor written again."""
        if self._written is None:
            self._written = ~dead_mask(self._tombstones, self.source.seqs)
        return self._written

    @property
    def alive(self) -> Bool:
        """bool [N], True for rows that were written and have not expired."""
        alive = self._alive
        if alive is None or (self._until is not None and self.clock() >= self._until):
            alive = self._find_alive()
        return alive

    def _find_alive(self) -> Bool:
        expires = self.source.expires
        if expires is None:
            self._alive = self.written
            return self._alive
        now = int(self.clock() * 1_000_000)
        coming = expires[self.written & (expires > now)]
        alive: Bool = self.written & ((expires == 0) | (expires > now))
        # Threads may all do this; `allowed` fills the dict that it found before the mask.
        self._alive = alive
        self._by_field = {}
        self._until = int(coming.min()) / 1_000_000 if len(coming) else None
        return alive

    def count(self) -> int:
        """Live rows."""
        return int(np.count_nonzero(self.alive))

    def allowed(self, name: str, mask: Bool | None = None) -> Allowed:
        """Live rows that have the vector field `name` and are in `mask` (bool [N], None = all).

        Bits number the rows of the field, as its codes do.
        """
        if mask is not None:
            return self._allowed(name, self.alive & mask)
        if self._until is not None:
            _ = self.alive  # which forgets what is old
        by_field = self._by_field
        found = by_field.get(name)
        if found is None:
            found = by_field[name] = self._allowed(name, self.alive)
        return found

    def _allowed(self, name: str, mask: Bool) -> Allowed:
        if not self.source.field_count(name):
            return Allowed(None, 0)
        rows = self.source.field_rows(name)
        if rows is not None:
            mask = mask[rows]
        count = int(np.count_nonzero(mask))
        return Allowed(None if count == len(mask) else pack_mask(mask), count)

    def without(self, seqs: Uint64, tombstones: Tombstones) -> Live:
        """This source after `seqs` (ascending) died; itself where none of them is in it.

        It reads nothing that was not read before: a damaged segment stops no write.
        """
        near = self.within(seqs)
        if not len(near):
            return self
        written = self._written
        if written is not None:
            own = self.source.seqs
            places = np.searchsorted(own, near)
            places = places[own[places] == near]
            if not len(places):
                return self
            written = written.copy()
            written[places] = False
        return Live(self.source, tombstones, written, self.clock)

    def within(self, seqs: Uint64) -> Uint64:
        """Those of `seqs` (ascending) between its first and its last seq; reads no file."""
        first, last = self.source.seq_min, self.source.seq_max
        if seqs[-1] < first or seqs[0] > last:
            return seqs[:0]
        start, stop = np.searchsorted(seqs, np.array([first, last + 1], dtype=np.uint64))
        return seqs[start:stop]


UNREAD = -1


class Place(NamedTuple):
    """A row of a source, or UNREAD in a segment that is not read."""

    live: Live
    row: int

    @property
    def unread(self) -> bool:
        """Whether it is in a segment that is not read."""
        return self.row == UNREAD


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one collection after one commit.

    Attributes:
        info: the collection, with the schema it had then.
        manifest: the segments and counters of that commit.
        segments: one for each segment of the manifest, in its order.
        blocks: the write buffer, oldest first.
        tombstones: chunk number -> bitmap of deleted seqs.
        txn: the commit that made it.
        buffer_bytes: bytes of the batches that LMDB holds for the write buffer.
        buffer_batches: how many they are.
        buffer_key: the key of the oldest of them when the buffer was last read from LMDB; None
            where it was empty.
        buffer_codecs: trained codecs that made codes in those batches; until the buffer is next
            empty or read, also what was in them.
        routes: what searches of this snapshot found out and leave for the next that are alike.
        filtered: the same of searches with a filter.
    """

    info: CollectionInfo
    manifest: Manifest
    segments: tuple[Live, ...] = ()
    blocks: tuple[Live, ...] = ()
    tombstones: Tombstones = field(default_factory=dict)
    txn: int = 0
    buffer_bytes: int = 0
    buffer_batches: int = 0
    buffer_key: bytes | None = None
    buffer_codecs: frozenset[int] = frozenset()
    routes: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    filtered: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def sources(self) -> tuple[Live, ...]:
        """Everything a search reads, oldest first."""
        return self.segments + self.blocks

    def count_live(self, left_alone: Container[int] = ()) -> int:
        """Records that were neither deleted nor have expired.

        Args:
            left_alone: ids of segments that are not read; of their records none counts as expired.
        """
        expired = 0
        for live in self.readable(left_alone):
            if live.source.expires is not None:
                expired += int(np.count_nonzero(live.written)) - live.count()
        return self.manifest.live - expired

    def readable(self, left_alone: Container[int]) -> tuple[Live, ...]:
        """The sources without the segments whose ids are in `left_alone`."""
        if not left_alone:
            return self.sources
        pairs = zip(self.manifest.segments, self.segments, strict=True)
        return (*(live for info, live in pairs if info.id not in left_alone), *self.blocks)

    def locate(self, seq: int, left_alone: Container[int] = ()) -> Place | None:
        """Where a record is, or None where this snapshot has no such seq.

        Args:
            seq: of a record that was not deleted.
            left_alone: ids of segments that are not read.
        """
        for live in reversed(self.sources):
            if not live.source.seq_min <= seq <= live.source.seq_max:
                continue
            if left_alone and live not in self.readable(left_alone):
                return Place(live, UNREAD)
            seqs = live.source.seqs
            row = int(np.searchsorted(seqs, np.uint64(seq)))
            if seqs[row] == seq:
                return Place(live, row)
        return None


def written_rows(live: Live) -> Int64:
    """The rows of a source that were not deleted, ascending: those that an id leads to."""
    return np.flatnonzero(live.written)


def live_field_rows(live: Live, name: str) -> Int64:
    """The live rows that have the vector field `name`, numbered as its codes are, ascending."""
    count = live.source.field_count(name)
    allowed = live.allowed(name)
    if allowed.bits is None:
        return np.arange(allowed.count, dtype=np.int64)
    return np.flatnonzero(unpack_mask(allowed.bits, count))
