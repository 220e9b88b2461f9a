"""Write a component piece by piece, so that it never has to be in memory as a whole.

The places of all arrays follow from their shapes, which are known at first; then pieces come in
any order between arrays, but within an array from its beginning to its end:

    codes   |--- piece 1 ---|--- piece 4 ---|
    scale   |- piece 2 -|- piece 5 -|            each is written at its place, and its bytes go
    ids     |------ piece 3 ------|              into the checksum of the block they belong to
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from vecstore.errors import StorageError
from vecstore.segment.layout import (
    ALIGN,
    BLOCK_BYTES,
    CRC,
    FORMAT_VERSION,
    HEADER,
    MAGIC,
    Arrays,
    Form,
    Place,
    aligned,
    gap,
    make_directory,
    parse_directory,
    place_arrays,
    plain,
)
from vecstore.segment.manifest import ComponentInfo
from vecstore.storage.checksum import crc32c
from vecstore.storage.files import FileSystem, FileWriter
from vecstore.types import Array, Uint8

Pace: TypeAlias = Callable[[int], None]
"""Called with the bytes just written; may sleep, or raise to give up."""


def no_pace(written: int) -> None:
    """As fast as the disk takes it."""


class Shape(NamedTuple):
    """The form of an array that comes in pieces."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def stream_component(
    files: FileSystem,
    path: Path,
    kind: str,
    forms: Mapping[str, Form],
    pieces: Iterable[tuple[str, Array]],
    pace: Pace = no_pace,
) -> ComponentInfo:
    """Write a component from pieces of its arrays and sync it.

    Args:
        files: where to.
        path: a file that does not exist.
        kind: what the arrays mean; `Component.open` is told what to expect.
        forms: the arrays in order, each little-endian and of at most 8 dimensions.
        pieces: names and pieces; those of one array end to end are its bytes in C order.
        pace: called after each piece. Where it raises, what was written so far stays behind.
    """
    head, places, end = plan_component(kind, forms)
    total = end + CRC.itemsize * (sum(place.blocks for place in places) + 1)
    file = files.create(path, total)
    try:
        file.write_at(0, head)
        streams = {place.entry.name: _Stream(file, place) for place in places}
        for name, piece in pieces:
            pace(streams[name].append(plain(piece).reshape(-1).view(np.uint8)))
        table = [crc for stream in streams.values() for crc in stream.finish()]
        tail = np.array(table, dtype=CRC).tobytes()
        own = crc32c(tail, crc32c(head))
        file.write_at(end, tail + own.to_bytes(CRC.itemsize, "little"))
    except BaseException:
        with suppress(StorageError):  # the first error says more
            file.abandon()
        raise
    file.close()
    return ComponentInfo(name=path.name, bytes=total, crc=own)


def plan_component(kind: str, forms: Mapping[str, Form]) -> tuple[bytes, list[Place], int]:
    """What stands before the arrays of a component, where they lie, and where they end."""
    directory = make_directory(kind, forms)
    start = aligned(HEADER.size + len(directory), ALIGN)
    parsed = parse_directory(directory, len(directory), kind)
    places, end = place_arrays(parsed, start, ALIGN, kind)
    total = end + CRC.itemsize * (sum(place.blocks for place in places) + 1)
    head = HEADER.pack(MAGIC, FORMAT_VERSION, len(directory), total, 0) + directory
    return head + gap(len(head), ALIGN), places, end


def write_component(files: FileSystem, path: Path, kind: str, arrays: Arrays) -> ComponentInfo:
    """Write whole arrays as a component and sync it; see `stream_component`."""
    stored = {name: plain(array) for name, array in arrays.items()}
    return stream_component(files, path, kind, stored, stored.items())


class _Stream:
    """One array of a component under way."""

    def __init__(self, file: FileWriter, place: Place) -> None:
        self._file = file
        self._place = place
        self._filled = 0
        self._crcs: list[int] = []  # of the blocks begun so far

    def append(self, data: Uint8) -> int:
        """Write the next bytes; returns how many."""
        if len(data):
            self._file.write_at(self._place.start + self._filled, data)
            self._check(data)
        return len(data)

    def finish(self) -> list[int]:
        """Write the padding; returns the checksums of all blocks."""
        assert self._filled == self._place.used, (self._place, self._filled)
        self.append(np.zeros(self._place.padded - self._place.used, dtype=np.uint8))
        return self._crcs

    def _check(self, data: Uint8) -> None:
        done = 0
        while done < len(data):
            inside = self._filled % BLOCK_BYTES
            piece = data[done : done + BLOCK_BYTES - inside]
            if inside:
                self._crcs[-1] = crc32c(piece, self._crcs[-1])
            else:
                self._crcs.append(crc32c(piece))
            done += len(piece)
            self._filled += len(piece)
