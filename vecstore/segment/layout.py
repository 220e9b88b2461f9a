"""The directory of named arrays, and where they lie; what packed values and components share."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgspec
import numpy as np

from vecstore.errors import CorruptionError, FormatVersionError
from vecstore.types import Array, Uint8

Arrays: TypeAlias = Mapping[str, Array]

FORMAT_VERSION = 1
BLOCK_BYTES = 1 << 16
HEADER = struct.Struct("<8sIIQQ")
MAGIC = b"VSCOMP\r\n"
ALIGN = 64
CRC = np.dtype("<u4")
DTYPES = frozenset(
    {"|b1", "|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"}
)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An array in a directory; `dtype` as NumPy writes it, such as "<f4"."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Directory(msgspec.Struct, frozen=True, array_like=True):
    """What the arrays mean, and which there are."""

    kind: str
    entries: list[Entry]


class Form(Protocol):
    """What is known of an array before it is there; an array is one, too."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Little-endian."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """At most 8 lengths."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies: bytes [start, start + used), padded to `padded` bytes.

    `crc` is where the checksums of its blocks begin in the table of all.
    """

    entry: Entry
    start: int
    used: int
    padded: int
    crc: int

    @property
    def blocks(self) -> int:
        """How many blocks it is cut into."""
        return -(-self.padded // BLOCK_BYTES)


def plain(array: Array) -> Array:
    """The array little-endian and in C order, whatever it was."""
    found = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    assert found.dtype.str in DTYPES, found.dtype
    return found


def make_directory(kind: str, forms: Mapping[str, Form]) -> bytes:
    """The directory of some arrays, which `plain` may have made."""
    entries = [Entry(name, form.dtype.str, form.shape) for name, form in forms.items()]
    return msgspec.msgpack.encode(Directory(kind, entries))


def parse_directory(data: bytes, length: int, where: str) -> Directory:
    """The inverse of `make_directory`; CorruptionError for anything else."""
    try:
        if len(data) != length:
            raise ValueError("it is cut short")
        return msgspec.msgpack.decode(data, type=Directory)
    except (ValueError, msgspec.MsgspecError) as error:
        raise CorruptionError(f"the directory of {where} is damaged: {error}") from error


def place_arrays(
    directory: Directory, start: int, align: int, where: str
) -> tuple[list[Place], int]:
    """Where the arrays lie that begin at `start`, and where they end."""
    places: list[Place] = []
    crc = 0
    for entry in directory.entries:
        if entry.dtype not in DTYPES or len(entry.shape) > 8 or min(entry.shape, default=0) < 0:
            raise CorruptionError(f"{where} has an array {entry} of unknown form")
        used = math.prod(entry.shape) * np.dtype(entry.dtype).itemsize
        places.append(Place(entry, start, used, aligned(used, align), crc))
        start += places[-1].padded
        crc += places[-1].blocks
    if len({place.entry.name for place in places}) != len(places):
        raise CorruptionError(f"{where} has two arrays of one name")
    return places, start


def view_array(data: Uint8, place: Place, where: str) -> Array:
    """One array of `data`, read-only; CorruptionError where it cannot be."""
    entry = place.entry
    try:
        found: Array = np.ndarray(
            entry.shape, np.dtype(entry.dtype), data[place.start : place.start + place.used]
        )
    except (TypeError, ValueError) as error:
        raise CorruptionError(f"{where} has an array {entry} that cannot be: {error}") from error
    found.flags.writeable = False
    # NumPy trusts bools to be 0 or 1.
    if entry.dtype == "|b1" and found.size and found.view(np.uint8).max() > 1:
        raise CorruptionError(f"array {entry.name!r} of {where} holds bools other than 0 and 1")
    return found


def check_magic(magic: bytes, expected: bytes, version: int, where: str) -> None:
    """Raise what a wrong magic or version deserves."""
    if magic != expected:
        raise CorruptionError(f"{where} starts with {magic!r}, expected {expected!r}")
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"{where} has format version {version}, this vecstore reads up to {FORMAT_VERSION}; "
            "open it with a newer vecstore"
        )
    if version < 1:
        raise CorruptionError(f"{where} has format version {version}")


def aligned(size: int, align: int) -> int:
    """`size` rounded up to a multiple of `align`."""
    return -(-size // align) * align


def gap(size: int, align: int) -> bytes:
    """The zeros that fill `size` up to a multiple of `align`."""
    return bytes(-size % align)
