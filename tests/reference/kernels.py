"""What the kernels compute, in NumPy: slow, obvious, and equal bit for bit.

Shapes  N rows, Q queries, D dimensions, B bytes of a row's codes, P rotated dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vecstore.types import Array, Bool, Float32, Float64, Int8, Int64, Uint8, Uint32, Uint64

LANES = 16


def lane_sum(terms: Float32) -> Float32:
    """Sum float32 terms [..., D] in the kernels' order: sixteen partial sums, then pairwise."""
    spare = -terms.shape[-1] % LANES
    padded = np.concatenate([terms, np.zeros((*terms.shape[:-1], spare), np.float32)], axis=-1)
    sums = np.zeros((*terms.shape[:-1], LANES), dtype=np.float32)
    for start in range(0, padded.shape[-1], LANES):
        sums = sums + padded[..., start : start + LANES]
    for width in (8, 4, 2, 1):
        sums = sums[..., :width] + sums[..., width:]
    total: Float32 = sums[..., 0]
    return total


def flat_scores(values: Array, queries: Float32, l2: bool) -> Float32:
    """Scores [Q, N] of float rows [N, D] against queries [Q, D]."""
    rows = values.astype(np.float32)
    if l2:
        difference = queries[:, None] - rows[None]
        return np.float32(0) - lane_sum(difference * difference)
    return lane_sum(queries[:, None] * rows[None])


def octet_dots(codes: Uint8, digits: Int8) -> Int64:
    """Inner products [Q, N] of codes [N, B] and query integers of two digits [Q, 2, B]."""
    wide = digits.astype(np.int64)
    integers = 128 * wide[:, 0] + wide[:, 1]
    return integers @ codes.astype(np.int64).T


def nibble_dots(codes: Uint8, digits: Int8) -> Int64:
    """The same for two dimensions a byte, low nibble first."""
    wide = digits.astype(np.int64)
    low, high = (codes & 15).astype(np.int64), (codes >> 4).astype(np.int64)
    return wide[:, 0] @ low.T + wide[:, 1] @ high.T


def packed_dots(codes: Uint8, tables: Uint8, rows: int) -> Int64:
    """Sums [Q, N] of the table entries [Q, 2 B, 16] that codes [ceil(N / 16), B, 16] pick."""
    width = codes.shape[1]
    plain = codes.transpose(0, 2, 1).reshape(-1, width)[:rows]
    wide = tables.astype(np.int64)
    position = np.arange(width)
    return np.stack(
        [
            table[position, plain & 15].sum(axis=1)
            + table[width + position, plain >> 4].sum(axis=1)
            for table in wide
        ]
    ).reshape(len(tables), rows)


def looked_up_dots(codes: Uint8, tables: Uint8, rows: int) -> Int64:
    """Sums [Q, N] of the table entries [Q, B, 256] that codes [ceil(N / 64), B, 64] pick."""
    width = codes.shape[1]
    plain = codes.transpose(0, 2, 1).reshape(-1, width)[:rows]
    picked = tables.astype(np.int64)[:, np.arange(width), plain]
    dots: Int64 = picked.sum(axis=2)
    return dots


def products(vectors: Float32, books: Float32) -> Float32:
    """Products [N, M, K] of the parts of vectors [N, M * S] with codebooks [M, S, K]."""
    count, depth, columns = books.shape
    parts = vectors.reshape(len(vectors), count, depth)
    sums = np.zeros((len(vectors), count, columns), dtype=np.float32)
    for s in range(depth):
        sums = sums + parts[:, :, s, None] * books[None, :, s]
    return sums


def nearest(vectors: Float32, books: Float32, bias: Float32) -> Uint8:
    """The first column [N, M] of each codebook whose product plus bias [M, K] is largest."""
    return (products(vectors, books) + bias).argmax(axis=2).astype(np.uint8)


def affine_scores(
    dots: Int64,
    factors: Float64,
    scale: Float32 | None,
    norm: Float32 | None,
    shift: Float32 | None = None,
) -> Float32:
    """Scores [Q, N] from exact products [Q, N]; factors [Q, 4 or 5] as in `_kernels.octets`."""
    step, offset, query_norm = factors[:, 1:4].astype(np.float32).T[:, :, None]
    scores: Float32 = (2 * dots + factors[:, :1].astype(np.int64)).astype(np.float32) * step
    if scale is not None:
        scores = scores * scale
    if shift is not None:
        scores = scores + shift * factors[:, 4:].astype(np.float32)
    scores = scores + offset
    if norm is not None:
        scores = (scores + scores) - (norm + query_norm)
    return scores


