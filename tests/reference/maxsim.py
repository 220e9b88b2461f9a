"""What the kernels of late interaction do, in NumPy: slow and obvious.

Shapes  N documents, T tokens, Q queries of n vectors, D dimensions, K centroids.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vecstore.types import Array, Float32, Float64, Int8, Int64, Uint8, Uint64


def runs(offsets: Uint64, tokens: int, budget: int | None) -> list[range]:
    """The tokens of each document that are read, none beyond the last token."""
    bounds = [min(int(offset), tokens) for offset in offsets]
    found = [range(start, stop) for start, stop in pairwise(bounds)]
    return [run[:budget] for run in found]


def id_tables(centroids: Uint8, queries: Int8) -> tuple[Uint8, Float64]:
    """Tables [Q, K, n rounded up to 32] of 256 steps, and factors [Q, 2]."""
    width = -(-queries.shape[1] // 32) * 32
    tables = np.zeros((len(queries), len(centroids), width), dtype=np.uint8)
    factors = np.zeros((len(queries), 2))
    for q, query in enumerate(queries.astype(np.int64)):
        dots = (centroids.astype(np.int64) - 128) @ query.T
        above = dots - dots.min(axis=0)
        span = int(above.max())
        step = np.float32(255) / np.float32(span) if span else np.float32(0)
        tables[q, :, : len(query)] = above.astype(np.float32) * step + np.float32(0.5)
        factors[q] = span / 255, dots.min(axis=0).sum()
    return tables, factors


def id_scores(documents: list[range], ids: Array, tables: Uint8, factors: Float64) -> Float32:
    """Scores [Q, N] by the ids [T] of tokens; an id beyond the last centroid counts as that one."""
    inside = np.minimum(ids, tables.shape[1] - 1)
    found = np.full((len(tables), len(documents)), -np.inf, dtype=np.float32)
    for q, (table, (step, offset)) in enumerate(zip(tables, factors, strict=True)):
        for d, run in enumerate(documents):
            if run:
                total = table[inside[run.start : run.stop]].max(axis=0).sum(dtype=np.int64)
                found[q, d] = np.float32(total) * np.float32(step) + np.float32(offset)
    return found


def octets(
    codes: Uint8, radix: int, dim: int, levels: Uint8, ids: Array | None, centroids: Uint8 | None
) -> Uint8:
    """What codes [T, B] stand for, [T, D]: a level for each digit, on top of a centroid."""
    if radix == 256:
        return codes
    size = codes.shape[1]
    found = np.zeros((len(codes), dim), dtype=np.uint8)
    for d in range(dim):
        byte, place = codes[:, d % size].astype(np.int64), d // size
        if radix == 3:  # of the fraction byte / 256, the highest first
            digits = byte * 3 ** (place + 1) // 256 % 3
        else:
            digits = byte // radix**place % radix
        found[:, d] = levels[digits]
    if ids is None or centroids is None:
        return found
    return found + centroids[np.minimum(ids, len(centroids) - 1)]


def octet_scores(
    documents: list[range],
    tokens: Uint8,
    inverses: Float32,
    queries: Int8,
    steps: Float64,
) -> Float32:
    """Scores [Q, N] of tokens [T, D] as octets, with the inverse [T] of each."""
    found = []
    for query, step in zip(queries.astype(np.int64), steps, strict=True):
        dots = query @ (tokens.astype(np.int64) - 128).T
        scores = dots.astype(np.float32) * inverses
        found.append(row_scores(documents, scores) * np.float32(step))
    return np.array(found, dtype=np.float32).reshape(len(queries), len(documents))


def float_scores(documents: list[range], values: Array, queries: Float32) -> Float32:
    """Scores [Q, N] of float tokens [T, D], summed over one dimension after the other."""
    found = []
    for query in queries:
        scores = np.zeros((len(query), len(values)), dtype=np.float32)
        for d in range(values.shape[1]):
            scores += query[:, d, None] * values[:, d].astype(np.float32)
        found.append(row_scores(documents, scores))
    return np.array(found, dtype=np.float32).reshape(len(queries), len(documents))


def row_scores(documents: list[range], scores: Float32) -> Float32:
    """Scores [N] from those of every token with every query vector, [n, T]."""
    found = np.full(len(documents), -np.inf, dtype=np.float32)
    for d, run in enumerate(documents):
        if run:
            total = np.float32(0)
            for best in scores[:, run.start : run.stop].max(axis=1):
                total += best
            found[d] = total
    return found


def best(scores: Float32, allowed: Uint64 | None, span: range, keep: int) -> Int64:
    """The best documents of a span that have tokens and are allowed, in total order."""
    found = [
        d
        for d in span
        if scores[d] > -np.inf and (allowed is None or int(allowed[d // 64]) >> d % 64 & 1)
    ]
    return np.array(sorted(found, key=lambda d: (-scores[d], d))[:keep], dtype=np.int64)
