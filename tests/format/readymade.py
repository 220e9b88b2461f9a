"""Ready-made codes and fingerprints, read from FORMAT.md alone: nothing of vecstore is imported."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]


def columns_of(spec: str, form: tuple[int, str], codes: Any) -> Arrays:
    """Ready-made codes as the arrays of a component."""
    kind = spec.rpartition("/")[2]
    if kind == "int8":
        return {"codes": codes}
    lengths = {"scale": "<f4", "error": "<u2"} | ({"norm": "<f4"} if form[1] == "l2" else {})
    width = codes.shape[1] - sum(np.dtype(dtype).itemsize for dtype in lengths.values())
    rows, place = codes[:, :width], width
    found: dict[str, Any] = {"codes": rows}
    if kind in ("bits1", "bits2"):
        groups = np.zeros((-(-len(rows) // 16), width, 16), np.uint8)
        for row, integers_of_row in enumerate(rows):
            groups[row // 16, :, row % 16] = integers_of_row
        found["codes"] = groups
    for name, dtype in lengths.items():
        stop = place + np.dtype(dtype).itemsize
        found[name] = np.ascontiguousarray(codes[:, place:stop]).view(dtype)[:, 0]
        place = stop
    return found


def fingerprint(spec: str, form: tuple[int, str], trained: Arrays) -> str:
    """What tells the codec of these dimensions and this metric from others."""
    text = f"vecstore codec 1\n{spec}\n{form[0]}\n{form[1]}\n".encode()
    for name in sorted(trained):
        array = trained[name]
        text += f"{name}\n{array.dtype.str}\n{','.join(map(str, array.shape))}\n".encode()
        text += array.tobytes()
    return hashlib.sha256(text).hexdigest()
