"""FORMAT.md is enough: a reader written from it alone reads what vecstore wrote."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from vecstore.codec import build_codec, parse_spec
from vecstore.types import Array, Float64

FOLDER = Path(__file__).parent / "v1"
U64 = (1 << 64) - 1


def crc32c(data: bytes) -> int:
    table = []
    for start in range(256):
        entry = start
        for _ in range(8):
            entry = entry >> 1 ^ (0x82F63B78 if entry & 1 else 0)
        table.append(entry)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def arrays_of(
    data: bytes, start: int, length: int, align: int
) -> tuple[dict[str, Array], list[Any]]:
    """The arrays after a directory, and where each begins and ends with its padding."""
    directory = msgspec.msgpack.decode(data[start : start + length])
    place = -(-(start + length) // align) * align
    arrays, places = {}, []
    for name, dtype, shape in directory[1]:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        arrays[name] = np.frombuffer(data[place : place + size], dtype).reshape(shape)
        places.append((place, place + -(-size // align) * align))
        place = places[-1][1]
    return arrays, places


def test_component() -> None:
    """The drawn header, directory, blocks and checksums are those of the kept component."""
    data = (FOLDER / "component").read_bytes()
    magic, version, length, total, zero = struct.unpack_from("<8sIIQQ", data)
    assert (magic, version, total, zero) == (b"VSCOMP\r\n", 1, len(data), 0)
    arrays, places = arrays_of(data, 32, length, 64)
    assert arrays["seqs"].tolist() == [1, 2, 2**63]
    assert arrays["one"] == 7
    sums = [
        crc32c(data[block : min(block + 65_536, stop)])
        for start, stop in places
        for block in range(start, stop, 65_536)
    ]
    end = places[-1][1]
    assert data[end:-4] == struct.pack(f"<{len(sums)}I", *sums)
    assert data[-4:] == struct.pack("<I", crc32c(data[: places[0][0]] + data[end:-4]))


def test_packed() -> None:
    """The drawn header and directory are those of the kept packed arrays."""
    data = (FOLDER / "packed").read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version) == (b"VSA\0", 1)
    arrays, places = arrays_of(data, 12, length, 8)
    assert arrays["values"].tolist() == [[0.5, -1.25], [math.inf, 65504.0]]
    assert places[-1][1] == len(data)


def test_values() -> None:
    """Stored values have the drawn fields in the drawn order."""
    manifest = (FOLDER / "manifest").read_bytes()
    assert manifest[0] == 1
    (segment,), next_seq, live = msgspec.msgpack.decode(manifest[1:])
    assert (next_seq, live) == (2**63 + 1, 2)
    assert segment == [
        1,
        3,
        1,
        2**63,
        [["rows", 1000, 0xDEADBEEF]],
        [["text", 384, "cosine", 2, "presence-0", [["int8", "codes-0-0", 4]]]],
        [["year", "int", "column-0"]],
    ]
    collection = msgspec.msgpack.decode((FOLDER / "collection").read_bytes()[1:])
    fields = [["text", 384, "cosine", ["bits2", "float16"]]]
    assert collection == [0, [fields, [["tags", "list[keyword]"]]]]


def word(seed: int, index: int) -> int:
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & U64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & U64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & U64
    return z ^ z >> 31


def rotated(x: Float64) -> Float64:
    dim, size = len(x), -(-len(x) // 64) * 64
    x = np.concatenate([x, np.zeros(size - dim)])
    h = 1 << size.bit_length() - 1
    for r in range(4):
        for d in range(size):
            if word(0x76656373746F7265 + dim, r * size // 64 + d // 64) >> d % 64 & 1:
                x[d] = -x[d]
        part = x[size - h :] if r % 2 else x[:h]
        step = 1
        while step < h:
            pairs = part.reshape(-1, 2, step)
            pairs[:] = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
            step *= 2
        part /= math.sqrt(h)
        if h < size:
            a, b = x[: size // 2].copy(), x[size // 2 :].copy()
            x = np.concatenate([a + b, a - b]) / math.sqrt(2)
    return x


def integers(codes: Mapping[str, Array], bits: int, row: int) -> Float64:
    stored = codes["codes"]
    packed = stored[row // 16, :, row % 16] if bits <= 2 else stored[row]
    shifts = np.arange(0, 8, bits)
    found: Float64 = (packed[:, None] >> shifts & 2**bits - 1).reshape(-1).astype(np.float64)
    return found


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [64, 100])
def test_bits(bits: int, dim: int) -> None:
    """Rotated and unpacked as drawn, codes have the drawn scale, error and squared length."""
    rng = np.random.default_rng(bits)
    x = rng.standard_normal((20, dim)).astype(np.float32)
    codec = build_codec(parse_spec(f"bits{bits}", dim), dim, "l2", {})
    codes = codec.pack(codec.encode(x))
    size = -(-dim // 64) * 64
    for row in (0, 15, 16, 19):
        turned = rotated(x[row].astype(np.float64))
        y = integers(codes, bits, row) - (2**bits - 1) / 2
        norm, dot = turned @ turned, turned @ y
        assert norm == pytest.approx(x[row] @ x[row], rel=1e-5)
        assert codes["norm"][row] == pytest.approx(norm, rel=1e-5)
        assert codes["scale"][row] == pytest.approx(norm / dot, rel=1e-5)
        tangent = math.sqrt(norm * (y @ y) / dot**2 - 1)
        error = (codes["error"][row : row + 1].astype(np.uint32) << 16).view(np.float32)[0]
        expected = math.sqrt(norm / (size - 1)) * tangent
        assert expected * 0.999 <= error <= expected * 1.01


def test_int8() -> None:
    """Decoded as drawn, codes are within half a step of the vectors inside their ranges."""
    x = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    low, step = np.full(8, -4, dtype=np.float32), np.full(8, 8 / 255, dtype=np.float32)
    codec = build_codec(parse_spec("int8", 8), 8, "l2", {"low": low, "step": step})
    codes = codec.pack(codec.encode(x))
    decoded = low + step * codes["codes"]
    assert np.abs(decoded - x).max() <= step[0] * 0.501
    assert codes["norm"].tolist() == pytest.approx((decoded**2).sum(axis=1), rel=1e-5)
