"""Codes as FORMAT.md describes them, turned to vectors without the code of vecstore."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]
U64 = (1 << 64) - 1


def decoded(spec: str, form: tuple[int, str], trained: Arrays, codes: Arrays) -> Any:
    """Vectors back from codes; `form`: dimensions and metric."""
    dim, metric = form
    transform, _, kind = spec.rpartition("/")
    kept = int(transform.removeprefix("prefix").removeprefix("pca") or dim)
    if kind.startswith("float"):
        found = codes["values"].astype(np.float64)
    elif kind == "int8":
        found = trained["low"] + trained["step"] * codes["codes"].astype(np.float64)
    elif kind.startswith("lvq"):
        found = of_lvq(kind, kept, codes) + trained["mean"]
    elif kind.startswith("bits"):
        found = of_bits(int(kind.removeprefix("bits")), (kept, metric), codes)
    else:
        found = of_planes(kind, (kept, metric), codes)
    if (kind in ("float16", "int8") or kind.startswith("lvq")) and metric == "cosine":
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        found = found / np.where(lengths == 0, 1, lengths)
    if transform.startswith("pca"):
        return found @ trained["basis"].T
    return np.pad(found, [(0, 0), (0, dim - kept)])


def of_bits(bits: int, form: tuple[int, str], codes: Arrays) -> Any:
    dim, metric = form
    found = []
    size = -(-dim // 64) * 64
    for row, scale in enumerate(codes["scale"].tolist()):
        y = integers(codes, bits, row) - (2**bits - 1) / 2
        error = float((codes["error"][row : row + 1].astype("<u4") << 16).view("<f4")[0])
        squared = scale**2 * (y @ y) - error**2 * (size - 1)
        if metric == "l2":
            squared = float(codes["norm"][row])
        if metric == "cosine":
            squared = float(scale > 0)
        turned = rotated_back(y, dim)
        found.append(turned / np.linalg.norm(turned) * math.sqrt(max(squared, 0)))
    return np.array(found)


def of_lvq(kind: str, dim: int, codes: Arrays) -> Any:
    width, found = codes["scale"].astype(np.float64)[:, None], codes["shift"][:, None]
    for name, bits in zip(("codes", "residual"), map(int, kind[3:].split("x")), strict=False):
        shifts = np.arange(0, 8, bits)
        values = (codes[name][:, :, None] >> shifts & 2**bits - 1).reshape(len(found), -1)[:, :dim]
        found = found + width * (values - (2**bits - 1) / 2)
        width = width / (2 ** int(kind[-1]) - 1)
    return found


def of_planes(kind: str, form: tuple[int, str], codes: Arrays) -> Any:
    dim, metric = form
    found = []
    for row in range(len(codes["codes" if kind == "sign" else "scale"])):
        plane = codes["codes"][row] if kind == "sign" else codes["codes"][row // 16, :, row % 16]
        y = 2.0 * np.unpackbits(plane, bitorder="little") - 1
        length = 1.0 if metric == "cosine" else float(codes["scale"][row])
        if kind != "sign":
            length = float(codes["scale"][row] > 0 if metric == "cosine" else codes["norm"][row])
            y = y * codes["scale"][row]
        for u in range(1, int(kind[4:] or 1)):
            plane = codes[f"codes{u}"][row // 16, :, row % 16]
            b = 2.0 * np.unpackbits(plane, bitorder="little") - 1
            y = (y + codes[f"scale{u}"][row] * b) * codes[f"gain{u}"][row]
        turned = rotated_back(y, dim)
        length = length if kind == "sign" else math.sqrt(length)
        found.append(turned / (np.linalg.norm(turned) or 1) * length)
    return np.array(found)


def integers(codes: Arrays, bits: int, row: int) -> Any:
    stored = codes["codes"]
    packed = stored[row // 16, :, row % 16] if bits <= 2 else stored[row]
    shifts = np.arange(0, 8, bits)
    return (packed[:, None] >> shifts & 2**bits - 1).reshape(-1).astype(np.float64)


def word(seed: int, index: int) -> int:
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & U64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & U64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & U64
    return z ^ z >> 31


@cache
def signs(dim: int, r: int) -> Any:
    size, seed = -(-dim // 64) * 64, 0x76656373746F7265 + dim
    bits = [word(seed, r * size // 64 + d // 64) >> d % 64 & 1 for d in range(size)]
    return 1.0 - 2.0 * np.array(bits)


def hadamard(x: Any) -> Any:
    h, step = len(x), 1
    x = x.copy()
    while step < h:
        pairs = x.reshape(-1, 2, step)
        pairs[:] = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        step *= 2
    return x / math.sqrt(h)


def mixed(x: Any) -> Any:
    a, b = np.split(x, 2)
    return np.concatenate([a + b, a - b]) / math.sqrt(2)


def rotated(x: Any) -> Any:
    dim, size = len(x), -(-len(x) // 64) * 64
    x = np.concatenate([x, np.zeros(size - dim)])
    h = 1 << size.bit_length() - 1
    for r in range(4):
        x = x * signs(dim, r)
        part = slice(size - h, size) if r % 2 else slice(0, h)
        x[part] = hadamard(x[part])
        if h < size:
            x = mixed(x)
    return x


def rotated_back(x: Any, dim: int) -> Any:
    size = len(x)
    h = 1 << size.bit_length() - 1
    for r in reversed(range(4)):
        if h < size:
            x = mixed(x)
        x = x.copy()
        part = slice(size - h, size) if r % 2 else slice(0, h)
        x[part] = hadamard(x[part])
        x = x * signs(dim, r)
    return x[:dim]
