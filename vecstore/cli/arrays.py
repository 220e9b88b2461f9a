"""Reads .npy and .npz files."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from vecstore.errors import RequestError
from vecstore.tokens import Tokens
from vecstore.types import Array


def load_array(path: Path) -> Array:
    """The array in a .npy file, mapped: read where it is used.

    Raises:
        RequestError: the file holds no array, or one of Python objects.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, BadZipFile):
        found = None
    if not isinstance(found, np.ndarray):
        raise RequestError(
            f"{path} is not one whole array of numbers or text, expected a file that numpy.save "
            "wrote (without Python objects)"
        )
    return found


def load_tokens(path: Path) -> Tokens:
    """The tokens in a .npz file of `vectors`, `offsets` and, where it is there, `salience`.

    Raises:
        RequestError: the file holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (ValueError, EOFError, BadZipFile, TypeError, AttributeError):
        found = {}
    vectors, offsets = found.get("vectors"), found.get("offsets")
    if vectors is None or offsets is None or vectors.ndim != 2 or offsets.ndim != 1:
        raise RequestError(
            f"{path} has no arrays 'vectors' (T, D) and 'offsets' (N + 1,), expected a file that "
            "numpy.savez(path, vectors=..., offsets=...) wrote"
        )
    return Tokens(vectors, offsets, found.get("salience"))
