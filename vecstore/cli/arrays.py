"""Reads .npy files."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from vecstore.errors import RequestError
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