def sign_scores(
    codes: Uint8, signs: Uint8, lengths: Float32, table: Float32, scale: Float32 | None, l2: bool
) -> Float32:
    """Scores [Q, N] of rows of bits [N, B] against bits of queries [Q, B]."""
    differing = np.unpackbits(codes[None] ^ signs[:, None], axis=2).sum(axis=2)
    scores: Float32 = table[differing] * lengths[:, None]
    if scale is not None:
        scores = scores * scale
    if l2 and scale is not None:
        scores = (scores + scores) - (scale * scale + (lengths * lengths)[:, None])
    return scores


def total_scores(
    terms: Sequence[Float32],
    gains: Sequence[Float32 | None],
    norm: Float32 | None,
    norms: Float32 | None,
) -> Float32:
    """Scores [Q, N] from those of each term."""
    scores = terms[0]
    for term, gain in zip(terms[1:], gains[1:], strict=True):
        scores = scores + term
        if gain is not None:
            scores = scores * gain
    if norm is not None and norms is not None:
        scores = (scores + scores) - (norm + norms[:, None])
    return scores


def best(
    scores: Float32, start: int, stop: int, allowed: Uint64 | None, keep: int
) -> tuple[Int64, Float32]:
    """The best allowed rows of [start, stop) and their scores [N], in total order."""
    rows = np.arange(start, stop)
    if allowed is not None:
        rows = rows[bits_of(allowed)[start:stop]]
    order = rows[np.lexsort((rows, -scores[rows]))][:keep]
    return order, scores[order]


def best_of_lists(
    scores: Float32, order: Uint32, spans: Int64, allowed: Uint64 | None, keep: int
) -> tuple[Int64, Float32]:
    """The best allowed rows of some spans [n, 2] of positions, whose scores are [N].

    `order` [N] is the row at each position.
    """
    by_row = np.full(len(order), -np.inf, dtype=np.float32)
    for start, stop in spans:
        by_row[order[start:stop]] = scores[start:stop]
    rows, found = best(by_row, 0, len(order), allowed, len(order))
    kept = np.flatnonzero(found > -np.inf)[:keep]
    return rows[kept], found[kept]


def bits_of(words: Uint64) -> Bool:
    """The bits of a bitmap, low bit of the first word first."""
    return np.unpackbits(words.view(np.uint8), bitorder="little").astype(np.bool_)


