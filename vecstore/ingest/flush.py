"""Flush: the write buffer becomes a segment, while writes and searches go on.

    plan     what the buffer holds now, up to a seq: the cut
    write    live rows of its blocks -> codecs (trained now where a representation needs it)
             -> files, without the environment's lock
    commit   one transaction names segment and codecs and removes what is before the cut from
             "buffer"; rows that died meanwhile are dead in the segment, as tombstones go by seq

A crash before the commit leaves files that nothing names; the next open removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vecstore.codec import parse_spec
from vecstore.codec.base import Rest
from vecstore.codec.centroid_training import tokens_min
from vecstore.codec.drift import drift
from vecstore.errors import VecstoreError
from vecstore.ingest.commit import Change, commit
from vecstore.ingest.jobs import Task
from vecstore.ingest.settle import settled
from vecstore.ingest.swap import Span, forget_dead
from vecstore.schema import Schema, Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.buffer import after
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.codecs import codecs_of, put_info
from vecstore.segment.encode import FieldPart
from vecstore.segment.environment import Environment
from vecstore.segment.load import segment_of
from vecstore.segment.manifest import (
    Manifest,
    ManifestEdit,
    SegmentInfo,
    apply,
    from_bytes,
    to_bytes,
)
from vecstore.segment.meta import next_number
from vecstore.segment.sample import sample_rows, sample_vectors
from vecstore.segment.snapshot import Live, written_rows
from vecstore.segment.vectors import code_rows, owners, row_codes
from vecstore.segment.writer import Pace, Part, no_pace, write_segment
from vecstore.storage import keys
from vecstore.storage.failpoints import reach
from vecstore.types import Float32

if TYPE_CHECKING:
    from vecstore.ingest.store import CollectionStore

# The sample that a codec learns from takes one part in so many of Options.memory_bytes_max.
# Training takes up to 7 times the sample (int8, in float64), which shall be less than half.
SAMPLE_SHARE = 16
# How many times the rows that a codec learned from there must be for another to learn.
GROWTH, GROWTH_TOKENS = 2, 4
# Of so many rows, centroids may leave so many times what they left of their sample, and clipped
# ranges so many times what rounding leaves, which costs .01 of the overlap (see DECISIONS.md).
DRIFT_ROWS, DRIFT_MAX, CLIPPING_MAX = 4_096, 1.25, 4


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
            schema = settled(plan.schema, plan.parts, trained_codecs(store))
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


def choose_codecs(
    store: CollectionStore,
    parts: Sequence[Part],
    trained: list[CodecInfo],
    schema: Schema,
    pace: Pace = no_pace,
    *,
    growing: bool = False,
) -> dict[tuple[str, str], StoredCodec]:
    """The codec of each representation of the rows of all parts.

    A trained codec serves until there are at least twice the rows it was trained on, up to the
    most that one learns from, or rows are unlike these. One whose codes are all that there is of
    rows is not trained again: its codes are copied, byte for byte, and nothing could be learned
    from them.

    Args:
        store: the collection.
        parts: the rows to encode.
        trained: takes those that were trained just now, which nothing names yet.
        schema: the representations.
        pace: called now and then, with 0 bytes written.
        growing: whether more rows are to be expected, which codecs that learn now shall suit.

    Returns:
        (field, spec) -> codec, without fields that no row has.
    """
    infos = trained_codecs(store)
    budget = store.environment.options.memory_bytes_max // SAMPLE_SHARE
    newest = {(info.field, info.spec): info for info in infos}
    known = {info.id: info for info in infos}
    chosen: dict[tuple[str, str], StoredCodec] = {}
    for vector in schema.vectors:
        own = field_parts(parts, vector.name)
        count = sum(len(part.numbers) for part in own)
        for spec in vector.representations if count else ():
            codec, parsed = 0, parse_spec(spec, vector.dim)
            enough = sample_rows(count, vector.dim, budget, parsed)
            if parsed.trained:
                codec = _coded(parts, vector.name, spec)
                if codec in known and _outgrown(store, known[codec], own, enough):
                    codec = 0  # more is gained than is lost by coding codes again
            if parsed.trained and not codec:
                info = newest.get((vector.name, spec))
                growth = GROWTH_TOKENS if parsed.learns_from_tokens else GROWTH
                if (
                    info is None
                    or enough >= growth * info.rows
                    or _drifted(store, info, own, enough)
                ):
                    most = sample_rows(count, vector.dim, budget, parsed, growing=growing)
                    sample = sample_vectors(own, vector.name, most)
                    if isinstance(pace, Task):
                        pace.message = f"{vector.name}: {spec} learns from {most:,} vectors"
                    info = _train(store, vector, spec, sample, partial(pace, 0))
                    trained.append(info)
                codec = info.id
            chosen[vector.name, spec] = store.shelf.stored(vector.name, spec, codec)
    return chosen


def trained_codecs(store: CollectionStore) -> list[CodecInfo]:
    """The trained codecs of a collection, oldest first."""
    with store.environment.kv.read() as txn:
        return codecs_of(txn, store.shelf.collection)


def _coded(parts: Sequence[Part], field: str, spec: str) -> int:
    """The codec that coded the most rows which have nothing finer; 0: there are no such rows."""
    counts: dict[int, int] = {}
    for source, rows in parts:
        codec = source.codec_id(field, spec)
        if codec and source.specs(field)[-1] == spec:
            counts[codec] = counts.get(codec, 0) + row_codes(source, field, rows)
    return max(counts, key=lambda codec: (counts[codec], codec), default=0)


def _outgrown(
    store: CollectionStore, info: CodecInfo, parts: Sequence[FieldPart], enough: int
) -> bool:
    """Whether a codec that made most of the codes is not to make those of the other rows."""
    if parse_spec(info.spec, info.dim).learns_from_tokens:
        return enough >= GROWTH_TOKENS * info.rows
    return _drifted(store, info, parts, enough)


def _drifted(
    store: CollectionStore, info: CodecInfo, parts: Sequence[FieldPart], enough: int
) -> bool:
    """Whether the rows of all parts want another codec, and can teach it."""
    spec = parse_spec(info.spec, info.dim)
    if not spec.drifts:
        return False
    if spec.learns_from_tokens and sum(len(part.numbers) for part in parts) < tokens_min(spec):
        return False
    codec = store.shelf.stored(info.field, info.spec, info.id).codec
    found = drift(codec, sample_vectors(parts, info.field, min(enough, DRIFT_ROWS)))
    most = DRIFT_MAX if spec.learns_from_tokens else CLIPPING_MAX
    return found is not None and found > most


def _train(
    store: CollectionStore, vector: Vector, spec: str, sample: Float32, rest: Rest
) -> CodecInfo:
    environment = store.environment
    number = take_number(environment, keys.NEXT_CODEC)
    try:
        with environment.guard():
            return store.shelf.train(number, vector, spec, sample, rest)
    except BaseException:
        environment.reclaimer.abandon([environment.paths.codec(number)])
        raise


def field_parts(parts: Iterable[Part], field: str) -> list[FieldPart]:
    """The codes of the rows of some parts that have a field."""
    return [
        FieldPart(source, code_rows(source, field, owners(source, field, rows)[1]))
        for source, rows in parts
    ]


def take_number(environment: Environment, counter: bytes) -> int:
    """A number that no file ever had, even one that a crash left behind."""
    with environment.writing() as txn:
        number = next_number(txn, counter)
    paths = environment.paths
    made = paths.segment(number) if counter == keys.NEXT_SEGMENT else paths.codec(number)
    environment.reclaimer.begin(made)
    return number


def made_paths(
    environment: Environment, segments: Iterable[int], codecs: Iterable[CodecInfo]
) -> list[Path]:
    """Where segments and codecs lie."""
    paths = environment.paths
    return [*map(paths.segment, segments), *(paths.codec(codec.id) for codec in codecs)]
