"""Deleted seqs: bitmaps of 32,000 seqs each.

    chunk c   4,000 bytes; bit i (the lowest of a byte first) is seq 32,000 c + i

With its checksum a chunk fits one page of LMDB, so that a delete writes few of them. Chunks are
numbered in 32 bits, which leaves room for 10**14 seqs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vecstore.errors import CorruptionError
from vecstore.types import Bool, Uint8, Uint64

CHUNK_SEQS = 32_000
CHUNK_BYTES = CHUNK_SEQS // 8


def add_seqs(chunks: Mapping[int, bytes], seqs: Uint64) -> dict[int, bytes]:
    """The chunks that change when seqs are deleted, as they are then.

    Args:
        chunks: chunk number -> bitmap, at least those of `seqs` that exist.
        seqs: uint64 [n] in any order; deleting one again changes nothing.
    """
    numbers = seqs // np.uint64(CHUNK_SEQS)
    changed = {}
    for chunk in np.unique(numbers).tolist():
        inside = (seqs[numbers == chunk] - np.uint64(chunk * CHUNK_SEQS)).astype(np.int64)
        dead = _bits(chunks[chunk]) if chunk in chunks else np.zeros(CHUNK_SEQS, dtype=np.uint8)
        dead[inside] = 1
        changed[chunk] = np.packbits(dead, bitorder="little").tobytes()
    return changed


def dead_mask(chunks: Mapping[int, bytes], seqs: Uint64) -> Bool:
    """Which seqs were deleted.

    Args:
        chunks: chunk number -> bitmap; a chunk that is missing has no deleted seq.
        seqs: uint64 [N], ascending.

    Returns:
        bool [N].
    """
    dead = np.zeros(len(seqs), dtype=np.bool_)
    if not len(seqs):
        return dead
    first, last = int(seqs[0]) // CHUNK_SEQS, int(seqs[-1]) // CHUNK_SEQS
    near = np.array([chunk for chunk in chunks if first <= chunk <= last], dtype=np.uint64)
    starts = np.searchsorted(seqs, near * np.uint64(CHUNK_SEQS))
    stops = np.searchsorted(seqs, (near + np.uint64(1)) * np.uint64(CHUNK_SEQS))
    for chunk, start, stop in zip(near.tolist(), starts, stops, strict=True):
        if start < stop:
            inside = (seqs[start:stop] - np.uint64(chunk * CHUNK_SEQS)).astype(np.int64)
            dead[start:stop] = _bits(chunks[chunk])[inside]
    return dead


def _bits(chunk: bytes) -> Uint8:
    if len(chunk) != CHUNK_BYTES:
        raise CorruptionError(f"a tombstone chunk has {len(chunk)} bytes, expected {CHUNK_BYTES}")
    return np.unpackbits(np.frombuffer(chunk, dtype=np.uint8), bitorder="little")
