"""What tells one codec from another, wherever it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from vecstore.types import Array, Metric

_HEAD = "vecstore codec 1"  # another number where encoding changes


def fingerprint_of(spec: str, dim: int, metric: Metric, params: Mapping[str, Array]) -> str:
    """Return 64 hexadecimal digits: equal for codecs that make equal codes of equal vectors.

    Args:
        spec: the representation, canonical.
        dim: dimensions D of the vectors.
        metric: what scores estimate.
        params: what the codec learned; empty where nothing is trained.
    """
    digest = hashlib.sha256(f"{_HEAD}\n{spec}\n{dim}\n{metric}\n".encode())
    for name, array in sorted(params.items()):
        values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        shape = ",".join(map(str, array.shape))
        digest.update(f"{name}\n{values.dtype.str}\n{shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
