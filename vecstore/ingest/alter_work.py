"""The work of an alteration: every segment made again, and the cut-over.

    segment 4 ──relink──> segment 9    components that stay are hard links, new codes are files
    segment 7 ──relink──> segment 10   AlterJob: built [4 -> 9], [7 -> 10]
    swap                               manifest: 9, 10 for 4, 7; the new schema; AlterJob gone

What a crash leaves is either noted in the AlterJob and used again, or named by nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import msgspec
import numpy as np

from vecstore.errors import CorruptionError, StorageError, VecstoreError
from vecstore.ingest.alter_job import expect_job, give_up, put_job, read_job, update_job
from vecstore.ingest.alter_plan import Order, check_derivable, check_salience, told
from vecstore.ingest.choose import choose_codecs
from vecstore.ingest.jobs import Task
from vecstore.ingest.numbers import take_number
from vecstore.ingest.precision import check_fits, fit_buffer
from vecstore.ingest.pressure import check_space
from vecstore.ingest.store import CollectionStore, Swap
from vecstore.schema import Schema
from vecstore.segment.base import Source, StoredCodec
from vecstore.segment.buffer import MERGED_BYTES_MAX
from vecstore.segment.catalog import AlterJob, BuiltSegment, CodecInfo
from vecstore.segment.codecs import codecs_of
from vecstore.segment.reader import Segment
from vecstore.segment.reduction import Reduction
from vecstore.segment.relink import relink_segment
from vecstore.segment.snapshot import Live, written_rows
from vecstore.segment.writer import Pace, Part
from vecstore.storage import keys
from vecstore.storage.failpoints import reach
from vecstore.storage.kv import Txn

# How often segments that were flushed meanwhile are made beside writes; then flushes wait.
ROUNDS_MAX = 4


class AlterWork:
    """Brings one stored alteration to its end. The caller holds `rewrite_lock`.

    Attributes:
        job: what is stored.
    """

    def __init__(self, store: CollectionStore, job: AlterJob, check: Callable[[], None]) -> None:
        """`check` raises Withdrawn where the alteration is not wanted any more."""
        self.job = job
        self._store = store
        self._environment = store.environment
        self._check = check
        self._had = store.info.schema
        order = Order(job.field, job.representations, job.pruning, job.pooling)
        self._schema = order.altered(self._had)
        had, self._wanted = self._had.vector(job.field), self._schema.vector(job.field)
        self._reduction = Reduction.between(had, self._wanted)
        self._new_ladder = had.representations != self._wanted.representations
        self._codecs: dict[str, StoredCodec] = {}  # of representations that a segment lacks
        self._trained: list[CodecInfo] = []  # codecs that are not stored yet

    def finish(self, pace: Pace) -> None:
        """Make what is missing, and cut over.

        Raises:
            Withdrawn: nothing was altered.
            SchemaError, VectorError: it cannot be altered so any more.
        """
        reach("alter.begin")
        self._drop_stale()
        try:
            for _ in range(ROUNDS_MAX):
                self._flush_much()
                self._make_pending(pace)
                if self._has_much():
                    continue
                with self._store.flush_lock:
                    if not self._pending():
                        self._cut_over()
                        break
            else:
                self._flush_much()
                with self._store.flush_lock:
                    self._make_pending(_unhindered)
                    self._cut_over()
        finally:
            self._remove_untold()
        with suppress(StorageError):  # what cannot be removed now is tried again
            self._environment.reclaimer.sweep()

    def _has_much(self) -> bool:
        """Whether writes would wait long at the cut-over, while the write buffer is reduced."""
        return bool(self._reduction) and self._store.snapshot().buffer_bytes > MERGED_BYTES_MAX

    def _flush_much(self) -> None:
        """Flush what takes long to reduce; without rests or pauses, as writers may wait for it."""
        if self._has_much():
            self._store.background_flush(lambda _: self._check())

    def _pending(self) -> list[Live]:
        """The segments that have other codes than they shall, and no successor yet."""
        field, made = self.job.field, {item.old for item in self.job.built}
        return [
            live
            for live in self._store.snapshot().segments
            if live.source.field_count(field)
            and (self._reduction or live.source.specs(field) != self._ladder(live.source))
            and _segment(live).info.id not in made
        ]

    def _ladder(self, source: Source) -> tuple[str, ...]:
        """What a segment shall have; what stands in for a ladder may stay, where that does."""
        wanted = tuple(self._wanted.representations)
        return wanted if self._new_ladder else source.specs(self.job.field)

    def _make_pending(self, pace: Pace) -> None:
        def checked(written: int) -> None:
            self._check()
            check_space(self._environment)
            pace(written)

        pending = self._pending()
        self._choose_codecs(pending, checked)
        if isinstance(pace, Task):
            pace.message = f"{self.job.field}: {told(self._wanted)}"
            pace.total += sum(self._bytes(_segment(live)) for live in pending)
        for live in pending:
            checked(0)
            self._make(live, checked)

    def _choose_codecs(self, pending: list[Live], pace: Pace) -> None:
        """The codecs of what segments lack, the same for all; they learn from all rows there."""
        missing = {
            spec
            for live in pending
            for spec in self._ladder(live.source)
            if live.source.codec_id(self._wanted.name, spec) is None
        } - self._codecs.keys()
        if not missing:
            return
        specs = tuple(spec for spec in self._wanted.representations if spec in missing)
        schema = Schema([replace(self._wanted, representations=specs)])
        parts = [Part(live.source, written_rows(live)) for live in pending]
        if not any(live.allowed(self._wanted.name).count for live in pending):
            parts = [Part(live.source, np.arange(live.source.rows)) for live in pending]
        found = choose_codecs(self._store, parts, self._trained, schema, pace)
        self._codecs.update({spec: found[self._wanted.name, spec] for spec in specs})

    def _make(self, live: Live, pace: Pace) -> None:
        """Make the successor of one segment, and store that it is made."""
        old, environment = _segment(live), self._environment
        check_fits(live, self._wanted)
        check_salience([live], self._reduction)
        self._touch_source(old)
        schema = self._schema_of(old)
        codecs = self._codecs_of(old, schema)
        number = take_number(environment, keys.NEXT_SEGMENT)
        try:
            with environment.guard():
                info = relink_segment(
                    environment.files,
                    environment.paths,
                    number,
                    old,
                    schema=schema,
                    codecs=codecs,
                    reduction=self._reduction,
                    pace=pace,
                )
            built = (*self.job.built, BuiltSegment(old.info.id, info))
            self._store_job(msgspec.structs.replace(self.job, built=built))
        except BaseException:
            self._remove(number)
            raise
        reach("alter.built")

    def _touch_source(self, old: Segment) -> None:
        """Verify what is encoded from; `relink_segment` would go on with something coarser."""
        name, wrong = self._wanted.name, self._environment.quarantined.get(old.info.id)
        if wrong is not None:
            raise CorruptionError(wrong)
        if any(old.codec_id(name, spec) is None for spec in self._ladder(old)):
            codes = old.codes(name, old.specs(name)[-1])
            assert codes is not None
            codes.touch()

    def _schema_of(self, old: Segment) -> Schema:
        """What the new segment shall have: of the other fields just what it has."""
        vectors = [
            replace(
                vector,
                representations=self._ladder(old)
                if vector.name == self._wanted.name
                else old.specs(vector.name),
            )
            for vector in self._schema.vectors
        ]
        return replace(self._schema, vectors=vectors)

    def _codecs_of(self, old: Segment, schema: Schema) -> dict[tuple[str, str], StoredCodec]:
        """The codec of each representation of the new segment: the one it has, where it has one."""
        chosen = {}
        for vector in schema.vectors:
            for spec in vector.representations if old.field_count(vector.name) else ():
                codec = old.codec_id(vector.name, spec)
                chosen[vector.name, spec] = (
                    self._codecs[spec]
                    if codec is None
                    else self._store.shelf.stored(vector.name, spec, codec)
                )
        return chosen

    def _bytes(self, old: Segment) -> int:
        """The bytes of codes to write for one segment, at most."""
        name = self._wanted.name
        info = old.info.field(name)
        written = 0
        for spec in self._ladder(old):
            codec = old.codec_id(name, spec)
            if codec is None:
                written += self._codecs[spec].codec.code_bytes
            elif self._reduction:
                written += self._store.shelf.stored(name, spec, codec).codec.code_bytes
        return (0 if info is None else info.codes) * written

    def _drop_stale(self) -> None:
        """Forget what is of no use: the old segment is gone, or the folder, as in a copy."""
        environment = self._environment
        there = {_segment(live).info.id for live in self._store.snapshot().segments}
        folders = set(environment.files.list_dir(environment.paths.segments))
        stale = [
            item
            for item in self.job.built
            if item.old not in there or environment.paths.segment(item.info.id).name not in folders
        ]
        if stale:
            kept = tuple(item for item in self.job.built if item not in stale)
            self._store_job(msgspec.structs.replace(self.job, built=kept))
            give_up(self._store, (item.info.id for item in stale))

    def _store_job(self, new: AlterJob) -> None:
        with self._environment.lock:
            self._check()
            update_job(self._store, self.job, new, self._trained)
            self.job = new
            self._trained.clear()

    def _cut_over(self) -> None:
        store, job, schema = self._store, self.job, self._schema

        def also(txn: Txn) -> None:
            expect_job(txn, store, job)
            put_job(txn, store, None)
            fit_buffer(txn, store.id, self._had, schema)

        with self._environment.lock:
            self._check()
            snapshot = store.snapshot()
            check_derivable(snapshot, self._wanted)  # also what was written meanwhile
            check_salience(snapshot.blocks, self._reduction)
            for live in snapshot.blocks:
                check_fits(live, self._wanted)
            reach("alter.commit")
            store.swap(
                Swap(
                    removed=frozenset(item.old for item in job.built),
                    added=tuple(item.info for item in job.built),
                    schema=schema,
                    also=also,
                )
            )
        reach("alter.committed")

    def _remove(self, number: int) -> None:
        """Remove a segment whose commit failed, unless it was made after all."""
        with suppress(VecstoreError):  # the next open for writing removes it
            stored = read_job(self._store)
            if stored is None or number not in {item.info.id for item in stored.built}:
                give_up(self._store, [number])

    def _remove_untold(self) -> None:
        """Remove codecs that were trained for nothing, unless they were stored after all."""
        with suppress(VecstoreError):  # the next open for writing removes them
            with self._environment.kv.read() as txn:
                stored = {codec.id for codec in codecs_of(txn, self._store.shelf.collection)}
            give_up(self._store, (), [codec for codec in self._trained if codec.id not in stored])


def _segment(live: Live) -> Segment:
    assert isinstance(live.source, Segment)
    return live.source


def _unhindered(written: int) -> None:
    """No rest, no pause: writers may wait for the flush that waits for this."""