def hadamard(values: Float32) -> Float32:
    """Orthonormal Walsh-Hadamard transform of float32 values [N, 2^k]."""
    size = values.shape[1]
    distance = 1
    while distance < size:
        pairs = values.reshape(len(values), size // (2 * distance), 2, distance)
        values = np.stack(
            [pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2
        ).reshape(len(values), size)
        distance *= 2
    return values * np.float32(1 / np.sqrt(size))


def _mixed(values: Float32, turn: int) -> Float32:
    """Round `turn` without its signs; its own inverse but for the order of its two steps."""
    values = values.copy()
    power = 1 << (values.shape[1].bit_length() - 1)
    part = slice(values.shape[1] - power, None) if turn % 2 else slice(0, power)
    values[:, part] = hadamard(values[:, part])
    return values


def _halves(values: Float32) -> Float32:
    """Kac's step, where the Hadamard transform does not reach every value."""
    width = values.shape[1]
    if width & (width - 1) == 0:
        return values
    low, high = values[:, : width // 2], values[:, width // 2 :]
    return np.concatenate([low + high, low - high], axis=1) * np.float32(0.5**0.5)


def unit_lengths(vectors: Float32) -> tuple[Float32, Float64]:
    """Vectors [N, D] at unit length, zeros as zeros, and their squared lengths [N]."""
    wide = vectors.astype(np.float64)
    squares = (wide**2).cumsum(axis=1)[:, -1]
    lengths = np.where(squares > 0, np.sqrt(squares), 1)
    return (wide / lengths[:, None]).astype(np.float32), squares


def rotate(vectors: Float32, signs: Float32) -> Float32:
    """Rotate vectors [N, D] to [N, P]; signs [rounds, P]."""
    spare = signs.shape[1] - vectors.shape[1]
    values = np.concatenate([vectors, np.zeros((len(vectors), spare), np.float32)], axis=1)
    for turn, flips in enumerate(signs):
        values = _halves(_mixed(values * flips, turn))
    return values


def unrotate(rotated: Float32, signs: Float32, dim: int) -> Float32:
    """Undo `rotate`."""
    values = rotated
    for turn in reversed(range(len(signs))):
        values = _mixed(_halves(values), turn) * signs[turn]
    return np.ascontiguousarray(values[:, :dim])


def quantize(rotated: Float32, bits: int) -> tuple[Uint8, Float32]:
    """Codes [N, P] and factors [N, 3] of rotated vectors [N, P]; see `_kernels.quantize`."""
    rows = [_quantize_row(row, bits) for row in rotated]
    width = rotated.shape[1]
    codes = np.array([code for code, _ in rows], dtype=np.uint8).reshape(-1, width)
    return codes, np.array([factor for _, factor in rows], dtype=np.float32).reshape(-1, 3)


def _quantize_row(row: Float32, bits: int) -> tuple[Uint8, tuple[float, float, float]]:
    largest = np.abs(row).max()
    if largest < 2.0**-100:
        return np.zeros(len(row), dtype=np.uint8), (0.0, 0.0, 0.0)
    factor = np.float32(2.0 ** -int(np.floor(np.log2(np.float64(largest)))))
    x = row * factor
    top = 2**bits - 1

    def codes_at(step: np.float32) -> Int64:
        shifted = x * (np.float32(1) / step) + np.float32((top + 1) // 2)
        codes: Int64 = np.clip(shifted, np.float32(0), np.float32(top)).astype(np.int64)
        return codes

    def fit(codes: Int64) -> tuple[float, float]:
        odd = 2 * codes - top
        return float(lane_sum(x * (odd * 0.5).astype(np.float32))), float((odd * odd).sum()) / 4

    finest, coarsest = {1: (1.0, 1.0), 2: (0.40, 0.85), 4: (0.65, 1.0), 8: (0.86, 1.0)}[bits]
    f32 = np.float32
    whole = f32(largest * factor) / f32(2 ** (bits - 1))
    tries = [
        whole * (f32(finest) + (f32(coarsest) - f32(finest)) * (f32(i) / f32(7)))
        for i in range(1 if bits == 1 else 8)
    ]
    chosen = codes_at(tries[0])
    dot, norm = fit(chosen)

    def consider(step: np.float32) -> None:
        nonlocal chosen, dot, norm
        codes = codes_at(step)
        new_dot, new_norm = fit(codes)
        if new_dot * new_dot / new_norm > dot * dot / norm:
            chosen, dot, norm = codes, new_dot, new_norm

    for step in tries[1:]:
        consider(step)
    if bits > 1:
        consider(f32(dot / norm))
    squared = float(lane_sum(x * x))
    tangent2 = max(squared * norm / (dot * dot) - 1, 0.0)
    back = 1 / float(factor)
    error = float(np.sqrt(tangent2 * squared / (len(row) - 1))) * back
    return chosen.astype(np.uint8), (squared / dot * back, error, squared * back * back)


def packed_queries(rotated: Float32, bits: int) -> tuple[Array, Float64]:
    """Tables [Q, 2 * B, 16] and factors [Q, 4] of rotated queries [Q, P]."""
    largest, run = {1: (1, 4), 2: (3, 2)}[bits]
    per_nibble = 4 // bits
    # Bytes b, b + 4, ... of a run of units of four bytes add up in 8 bits.
    queries, width, per_byte = len(rotated), rotated.shape[1] * bits // 8, 8 // bits
    runs = -(-width // (4 * run))
    entries = np.zeros((queries, runs * 4 * run, per_byte))
    entries[:, :width] = np.abs(rotated.reshape(queries, width, per_byte))
    lanes = entries.reshape(queries, runs, run, 4, per_byte).transpose(0, 1, 3, 2, 4)
    sums = lanes.reshape(queries, 4 * runs, run * per_byte).cumsum(axis=2)[:, :, -1]
    added = sums.max(axis=1, initial=0)
    steps = added * largest / (255 - largest * run * per_byte / 2)
    steps = np.where(steps > 1e-37, steps, 1.0)
    integers = np.rint(rotated / steps[:, None]).astype(np.int64)
    shifts = np.arange(0, 4, bits)
    values = np.arange(16)[None, :] >> shifts[:, None] & (2**bits - 1)  # [dimensions, 16]
    sums = integers.reshape(len(integers), rotated.shape[1] // per_nibble, per_nibble) @ values
    lowest = sums.min(axis=2, keepdims=True)
    tables = np.concatenate([(sums - lowest)[:, 0::2], (sums - lowest)[:, 1::2]], axis=1)
    bias = 2 * lowest.sum(axis=(1, 2)) - (2**bits - 1) * integers.sum(axis=1)
    norms = (rotated.astype(np.float64) ** 2).cumsum(axis=1)[:, -1]
    factors = np.stack([bias, steps / 2, np.zeros(len(steps)), norms], axis=1)
    return tables.astype(np.uint8), factors
