"""Flush: the write buffer becomes a segment.

    live rows of all blocks -> codecs (trained now where a representation needs it) -> files
    -> one commit that names segment and codecs and empties "buffer" -> the new snapshot

A crash before the commit leaves files that nothing names; the next open removes them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vecstore import options
from vecstore.codec import parse_spec
from vecstore.schema import Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.buffer import live_content
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.codecs import CodecShelf, put_info
from vecstore.segment.environment import Environment
from vecstore.segment.load import open_segment
from vecstore.segment.manifest import ManifestEdit, apply, to_bytes
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
    info = shelf.collection
    segment = None
    trained: list[CodecInfo] = []
    if parts:
        rows = Rows.concat(parts)
        number = _take(environment, keys.NEXT_SEGMENT)
        codecs, trained = choose_codecs(environment, shelf, rows)
        segment = write_segment(
            environment.files, environment.paths, number, rows, info.schema, codecs
        )
    added = () if segment is None else (segment,)
    manifest = apply(before.manifest, ManifestEdit(added=added))
    with environment.kv.write() as txn:
        for codec in trained:
            put_info(txn, codec)
        txn.put(keys.MANIFESTS, keys.collection_key(info.id), to_bytes(manifest))
        txn.delete_range(keys.BUFFER, *keys.collection_range(info.id))
        commit = txn.id
    opened = tuple(
        Live(open_segment(environment, shelf, item), before.tombstones) for item in added
    )
    return replace(
        before, manifest=manifest, segments=before.segments + opened, blocks=(), txn=commit
    )


def choose_codecs(
    environment: Environment, shelf: CodecShelf, rows: Rows
) -> tuple[dict[tuple[str, str], StoredCodec], list[CodecInfo]]:
    """The codec of each representation, and those among them that were trained just now.

    A trained codec serves until a flush has at least twice the rows it was trained on, or
    TRAINING_ROWS_MAX were enough for it.
    """
    with environment.kv.read() as txn:
        newest = {(info.field, info.spec): info for info in shelf.infos(txn)}
    chosen: dict[tuple[str, str], StoredCodec] = {}
    trained: list[CodecInfo] = []
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
    return chosen, trained


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
