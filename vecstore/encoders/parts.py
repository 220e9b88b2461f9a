"""What all encoders share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from vecstore.errors import MissingExtraError, RequestError
from vecstore.tokens import Tokens
from vecstore.types import Float32

T = TypeVar("T")


def missing(package: str) -> MissingExtraError:
    """The error of an encoder whose library is not installed."""
    return MissingExtraError(
        f"this encoder needs {package}, which is not installed; "
        "install it with: pip install 'vecstore[encoders]'"
    )


def batches(inputs: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Runs of at most so many inputs."""
    if size < 1:
        raise RequestError(f"batch_size is {size}, expected at least 1")
    return (inputs[start : start + size] for start in range(0, len(inputs), size))


def to_numpy(tensor: Any) -> Float32:
    """The values of a torch tensor, wherever it lies."""
    return np.asarray(tensor.detach().float().cpu().numpy(), dtype=np.float32)


def joined(sets: Sequence[Float32], dim: int, salience: Sequence[Float32] | None = None) -> Tokens:
    """The vectors of N inputs [t, D], end to end."""
    return Tokens.of_lengths(
        np.concatenate([np.empty((0, dim), dtype=np.float32), *sets]),
        [len(own) for own in sets],
        None if salience is None else np.concatenate([np.empty(0, dtype=np.float32), *salience]),
    )


def unit(vectors: Float32) -> Float32:
    """Vectors [t, D] at unit length; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
