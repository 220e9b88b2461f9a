"""Random rows and queries of every family of kernels, and what the twins make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.reference import kernels as twin
from vecstore.kernels import _kernels
from vecstore.types import Float32, Float64, Uint64

VARIANTS = _kernels.variants()


@dataclass(frozen=True)
class Case:
    """Scorers of the same rows and queries, one for each variant, and the twin's scores."""

    scores: Float32
    scorers: list[_kernels.Scorer]


def tied(rng: np.random.Generator, shape: tuple[int, ...]) -> Float32:
    """Values of which many are equal, so that scores tie."""
    return rng.choice(np.array([-1.5, -0.25, 0.0, 0.25, 1, 3], dtype=np.float32), shape)


def flat_case(rng: np.random.Generator, rows: int, queries: int, l2: bool) -> Case:
    dim = int(rng.integers(1, 70))
    draw = tied if rng.random() < 0.5 else (lambda r, s: r.standard_normal(s, dtype=np.float32))
    values = draw(rng, (rows, dim)).astype("f2" if rng.random() < 0.5 else "f4")
    asked = draw(rng, (queries, dim))
    return Case(
        twin.flat_scores(values, asked, l2),
        [_kernels.flat(values, asked, l2, name) for name in VARIANTS],
    )


def affine_factors(
    rng: np.random.Generator, rows: int, queries: int, l2: bool
) -> tuple[Float64, Float32, Float32 | None]:
    factors = rng.standard_normal((queries, 4))
    factors[:, 0] = rng.integers(-(2**20), 2**20, queries)
    norm = np.abs(tied(rng, (rows,))) if l2 else None
    return factors, tied(rng, (rows,)), norm


def dense_case(rng: np.random.Generator, rows: int, queries: int, l2: bool) -> Case:
    width = int(rng.integers(1, 200))
    kernel, dots = (
        (_kernels.octets, twin.octet_dots)
        if rng.random() < 0.5
        else (_kernels.nibbles, twin.nibble_dots)
    )
    codes = rng.integers(0, 256, (rows, width), dtype=np.uint8)
    digits = rng.integers(-128, 128, (queries, 2, width), dtype=np.int8)
    factors, scale, norm = affine_factors(rng, rows, queries, l2)
    chosen = scale if rng.random() < 0.5 else None
    shift = None
    if rng.random() < 0.5:
        shift = tied(rng, (rows,))
        factors = np.concatenate([factors, rng.standard_normal((queries, 1))], axis=1)
    return Case(
        twin.affine_scores(dots(codes, digits), factors, chosen, norm, shift),
        [kernel(codes, digits, factors, chosen, norm, name, shift) for name in VARIANTS],
    )


def packed_case(rng: np.random.Generator, rows: int, queries: int, l2: bool) -> Case:
    width = 4 * int(rng.choice([1, 2, 3, 6, 12, 32, 33, 80]))
    codes = rng.integers(0, 256, (-(-rows // 16), width, 16), dtype=np.uint8)
    # Entries of a byte add up to 255 at most; with 31, those of four bytes do, which is faster.
    largest = int(rng.choice([31, 127]))
    tables = rng.integers(0, largest + 1, (queries, 2 * width, 16), dtype=np.uint8)
    factors, scale, norm = affine_factors(rng, rows, queries, l2)
    chosen = without_factors(rng, scale, norm, rows, 16)
    return Case(
        twin.affine_scores(twin.packed_dots(codes, tables, rows), factors, chosen, norm),
        [_kernels.packed(codes, tables, factors, chosen, norm, name) for name in VARIANTS],
    )


def without_factors(
    rng: np.random.Generator, scale: Float32, norm: Float32 | None, rows: int, group: int
) -> Float32 | None:
    """The scale, or none where rows can still be counted."""
    return None if (norm is not None or rows % group == 0) and rng.random() < 0.5 else scale


def looked_up_case(rng: np.random.Generator, rows: int, queries: int, l2: bool) -> Case:
    width = int(rng.choice([1, 2, 7, 48, 300]))
    codes = rng.integers(0, 256, (-(-rows // 64), width, 64), dtype=np.uint8)
    tables = rng.integers(0, 256, (queries, width, 256), dtype=np.uint8)
    factors, scale, norm = affine_factors(rng, rows, queries, l2)
    chosen = without_factors(rng, scale, norm, rows, 64)
    return Case(
        twin.affine_scores(twin.looked_up_dots(codes, tables, rows), factors, chosen, norm),
        [_kernels.looked_up(codes, tables, factors, chosen, norm, name) for name in VARIANTS],
    )


def signs_case(rng: np.random.Generator, rows: int, queries: int, l2: bool) -> Case:
    width = 8 * int(rng.choice([1, 2, 6, 17]))
    codes = rng.integers(0, 256, (rows, width), dtype=np.uint8)
    signs = rng.integers(0, 256, (queries, width), dtype=np.uint8)
    lengths = rng.random(queries, dtype=np.float32)
    table = rng.standard_normal(8 * width + 1, dtype=np.float32)
    scale = tied(rng, (rows,)) if l2 or rng.random() < 0.5 else None
    return Case(
        twin.sign_scores(codes, signs, lengths, table, scale, l2),
        [_kernels.signs(codes, signs, lengths, table, scale, l2, name) for name in VARIANTS],
    )


def total_case(rng: np.random.Generator, rows: int, queries: int, l2: bool) -> Case:
    families = rng.choice([flat_case, dense_case, packed_case, signs_case], rng.integers(1, 4))
    terms = [family(rng, rows, queries, rng.random() < 0.5) for family in families]
    gains = [
        tied(rng, (rows,)) if place and rng.random() < 0.5 else None for place in range(len(terms))
    ]
    norm, norms = (tied(rng, (rows,)), tied(rng, (queries,))) if l2 else (None, None)
    return Case(
        twin.total_scores([term.scores for term in terms], gains, norm, norms),
        [
            _kernels.total(list(scorers), gains, norm, norms)
            for scorers in zip(*(term.scorers for term in terms), strict=True)
        ],
    )


FAMILIES = [flat_case, dense_case, packed_case, looked_up_case, signs_case, total_case]
Family = Callable[[np.random.Generator, int, int, bool], Case]


def bitmap(rng: np.random.Generator, rows: int) -> Uint64 | None:
    """Allowed rows: all, none in some words, few, or many."""
    if rng.random() < 0.3:
        return None
    mask = rng.random(-(-rows // 64) * 64) < rng.choice([0.02, 0.3, 0.95])
    mask &= np.repeat(rng.random(len(mask) // 64) < 0.7, 64)
    return np.packbits(mask, bitorder="little").view(np.uint64)
