"""Segments in place of other segments, in one commit.

    manifest      names the new ones
    tombstones    of rows that the new ones do not have are forgotten
    codecs        those that are new are named; those that nothing uses any more are not
    schema        where it changes

Rows that were deleted while the new segments were written are in them, and dead: tombstones go by
seq, so that they hold wherever a row moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vecstore.ingest.commit import Change
from vecstore.schema import Schema
from vecstore.segment.catalog import CodecInfo, CollectionInfo, alter_jobs
from vecstore.segment.codecs import codecs_of, put_info
from vecstore.segment.load import load_snapshot, segment_of
from vecstore.segment.manifest import ManifestEdit, SegmentInfo, apply, codecs_in_use, to_bytes
from vecstore.segment.reader import Segment
from vecstore.segment.snapshot import Live, Snapshot
from vecstore.segment.tombstones import prune
from vecstore.storage import keys
from vecstore.storage.kv import Txn
from vecstore.types import Uint64

if TYPE_CHECKING:
    from vecstore.ingest.store import CollectionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Which segments take the place of which.

    Attributes:
        removed: ids of segments that are read no more.
        added: new ones, with live rows of those. Their files are on disk.
        codecs: trained codecs that they were written with and that nothing names yet.
        schema: the new schema, where it changes.
        live: by how much the number of live records changes.
        also: what else is to be written in the same commit.
    """

    removed: frozenset[int]
    added: tuple[SegmentInfo, ...]
    codecs: tuple[CodecInfo, ...] = ()
    schema: Schema | None = None
    live: int = 0
    also: Callable[[Txn], None] | None = None


class Retired(NamedTuple):
    """What a commit no longer names."""

    segments: Sequence[Segment]
    codecs: Sequence[int]
    txn: int


def apply_swap(store: CollectionStore, change: Change, swap: Swap) -> Retired:
    """Write a swap; returns what is to be removed once it is committed."""
    before, txn = change.after, change.txn
    for codec in swap.codecs:
        put_info(txn, codec)
    edit = ManifestEdit(added=swap.added, removed=swap.removed, live=swap.live)
    manifest = apply(before.manifest, edit)
    txn.put(keys.MANIFESTS, keys.collection_key(store.id), to_bytes(manifest))
    if swap.also is not None:
        swap.also(txn)
    info = before.info
    if swap.schema is not None:
        info = CollectionInfo(info.id, info.name, swap.schema, info.altered + 1)
        txn.put(keys.COLLECTIONS, keys.name_key(info.name), info.to_bytes())
    opened = {item.id: segment_of(store.environment, store.shelf, item) for item in swap.added}
    forget_dead(store.id, change, _spans(before, swap, opened))
    if swap.schema is not None:  # the write buffer may be stored otherwise from now on
        change.after = load_snapshot(store.environment, store.shelf, txn, before)
    else:
        tombstones, clock = change.after.tombstones, store.environment.clock
        lives = {
            item.id: live
            for item, live in zip(before.manifest.segments, before.segments, strict=True)
        }
        lives |= {key: Live(item, tombstones, clock=clock) for key, item in opened.items()}
        segments = tuple(lives[item.id] for item in manifest.segments)
        change.after = replace(change.after, manifest=manifest, segments=segments)
    unused = [] if store.sealed is not None else _drop_unused(txn, change.after)
    return Retired([*_removed(before, swap)], unused, txn.id)


class Span(NamedTuple):
    """Seqs from the first to the last, of which only `present` (ascending) are left."""

    first: int
    last: int
    present: Uint64


def forget_dead(collection: int, change: Change, spans: Iterable[Span]) -> None:
    """Clear the tombstones of seqs that no row has any more."""
    tombstones = dict(change.after.tombstones)
    for span in spans:
        for chunk, bits in prune(tombstones, *span).items():
            key = keys.chunk_key(collection, chunk)
            if bits:
                tombstones[chunk] = bits
                change.txn.put(keys.TOMBSTONES, key, bits)
            else:
                del tombstones[chunk]
                change.txn.delete(keys.TOMBSTONES, key)
    change.after = replace(change.after, tombstones=tombstones)


def _spans(before: Snapshot, swap: Swap, opened: dict[int, Segment]) -> Iterable[Span]:
    """One span for each run of adjacent segments that go: no other segment has seqs in it."""
    added = sorted(swap.added, key=lambda item: item.seq_min)
    for gone, group in groupby(before.manifest.segments, lambda item: item.id in swap.removed):
        if not gone:
            continue
        run = list(group)
        first, last = run[0].seq_min, run[-1].seq_max
        present = [opened[item.id].seqs for item in added if first <= item.seq_min <= last]
        yield Span(first, last, np.concatenate([np.empty(0, dtype=np.uint64), *present]))


def _drop_unused(txn: Txn, after: Snapshot) -> list[int]:
    """Name the codecs no more that no segment uses and no flush would."""
    jobs = alter_jobs(txn)
    used = set(codecs_in_use([after.manifest, *(job.manifest() for job in jobs.values())]))
    used |= after.buffer_codecs
    infos = codecs_of(txn, after.info)
    newest = {(info.field, info.spec): info.id for info in infos}
    for vector in after.info.schema.vectors:
        used |= {newest.get((vector.name, spec), 0) for spec in vector.representations}
    unused = [info.id for info in infos if info.id not in used]
    for codec in unused:
        txn.delete(keys.CODECS, keys.codec_key(codec))
    return unused


def _removed(before: Snapshot, swap: Swap) -> Iterable[Segment]:
    for item, live in zip(before.manifest.segments, before.segments, strict=True):
        if item.id in swap.removed:
            assert isinstance(live.source, Segment)
            yield live.source
