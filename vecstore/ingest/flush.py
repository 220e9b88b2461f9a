"""Flush: the write buffer becomes a segment, while writes and searches go on.

    plan     what the buffer holds now, up to a seq: the cut
    write    live rows of its blocks -> codecs (trained now where a representation needs it)
             -> files, without the environment's lock
    commit   one transaction names segment and codecs and removes what is before the cut from
             "buffer"; rows that died meanwhile are dead in the segment, as tombstones go by seq

A crash before the commit leaves files that nothing names; the next open removes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vecstore.errors import VecstoreError
from vecstore.ingest.choose import choose_codecs, suits, trained_codecs
from vecstore.ingest.commit import Change, commit
from vecstore.ingest.numbers import made_paths, take_number
from vecstore.ingest.settle import settled
from vecstore.ingest.swap import Span, forget_dead
from vecstore.schema import Schema
from vecstore.segment.buffer import after
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.codecs import put_info
from vecstore.segment.load import segment_of
from vecstore.segment.manifest import (
    Manifest,
    ManifestEdit,
    SegmentInfo,
    apply,
    from_bytes,
    to_bytes,
)
from vecstore.segment.snapshot import Live, written_rows
from vecstore.segment.writer import Pace, Part, write_segment
from vecstore.storage import keys
from vecstore.storage.failpoints import reach

if TYPE_CHECKING:
    from vecstore.ingest.store import CollectionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a flush moves.

    Attributes:
        cut: the first seq that stays in the buffer.
        parts: the rows that go to the segment; none where all have died.
        bytes: what LMDB holds of the buffer before the cut.
        batches: how many batches that is.
        schema: the representations to write.
    """

    cut: int
    parts: Sequence[Part]
    bytes: int
    batches: int
    schema: Schema


def flush(store: CollectionStore, pace: Pace) -> None:
    """Move what the write buffer holds now to a segment; the caller holds `flush_lock`."""
    environment = store.environment
    with environment.lock:
        plan = _plan(store)
        if plan is None:
            return
        store.sealed = plan.cut
    store.meter.begin(plan.bytes)
    reach("flush.begin")
    trained: list[CodecInfo] = []
    number = 0
    try:
        added: tuple[SegmentInfo, ...] = ()
        if plan.parts:
            number = take_number(environment, keys.NEXT_SEGMENT)
            schema = settled(plan.schema, plan.parts, partial(suits, store, trained_codecs(store)))
            codecs = choose_codecs(store, plan.parts, trained, schema, pace, growing=True)
            files, paths = environment.files, environment.paths
            with environment.guard():
                info = write_segment(files, paths, number, plan.parts, schema, codecs, pace)
            added = (info,)
        reach("flush.commit")
        commit(store, lambda change: _name(store, change, plan, added, trained), alone=True)
        environment.reclaimer.finish(made_paths(environment, [number], trained))
    except BaseException:
        remove_unnamed(store, number, trained)
        raise
    finally:
        store.sealed = None
        store.meter.end(large=2 * plan.bytes >= environment.options.buffer_bytes_max())
    reach("flush.committed")


def _plan(store: CollectionStore) -> _Plan | None:
    snapshot = store.current()
    if not snapshot.buffer_batches:
        return None
    parts = [Part(live.source, written_rows(live)) for live in snapshot.blocks]
    return _Plan(
        cut=snapshot.manifest.next_seq,
        parts=[part for part in parts if len(part.rows)],
        bytes=snapshot.buffer_bytes,
        batches=snapshot.buffer_batches,
        schema=snapshot.info.schema,
    )


def _name(
    store: CollectionStore,
    change: Change,
    plan: _Plan,
    added: Sequence[SegmentInfo],
    trained: Sequence[CodecInfo],
) -> None:
    """Name the new files, and empty the buffer up to the cut."""
    before, txn = change.after, change.txn
    for codec in trained:
        put_info(txn, codec)
    manifest = apply(before.manifest, ManifestEdit(added=tuple(added)))
    txn.put(keys.MANIFESTS, keys.collection_key(store.id), to_bytes(manifest))
    cut = keys.buffer_key(store.id, plan.cut)
    txn.delete_range(keys.BUFFER, keys.collection_key(store.id), cut)
    if added:  # tombstones are forgotten where segments change, as readers then read all again
        first = max((item.seq_max + 1 for item in before.manifest.segments), default=0)
        present = np.concatenate([part.source.seqs[part.rows] for part in plan.parts])
        forget_dead(store.id, change, [Span(first, plan.cut - 1, present)])
    tombstones, clock = change.after.tombstones, store.environment.clock
    opened = (segment_of(store.environment, store.shelf, item) for item in added)
    left = before.buffer_batches - plan.batches
    change.after = replace(
        change.after,
        manifest=manifest,
        segments=(*before.segments, *(Live(item, tombstones, clock=clock) for item in opened)),
        blocks=after(before.blocks, plan.cut, store.shelf.codec_of, tombstones),
        buffer_bytes=before.buffer_bytes - plan.bytes,
        buffer_batches=left,
        buffer_codecs=before.buffer_codecs if left else frozenset(),
    )


def remove_unnamed(store: CollectionStore, segment: int, trained: Sequence[CodecInfo]) -> None:
    """Remove the files of work that failed, unless its commit was made after all."""
    environment = store.environment
    with suppress(VecstoreError):  # where LMDB cannot be read, the next open for writing removes
        with environment.kv.read() as txn:
            stored = txn.get(keys.MANIFESTS, keys.collection_key(store.id))
        manifest = Manifest() if stored is None else from_bytes(Manifest, stored)
        paths = made_paths(environment, [segment], trained)
        if segment in {info.id for info in manifest.segments}:
            environment.reclaimer.finish(paths)
        else:
            for codec in trained:
                store.shelf.forget(codec)
            environment.reclaimer.abandon(paths)
