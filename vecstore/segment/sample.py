"""The vectors that codebooks and coarse centroids learn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vecstore import options
from vecstore.codec import Spec
from vecstore.codec.centroid_training import sample_of_tokens
from vecstore.segment.codecs import SEED
from vecstore.segment.encode import FieldPart, decoded
from vecstore.types import Float32

_FLOAT_BYTES = 4
TOKENS_SHARE = 4


def sample_rows(
    count: int, dim: int, budget: int, spec: Spec | None = None, *, growing: bool = False
) -> int:
    """Of `count` rows, how many to learn from, where vectors [D] may take `budget` bytes.

    A codec of tokens may learn from TOKENS_SHARE times as many: it takes little more than these.
    """
    most, share = min(count, options.TRAINING_ROWS_MAX), 1
    if spec is not None and spec.learns_from_tokens:
        most, share = sample_of_tokens(spec, count, growing=growing), TOKENS_SHARE
    return min(most, max(1, share * budget // (_FLOAT_BYTES * dim)))


def sample_vectors(parts: Sequence[FieldPart], field: str, most: int) -> Float32:
    """Evenly spread vectors, float32 [n, D], n <= most, of all rows of some parts, at least one."""
    return np.concatenate([decoded(part, field) for part in sample_parts(parts, most)])


def sample_parts(parts: Sequence[FieldPart], most: int) -> list[FieldPart]:
    """Evenly spread rows, so many or all, of all rows of some parts, at least one.

    One at random, always the same, of each run of rows: where kinds of rows take turns, a sample of
    every so many would have one kind.
    """
    count = sum(len(part.numbers) for part in parts)
    most = min(most, count)
    bounds = np.arange(most + 1) * count // most
    picked = bounds[:-1] + np.random.default_rng(SEED).integers(np.diff(bounds))
    found = []
    before = 0
    for part in parts:
        first, last = np.searchsorted(picked, [before, before + len(part.numbers)])
        if first < last:
            found.append(part._replace(numbers=part.numbers[picked[first:last] - before]))
        before += len(part.numbers)
    return found
