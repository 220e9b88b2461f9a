"""From LMDB to a snapshot: at open, and again when a reader finds that the writer went on."""

from __future__ import annotations

from vecstore.errors import CorruptionError, NotFoundError
from vecstore.segment.base import Source
from vecstore.segment.buffer import append_rows, joined
from vecstore.segment.catalog import CollectionInfo
from vecstore.segment.codecs import CodecShelf
from vecstore.segment.environment import Environment
from vecstore.segment.format import unpack_arrays
from vecstore.segment.manifest import Manifest, SegmentInfo, from_bytes
from vecstore.segment.reader import Segment
from vecstore.segment.rows import Rows
from vecstore.segment.snapshot import Live, Snapshot
from vecstore.storage import keys
from vecstore.storage.kv import Txn


def load_snapshot(
    environment: Environment, shelf: CodecShelf, txn: Txn, known: Snapshot | None = None
) -> Snapshot:
    """The state of a collection that `txn` sees.

    Segments are named, not read. Of the write buffer only what `known`, an earlier snapshot, does
    not have is read, unless a flush or an `alter` came between.
    """
    info = _current(shelf.collection, txn)
    stored = txn.get(keys.MANIFESTS, keys.collection_key(info.id))
    if stored is None:
        raise CorruptionError(f"collection {info.name!r} has no manifest")
    manifest = from_bytes(Manifest, stored)
    start, stop = keys.collection_range(info.id)
    clock = environment.clock
    tombstones = {
        keys.parse_chunk_key(key)[1]: value for key, value in txn.scan(keys.TOMBSTONES, start, stop)
    }
    blocks: tuple[Live, ...] = ()
    size = count = 0
    oldest: bytes | None = None
    codecs: frozenset[int] = frozenset()
    if known is not None and _only_grew(known, manifest, info, txn):
        blocks = tuple(Live(live.source, tombstones, clock=clock) for live in known.blocks)
        size, count, oldest = known.buffer_bytes, known.buffer_batches, known.buffer_key
        codecs = known.buffer_codecs
        start = keys.buffer_key(info.id, known.manifest.next_seq)
    batches = []
    for key, value in txn.scan(keys.BUFFER, start, stop):
        oldest = oldest or key
        batches.append(Rows.from_arrays(unpack_arrays(value), info.schema))
        size, count, codecs = size + len(value), count + 1, codecs | batches[-1].codecs
    for rows in joined(batches):
        blocks = append_rows(blocks, rows, shelf.codec_of, tombstones, clock)
    return Snapshot(
        info=info,
        manifest=manifest,
        segments=tuple(
            Live(_source(environment, shelf, item, known), tombstones, clock=clock)
            for item in manifest.segments
        ),
        blocks=blocks,
        tombstones=tombstones,
        txn=txn.id,
        buffer_bytes=size,
        buffer_batches=count,
        buffer_key=oldest,
        buffer_codecs=codecs,
    )


def segment_of(environment: Environment, shelf: CodecShelf, segment: SegmentInfo) -> Segment:
    """A segment of this database; nothing of it is read yet."""
    return Segment(
        environment.files,
        environment.paths.segment(segment.id),
        segment,
        shelf.load,
        shelf.collection.schema,
    )


def _only_grew(known: Snapshot, manifest: Manifest, info: CollectionInfo, txn: Txn) -> bool:
    """Whether LMDB still holds the write buffer that `known` has, and at most more.

    A flush takes the oldest batch away, and an `alter` that stores batches again is counted.
    Segments alone tell of neither: they may come and go in between.
    """
    return (
        known.manifest.segments == manifest.segments
        and known.info.altered == info.altered
        and known.buffer_key is not None
        and txn.has(keys.BUFFER, known.buffer_key)
    )


def _current(info: CollectionInfo, txn: Txn) -> CollectionInfo:
    """The collection as `txn` sees it, which `alter` may have changed."""
    stored = txn.get(keys.COLLECTIONS, keys.name_key(info.name))
    found = None if stored is None else CollectionInfo.from_bytes(info.name, stored)
    if found is None or found.id != info.id:
        raise NotFoundError(f"no collection {info.name!r}; it was dropped")
    return found


def _source(
    environment: Environment, shelf: CodecShelf, segment: SegmentInfo, known: Snapshot | None
) -> Source:
    """A segment as an earlier snapshot has it open, or opened now."""
    if known is not None:
        for info, live in zip(known.manifest.segments, known.segments, strict=True):
            if info.id == segment.id:
                return live.source
    return segment_of(environment, shelf, segment)
