"""Reads .npy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vecstore.errors import RequestError
from vecstore.types import Array


def load_array(path: Path) -> Array:
    """The array in a .npy file, mapped: read where it is used.

    Raises:
        RequestError: the file holds no array, or one of Python objects.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (ValueError, EOFError) as error:
        raise RequestError(
            f"{path} cannot be read ({error}), expected an array that numpy.save wrote"
        ) from None
