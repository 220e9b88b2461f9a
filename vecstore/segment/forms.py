"""The arrays that codes become in a component.

Shapes  n rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vecstore.codec import Codec
from vecstore.errors import CorruptionError
from vecstore.segment.layout import Arrays, Form
from vecstore.segment.ragged import little_endian
from vecstore.segment.stream import Shape
from vecstore.types import Array

# How many rows share an item of an array at most; see `codec/table.py`.
GROUP_ROWS = 64


def code_forms(codec: Codec, count: int) -> dict[str, Form]:
    """The arrays that the codes of `count` rows become."""
    group = codec.pack(np.zeros((GROUP_ROWS, codec.code_bytes), dtype=np.uint8))
    return {
        name: Shape(little_endian(array).dtype, (_items(array, count), *array.shape[1:]))
        for name, array in group.items()
    }


def check_forms(arrays: Arrays, forms: Mapping[str, Form], where: str) -> None:
    """Raise CorruptionError unless arrays of these forms are there; `where` holds them."""
    for name, form in forms.items():
        array = arrays.get(name)
        if array is None:
            raise CorruptionError(f"{where} has no array {name!r}")
        if (array.dtype, array.shape) != (form.dtype, form.shape):
            raise CorruptionError(
                f"array {name!r} in {where} is {array.dtype} {list(array.shape)}, expected "
                f"{form.dtype} {list(form.shape)}"
            )


def _items(array: Array, count: int) -> int:
    """How many items of an array, of which there are so many for a group of rows, `count` take."""
    return -(-count * len(array) // GROUP_ROWS)
