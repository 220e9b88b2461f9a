"""Flush: the write buffer becomes a segment.

    live rows of all blocks -> codecs (trained now where a representation needs it) -> files
    -> one commit that names segment and codecs and empties "buffer" -> the new snapshot

A crash before the commit leaves files that nothing names; the next open removes them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from vecstore import options
from vecstore.codec import parse_spec
from vecstore.errors import StorageError
from vecstore.schema import Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.buffer import live_content
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.codecs import CodecShelf, codecs_of, put_info
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
from vecstore.segment.rows import Rows
from vecstore.segment.snapshot import Live, Snapshot
from vecstore.segment.writer import write_segment
from vecstore.storage import keys
from vecstore.types import Float16, Float32


def flush_blocks(environment: Environment, shelf: CodecShelf, before: Snapshot) -> Snapshot:
    """Write the blocks of a snapshot as a segment; returns the snapshot to publish.

    The caller holds the environment's lock. Rows that died in the buffer are left out.
    """
    parts = [part for part in map(live_content, before.blocks) if len(part)]
    number = _take(environment, keys.NEXT_SEGMENT) if parts else 0
    trained: list[CodecInfo] = []
    try:
        added: tuple[SegmentInfo, ...] = ()
        if parts:
            rows = Rows.concat(parts)
            codecs = choose_codecs(environment, shelf, rows, trained)
            files, paths, schema = environment.files, environment.paths, shelf.collection.schema
            added = (write_segment(files, paths, number, rows, schema, codecs),)
        manifest = apply(before.manifest, ManifestEdit(added=added))
        commit = _commit(environment, shelf, manifest, trained)
    except BaseException:
        _remove_unnamed(environment, shelf, number, trained)
        raise
    opened = tuple(Live(segment_of(environment, shelf, item), before.tombstones) for item in added)
    return replace(
        before,
        manifest=manifest,
        segments=before.segments + opened,
        blocks=(),
        txn=commit,
        buffer_bytes=0,
        buffer_batches=0,
    )


def _commit(
    environment: Environment, shelf: CodecShelf, manifest: Manifest, trained: list[CodecInfo]
) -> int:
    """Name the new files and empty the buffer; returns the number of the commit."""
    collection = shelf.collection.id
    with environment.kv.write() as txn:
        for codec in trained:
            put_info(txn, codec)
        txn.put(keys.MANIFESTS, keys.collection_key(collection), to_bytes(manifest))
        txn.delete_range(keys.BUFFER, *keys.collection_range(collection))
        return txn.id


def _remove_unnamed(
    environment: Environment, shelf: CodecShelf, segment: int, trained: list[CodecInfo]
) -> None:
    """Remove the files of a flush that failed, unless its commit was made after all."""
    # What cannot be removed now, the next open for writing removes.
    with suppress(StorageError):
        with environment.kv.read() as txn:
            stored = txn.get(keys.MANIFESTS, keys.collection_key(shelf.collection.id))
        manifest = Manifest() if stored is None else from_bytes(Manifest, stored)
        if segment and segment not in {info.id for info in manifest.segments}:
            environment.files.remove(environment.paths.segment(segment))
            for codec in trained:
                shelf.forget(codec)
                environment.files.remove(environment.paths.codec(codec.id))


def choose_codecs(
    environment: Environment, shelf: CodecShelf, rows: Rows, trained: list[CodecInfo]
) -> dict[tuple[str, str], StoredCodec]:
    """The codec of each representation; those that were trained just now are put in `trained`.

    A trained codec serves until a flush has at least twice the rows it was trained on, or
    TRAINING_ROWS_MAX were enough for it.
    """
    with environment.kv.read() as txn:
        newest = {(info.field, info.spec): info for info in codecs_of(txn, shelf.collection)}
    chosen: dict[tuple[str, str], StoredCodec] = {}
    for vector in shelf.collection.schema.vectors:
        values = rows.vectors[vector.name].values
        if not len(values):
            continue
        for spec in vector.representations:
            codec = 0
            if parse_spec(spec, vector.dim).trained:
                info = newest.get((vector.name, spec))
                enough = min(len(values), options.TRAINING_ROWS_MAX)
                if info is None or enough >= 2 * info.rows:
                    info = _train(environment, shelf, vector, spec, values)
                    trained.append(info)
                codec = info.id
            chosen[vector.name, spec] = shelf.stored(vector.name, spec, codec)
    return chosen


def _train(
    environment: Environment,
    shelf: CodecShelf,
    vector: Vector,
    spec: str,
    values: Float16 | Float32,
) -> CodecInfo:
    step = -(-len(values) // options.TRAINING_ROWS_MAX)
    sample = np.ascontiguousarray(values[::step], dtype=np.float32)
    return shelf.train(_take(environment, keys.NEXT_CODEC), vector, spec, sample)


def _take(environment: Environment, counter: bytes) -> int:
    """A number that no file ever had, even one that a crash left behind."""
    with environment.kv.write() as txn:
        return next_number(txn, counter)
