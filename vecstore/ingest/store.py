"""The durable state of one collection, and the snapshot that searches see.

Every write is one LMDB transaction, synced before it is answered, and publishes a new snapshot
after its commit:

    upsert   batch -> "buffer", id -> seq, tombstones of what was replaced, manifest
    delete   id -> seq removed, tombstones, manifest
    flush    files first; then the commit that names them and empties "buffer" (see flush.py)
    swap     files first; then the commit that names them in place of others (see swap.py)

Locks are taken in this order: `rewrite_lock`, `flush_lock`, the environment's lock. Writes take
turns on the last one, which is not held while files are written; reads take the last snapshot,
and the lock only where a write was cut off or is being published.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import TypeVar

import numpy as np

from vecstore.errors import CorruptionError, NotFoundError
from vecstore.ingest import registry
from vecstore.ingest.batch import Batch
from vecstore.ingest.commit import Change, commit
from vecstore.ingest.encoders import check_current
from vecstore.ingest.flush import flush
from vecstore.ingest.numbers import made_paths
from vecstore.ingest.precision import fit_rows
from vecstore.ingest.pressure import FlushMeter, admit
from vecstore.ingest.swap import Swap, apply_swap
from vecstore.ingest.ttl import MICROSECONDS, count_expired, expired_pairs, is_expired
from vecstore.options import EXPIRE_ROWS_MAX
from vecstore.segment.buffer import append_rows
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.codecs import CodecShelf
from vecstore.segment.environment import Environment
from vecstore.segment.format import pack_arrays
from vecstore.segment.load import load_snapshot
from vecstore.segment.manifest import Manifest, ManifestEdit, apply, to_bytes
from vecstore.segment.pinning import reading
from vecstore.segment.reader import Segment
from vecstore.segment.snapshot import Live, Place, Snapshot
from vecstore.segment.tombstones import add_seqs
from vecstore.segment.writer import Pace, no_pace
from vecstore.storage import keys
from vecstore.storage.failpoints import reach
from vecstore.storage.kv import Txn
from vecstore.types import Int64

__all__ = ["CollectionStore", "Swap"]

Value = TypeVar("Value")


class CollectionStore:
    """One collection of an open database.

    Attributes:
        id: of the collection.
        name: of the collection.
        environment: the database.
        shelf: its codecs.
        flush_lock: held by the one flush of the collection that is under way.
        rewrite_lock: held by whoever makes segments out of segments, until they are swapped.
        sealed: seqs below are being flushed, and their blocks stay as they are; None otherwise.
        meter: how fast flushes are.
        written: called with the new snapshot after each write, flush and swap; it must not wait.
    """

    def __init__(self, environment: Environment, info: CollectionInfo) -> None:
        self.id = info.id
        self.name = info.name
        self.environment = environment
        self.shelf = CodecShelf(
            kv=environment.kv, files=environment.files, paths=environment.paths, collection=info
        )
        self.flush_lock = Lock()
        self.rewrite_lock = Lock()
        self.sealed: int | None = None
        self.meter = FlushMeter()
        self.written: Callable[[Snapshot], None] = _nothing
        self._snapshot: Snapshot
        self._dropped = False
        self._behind = False
        with reading(environment.pins), environment.kv.read() as txn:
            self._publish(load_snapshot(environment, self.shelf, txn))

    # Reads

    @property
    def info(self) -> CollectionInfo:
        """The collection, with the schema that it has now."""
        return self.snapshot().info

    def snapshot(self) -> Snapshot:
        """The state after the last acknowledged write; a reader asks what the writer did."""
        environment = self.environment
        self._check_usable()
        if self._behind:
            with environment.lock:
                self._catch_up()
        if not environment.writable and environment.kv.last_txn() != self._snapshot.txn:
            with reading(environment.pins), environment.kv.read() as txn:
                self._refresh(txn)
        return self._snapshot

    def find(self, ids: Sequence[bytes], left_alone: Container[int] = ()) -> list[Place | None]:
        """Where the records of some encoded ids are, all as of one commit; None: no such id.

        Segments whose ids are in `left_alone` are not read.

        Raises:
            CorruptionError: an id leads to a record that is nowhere.
        """
        self.snapshot()
        found = self._find(ids, left_alone)
        if found is None:
            with self.environment.lock:  # a write was published while this looked
                found = self._find(ids, left_alone)
        if found is None:
            raise CorruptionError(
                f"an id of collection {self.name!r} leads to a record that is nowhere; "
                "run check() to see what is damaged"
            )
        return [None if place is None or is_expired(place) else place for place in found]

    def _find(self, ids: Sequence[bytes], left_alone: Container[int]) -> list[Place | None] | None:
        environment = self.environment
        with reading(environment.pins), environment.kv.read() as txn:
            seqs = self._seqs(txn, ids, careful=True)
            if not environment.writable:
                self._refresh(txn)
        snapshot = self._snapshot
        found = [None if seq is None else snapshot.locate(seq, left_alone) for seq in seqs]
        moved = any(
            seq is not None and place is None for seq, place in zip(seqs, found, strict=True)
        )
        return None if moved else found

    def _refresh(self, txn: Txn) -> None:
        with self.environment.lock:
            self._check_usable()  # another thread may have found that it was dropped
            if txn.id > self._snapshot.txn:
                try:
                    found = load_snapshot(self.environment, self.shelf, txn, self._snapshot)
                except NotFoundError:
                    self.forget()
                    raise
                self._publish(found)

    def forget(self) -> None:
        """Let go of all files: there is no such collection any more."""
        with self.environment.lock:
            self._dropped = True
            self._snapshot = Snapshot(self._snapshot.info, Manifest())
            if self.environment.pins is not None:
                self.environment.pins.forget(self.id)

    def _publish(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        if self.environment.pins is not None:
            self.environment.pins.follow(self.id, snapshot)

    def _seqs(self, txn: Txn, ids: Sequence[bytes], *, careful: bool = False) -> list[int | None]:
        wanted = (keys.id_key(self.id, id_) for id_ in ids)
        found = txn.get_many(keys.IDS, wanted, careful=careful)
        return [None if value is None else keys.parse_number(value) for value in found]

    # Writes

    def upsert(self, batch: Batch) -> int:
        """Write a batch whole; returns how many records it holds."""
        # Before the write: what fails there must not make a batch fail that was applied.
        admit(self, batch.nbytes)
        reach("upsert.begin")
        if len(batch):
            commit(self, lambda change: self._append(change, batch))
            reach("upsert.committed")
            self.written(self._snapshot)
        return len(batch)

    def delete(self, ids: Sequence[bytes]) -> int:
        """Delete records by encoded id; returns how many there were.

        Of the records in a damaged segment none counts as expired.
        """
        unique = list(dict.fromkeys(ids))

        def apply(change: Change, left_alone: Container[int]) -> int:
            seqs = self._seqs(change.txn, unique, careful=True)
            pairs = [(id_, seq) for id_, seq in zip(unique, seqs, strict=True) if seq is not None]
            if not pairs:
                return 0
            now_us = int(self.environment.clock() * MICROSECONDS)
            expired = count_expired(change.after, [seq for _, seq in pairs], now_us, left_alone)
            self._remove(change, pairs)
            return len(pairs) - expired

        return self.sparing(lambda wrong: self._deleted(lambda change: apply(change, wrong)))

    def delete_found(self, choose: Callable[[Live], Int64]) -> int:
        """Delete the rows that `choose` picks from each source; returns how many."""

        def apply(change: Change) -> int:
            pairs: list[tuple[bytes, int]] = []
            for live in change.after.sources:
                rows = choose(live)
                seqs = live.source.seqs[rows].tolist()
                pairs += zip(live.source.ids(rows), seqs, strict=True)
            self._remove(change, pairs)
            return len(pairs)

        return self._deleted(apply)

    def expire(self, now_us: int) -> int:
        """Delete the records that expired until then, in microseconds since 1970; how many.

        A segment that turns out to be damaged is quarantined, and left alone.
        """

        def apply(change: Change, left_alone: Container[int]) -> int:
            pairs = expired_pairs(change.after, now_us, left_alone, EXPIRE_ROWS_MAX)
            self._remove(change, pairs)
            return len(pairs)

        total, count = 0, 1
        while count:
            count = self.sparing(lambda wrong: self._deleted(lambda change: apply(change, wrong)))
            total += count
        return total

    def flush(self) -> None:
        """Move all that was acknowledged from the write buffer into a segment."""
        self.background_flush(no_pace)

    def background_flush(self, pace: Pace) -> None:
        """The same at the pace of a job."""
        with self.flush_lock:
            flush(self, pace)
        self.written(self._snapshot)

    def swap(self, swap: Swap) -> None:
        """Read some segments in place of others from now on, in one commit.

        The caller holds `rewrite_lock` since it chose what to replace.
        """
        environment = self.environment
        with environment.lock:  # what is named, and what is not, changes at one moment
            retired = commit(self, lambda change: apply_swap(self, change, swap), alone=True)
            environment.reclaimer.retire(retired.segments, retired.codecs, retired.txn)
        added = [info.id for info in swap.added]
        environment.reclaimer.finish(made_paths(environment, added, swap.codecs))
        for number in swap.removed:
            environment.quarantined.pop(number, None)
        self.written(self._snapshot)

    def quarantine(self, error: CorruptionError) -> bool:
        """Read the segment that an error is about no more; whether it was read until now."""
        environment = self.environment
        for segment in self._snapshot.manifest.segments:
            if str(environment.paths.segment(segment.id)) == error.folder:
                known = segment.id in environment.quarantined
                environment.quarantined[segment.id] = str(error)
                return not known
        return False

    def sparing(self, act: Callable[[Mapping[int, str]], Value]) -> Value:
        """Do something without the quarantined segments; where one more is damaged, once again.

        Args:
            act: given segment id -> what is wrong with it; takes a snapshot each time.

        Raises:
            CorruptionError: it met the same damage twice, or what is damaged is no segment.
        """
        met: set[str] = set()
        while True:
            try:
                return act(self.environment.quarantined.copy())
            except CorruptionError as error:
                # Another thread may have met the same damage first, or replaced the segment.
                if not self.quarantine(error) and (not error.folder or error.folder in met):
                    raise
                met.add(error.folder)

    def reload(self) -> None:
        """Read everything again, after it was repaired; the caller holds all locks."""
        with self.environment.kv.read() as txn:
            self._publish(load_snapshot(self.environment, self.shelf, txn))
        self._behind = False

    def drop(self) -> None:
        """Delete the collection; every later use of it fails."""
        with self.environment.lock:
            sources = (live.source for live in self.current().segments)
            segments = [source for source in sources if isinstance(source, Segment)]
            registry.drop(self.environment, self.shelf.collection, segments)
            self.forget()

    def current(self) -> Snapshot:
        """The state after the last commit; the caller, a write, holds the environment's lock."""
        self.environment.check_writable()
        self._check_usable()
        self._catch_up()
        return self._snapshot

    def publish(self, snapshot: Snapshot) -> None:
        """Make a snapshot the current one: its commit is on disk."""
        self._snapshot = snapshot

    def doubt(self) -> None:
        """Read the current state again before it is next used.

        That is after an interrupt, a failure, or a commit whose outcome the disk left open.
        """
        self._behind = True

    def _check_usable(self) -> None:
        self.environment.check_open()
        if self._dropped:
            raise NotFoundError(f"no collection {self.name!r}; it was dropped")

    def _catch_up(self) -> None:
        if self._behind:
            with self.environment.kv.read() as txn:
                self._publish(load_snapshot(self.environment, self.shelf, txn, self._snapshot))
            self._behind = False

    def _deleted(self, apply: Callable[[Change], int]) -> int:
        count = commit(self, apply)
        reach("delete.committed")
        self.written(self._snapshot)
        return count

    def _append(self, change: Change, batch: Batch) -> None:
        txn, manifest = change.txn, change.after.manifest
        rows, schema = batch.rows(manifest.next_seq), change.after.info.schema
        rows = fit_rows(rows, batch.schema, schema)
        check_current(txn, rows, schema)
        ids = rows.ids.to_list()
        replaced = [seq for seq in self._seqs(txn, ids) if seq is not None]
        packed = pack_arrays(rows.to_arrays())
        txn.put(keys.BUFFER, keys.buffer_key(self.id, manifest.next_seq), packed)
        txn.put_many(
            keys.IDS,
            sorted(
                (keys.id_key(self.id, id_), keys.pack_number(seq))
                for id_, seq in zip(ids, rows.seqs.tolist(), strict=True)
            ),
        )
        reach("upsert.put")
        self._bury(change, replaced)
        self._edit(change, ManifestEdit(seqs=len(rows), live=len(rows) - len(replaced)))
        after, clock = change.after, self.environment.clock
        sealed = sum(live.source.seq_max < (self.sealed or 0) for live in after.blocks)
        newer = append_rows(
            after.blocks[sealed:], rows, self.shelf.codec_of, after.tombstones, clock
        )
        change.after = replace(
            after,
            blocks=(*after.blocks[:sealed], *newer),
            buffer_bytes=after.buffer_bytes + len(packed),
            buffer_batches=after.buffer_batches + 1,
            buffer_codecs=after.buffer_codecs | rows.codecs,
        )

    def _remove(self, change: Change, pairs: Sequence[tuple[bytes, int]]) -> None:
        if pairs:
            for id_, _ in pairs:
                change.txn.delete(keys.IDS, keys.id_key(self.id, id_))
            self._bury(change, [seq for _, seq in pairs])
            self._edit(change, ManifestEdit(live=-len(pairs)))

    def _bury(self, change: Change, seqs: Sequence[int]) -> None:
        if not seqs:
            return
        dead = np.array(sorted(seqs), dtype=np.uint64)
        changed = add_seqs(change.after.tombstones, dead)
        for chunk, bits in changed.items():
            change.txn.put(keys.TOMBSTONES, keys.chunk_key(self.id, chunk), bits)
        tombstones = {**change.after.tombstones, **changed}
        change.after = replace(
            change.after,
            tombstones=tombstones,
            segments=tuple(live.without(dead, tombstones) for live in change.after.segments),
            blocks=tuple(live.without(dead, tombstones) for live in change.after.blocks),
        )

    def _edit(self, change: Change, edit: ManifestEdit) -> None:
        manifest = apply(change.after.manifest, edit)
        change.txn.put(keys.MANIFESTS, keys.collection_key(self.id), to_bytes(manifest))
        change.after = replace(change.after, manifest=manifest)


def _nothing(snapshot: Snapshot) -> None:
    """Nobody wants to know."""
