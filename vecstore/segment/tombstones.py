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


def prune(chunks: Mapping[int, bytes], first: int, last: int, present: Uint64) -> dict[int, bytes]:
    """The chunks that change when seqs that no row has are forgotten, as they are then.

    Args:
        chunks: chunk number -> bitmap.
        first: the first seq of the range that is looked at.
        last: the last one.
        present: uint64 [n], ascending: the seqs that rows in that range have; others are cleared.

    Returns:
        chunk number -> bitmap, or b"" where it has no seq left and is to be deleted.
    """
    changed = {}
    for chunk in chunks:
        base = chunk * CHUNK_SEQS
        start, stop = max(first - base, 0), min(last + 1 - base, CHUNK_SEQS)
        if start >= stop:
            continue
        dead = _bits(chunks[chunk])
        kept = dead.copy()
        kept[start:stop] = 0
        bounds = np.array([base + start, base + stop], dtype=np.uint64)
        near = slice(*np.searchsorted(present, bounds).tolist())
        inside = (present[near] - np.uint64(base)).astype(np.int64)
        kept[inside] = dead[inside]
        if not kept.any():
            changed[chunk] = b""
        elif not np.array_equal(kept, dead):
            changed[chunk] = np.packbits(kept, bitorder="little").tobytes()
    return changed


def _bits(chunk: bytes) -> Uint8:
    if len(chunk) != CHUNK_BYTES:
        raise CorruptionError(f"a tombstone chunk has {len(chunk)} bytes, expected {CHUNK_BYTES}")
    return np.unpackbits(np.frombuffer(chunk, dtype=np.uint8), bitorder="little")
