"""Allowed rows as packed bits: what filters, tombstones and kernels pass to each other.

Bit i of word w stands for row 64 * w + i; bits beyond the last row are 0.

    row   0 1 2 ... 63 | 64 65 ...
    word  0            |  1            little-endian, least significant bit first
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecstore.types import Bool, Uint64


@dataclass(frozen=True, slots=True)
class Allowed:
    """Rows that a scan may return, as packed bits; `bits` None means all `count` rows."""

    bits: Uint64 | None
    count: int


def pack_mask(mask: Bool) -> Uint64:
    """Pack a mask [N] into words [ceil(N / 64)]."""
    packed = np.zeros(-(-len(mask) // 64) * 8, dtype=np.uint8)
    packed[: -(-len(mask) // 8)] = np.packbits(mask, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def unpack_mask(bits: Uint64, rows: int) -> Bool:
    """Unpack words [ceil(rows / 64)] into a mask [rows]."""
    octets = bits.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, count=rows, bitorder="little").view(np.bool_)
