r"""Named arrays as bytes: packed in one value, or as a file of their own, a component (stream.py).

Both hold a directory, [kind, [[name, dtype, shape], ...]] in MessagePack, and then the arrays in
its order: little-endian, C order, each begun at the next multiple of the alignment, gaps zero.

    packed     alignment 8, lengths in bytes
        0   4  magic "VSA\\0"
        4   4  format version, u32
        8   4  length of the directory, u32
       12   .  directory, zeros up to a multiple of 8, arrays

    component  alignment 64
        0   8  magic "VSCOMP\\r\\n"
        8   4  format version, u32
       12   4  length of the directory, u32
       16   8  length of the file, u64
       24   8  zero
       32   .  directory, zeros up to a multiple of 64
        .   .  arrays, the last one also padded to a multiple of 64
        .  4b  CRC32C of each block, u32: each padded array is cut into blocks of 65,536 bytes,
               its last block may be shorter; b blocks in the order of the arrays
        .   4  CRC32C of everything before and after the arrays: the component's own checksum

What is not checked on open is covered by the blocks, which are checked when first read. So every
bit is covered once, and a component can be named by its length and its own checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from vecstore.errors import CorruptionError
from vecstore.kernels import _kernels
from vecstore.segment.layout import (
    ALIGN,
    BLOCK_BYTES,
    CRC,
    FORMAT_VERSION,
    HEADER,
    MAGIC,
    Arrays,
    Place,
    aligned,
    check_magic,
    gap,
    make_directory,
    parse_directory,
    place_arrays,
    plain,
    view_array,
)
from vecstore.segment.manifest import ComponentInfo
from vecstore.storage.checksum import crc32c
from vecstore.storage.files import FileSystem, expect, fetch
from vecstore.types import Array, Bool, Int64, Uint8, Uint32

# So few blocks of an array are not left to be verified later: sooner done than kept track of.
SMALL_BLOCKS = 16
# At least so many rows, of which one in so many is read, are read in order, not here and there.
DENSE_ROWS_MIN, DENSE_GAP = 1_024, 8
_PACKED = struct.Struct("<4sII")
_PACKED_MAGIC = b"VSA\0"
_PACKED_ALIGN = 8
_BLOCK_BYTES = np.array(BLOCK_BYTES)  # arithmetic with an array is faster than with an int


def pack_arrays(arrays: Arrays) -> bytes:
    """Arrays as one value; the inverse of `unpack_arrays`."""
    stored = {name: plain(array) for name, array in arrays.items()}
    directory = make_directory("", stored)
    chunks = [_PACKED.pack(_PACKED_MAGIC, FORMAT_VERSION, len(directory)), directory]
    chunks.append(gap(_PACKED.size + len(directory), _PACKED_ALIGN))
    for array in stored.values():
        chunks += array.tobytes(), gap(array.nbytes, _PACKED_ALIGN)
    return b"".join(chunks)


def unpack_arrays(buffer: bytes) -> dict[str, Array]:
    """The arrays of one value, as read-only views of it.

    Raises:
        FormatVersionError: a newer version wrote it.
        CorruptionError: it is not what pack_arrays makes.
    """
    where = "a packed value"
    if len(buffer) < _PACKED.size:
        raise CorruptionError(f"{where} has {len(buffer)} bytes, expected {_PACKED.size} or more")
    magic, version, length = _PACKED.unpack_from(buffer)
    check_magic(magic, _PACKED_MAGIC, version, where)
    start = _PACKED.size + length
    directory = parse_directory(buffer[_PACKED.size : start], length, where)
    places, end = place_arrays(directory, aligned(start, _PACKED_ALIGN), _PACKED_ALIGN, where)
    if end != len(buffer):
        raise CorruptionError(f"{where} has {len(buffer)} bytes, expected {end}")
    data = np.frombuffer(buffer, dtype=np.uint8)
    return {place.entry.name: view_array(data, place, where) for place in places}


class Component:
    """A component, mapped. Its blocks are verified when first touched.

    Threads may share one.
    """

    __slots__ = (
        "_arrays",
        "_crcs",
        "_data",
        "_pending",
        "_places",
        "_row_bytes",
        "bytes",
        "path",
        "scattered",
        "verified",
    )

    def __init__(self, path: Path, data: Uint8, places: list[Place], crcs: Uint32) -> None:
        self.path = path
        self.bytes = len(data)
        # Names of arrays with no block left to verify: the one look-up of a touch on the hot path.
        self.verified: set[str] = {place.entry.name for place in places if not place.padded}
        self._data = data
        self._places = {place.entry.name: place for place in places}
        self._crcs = crcs
        self._pending: dict[str, Bool] = {
            place.entry.name: np.ones(place.blocks, dtype=np.bool_) for place in places
        }
        self._arrays = {place.entry.name: view_array(data, place, str(path)) for place in places}
        # What a touch of rows computes with.
        self._row_bytes = {name: _row_bytes(array) for name, array in self._arrays.items()}
        self.scattered = False  # whether rows were last read here and there

    @classmethod
    def open(
        cls, files: FileSystem, path: Path, kind: str, info: ComponentInfo | None
    ) -> Component:
        """Map a component and check all but its arrays.

        Args:
            files: where it lies.
            path: the file.
            kind: what it must hold.
            info: what was written; None where the file has to speak for itself.

        Raises:
            FormatVersionError: a newer version wrote it; only where the file speaks for itself.
            CorruptionError: it is damaged, another file than was written, or missing.
            StorageError: it cannot be read.
        """
        data = files.map(path)
        where = str(path)
        size = info.bytes if info is not None else len(data)
        if len(data) != size or size < HEADER.size + CRC.itemsize:
            raise CorruptionError(f"{where} has {len(data)} bytes, expected {size}")
        magic, version, length, total, _ = HEADER.unpack(data[: HEADER.size].tobytes())
        if info is not None and version > FORMAT_VERSION:  # a newer one would say so in "meta"
            raise CorruptionError(f"{where} has format version {version}, unlike its database")
        check_magic(magic, MAGIC, version, where)
        if total != size:
            raise CorruptionError(f"{where} has {size} bytes, its header says {total}")
        packed = data[HEADER.size : HEADER.size + length].tobytes()
        directory = parse_directory(packed, length, where)
        start = aligned(HEADER.size + length, ALIGN)
        places, end = place_arrays(directory, start, ALIGN, where)
        if end + CRC.itemsize * (sum(place.blocks for place in places) + 1) != size:
            raise CorruptionError(f"{where} has {size} bytes, its directory says otherwise")
        table = np.frombuffer(data[end:].tobytes(), dtype=CRC)
        own = crc32c(data[end : -CRC.itemsize], crc32c(data[:start]))
        if own != table[-1] or (info is not None and own != info.crc):
            raise CorruptionError(f"the checksum of {where} does not match")
        if directory.kind != kind:
            raise CorruptionError(f"{where} is a {directory.kind!r} component, expected {kind!r}")
        return cls(path, data, places, table[:-1])

    @property
    def arrays(self) -> Arrays:
        """Every array by its name, read-only views of the map that are not verified yet."""
        return self._arrays

    def array(self, name: str) -> Array:
        """One array, not verified yet.

        Raises:
            CorruptionError: there is none of that name.
        """
        found = self._arrays.get(name)
        if found is None:
            raise CorruptionError(f"{self.path} has no array {name!r}")
        return found

    def whole(self, name: str) -> Array:
        """One array, verified."""
        found = self.array(name)
        self.touch(name)
        return found

    def expect(self, rows: Int64 | None) -> None:
        """Say which rows are read next, or all; only how fast they are read depends on it."""
        scattered = rows is not None and not _dense(rows)
        if scattered is not self.scattered:
            self.scattered = scattered
            expect(self._data, scattered=scattered)

    def touch(self, name: str, rows: Int64 | None = None) -> None:
        """Verify the blocks of an array that hold some rows of its first axis, or all.

        Raises:
            CorruptionError: a block changed after it was written, or there is no such array.
        """
        if name in self.verified:
            return
        self.array(name)
        if rows is None:
            self._verify(name, np.flatnonzero(self._pending[name]))
            return
        row_bytes, inside = self._row_bytes[name]
        if np.count_nonzero(self._pending[name][(rows * row_bytes + inside) // _BLOCK_BYTES]):
            self.touch_spans(name, rows, rows + 1)

    def touch_spans(self, name: str, starts: Int64, stops: Int64) -> None:
        """Verify the blocks that hold the rows [start, stop) of each span.

        Raises:
            CorruptionError: a span lies outside of the array, or a block changed.
        """
        if name in self.verified or not len(starts):
            return
        array = self.array(name)
        length = len(array)
        if starts.min() < 0 or stops.max() > length or (starts > stops).any():
            raise CorruptionError(f"{self.path} reads outside of its array {name!r} [{length}]")
        row_bytes = array.nbytes // length if length else 0
        pending = self._pending[name]
        # An empty span at the end of the array has no block of its own.
        first = np.minimum(starts * row_bytes // BLOCK_BYTES, len(pending) - 1)
        last = np.maximum((stops * row_bytes - 1) // BLOCK_BYTES, first)
        if (last - first).max() <= 1:
            wanted = np.zeros(len(pending), dtype=np.bool_)
            wanted[first] = wanted[last] = True
        else:
            depth = np.zeros(len(pending) + 1, dtype=np.int64)
            np.add.at(depth, first, 1)
            np.add.at(depth, last + 1, -1)
            wanted = np.cumsum(depth[:-1]) > 0
        wanted &= pending
        left = np.count_nonzero(pending) - np.count_nonzero(wanted)
        self._verify(name, np.flatnonzero(pending if left <= SMALL_BLOCKS else wanted))

    def verify(self, read: Callable[[int], None] | None = None) -> list[str]:
        """Check every block again, whatever was checked before; what is wrong, in words.

        Args:
            read: called with the bytes of each block that was checked.
        """
        return [text for _, _, text in self.damage(read)]

    def damage(self, read: Callable[[int], None] | None = None) -> Iterator[tuple[str, int, str]]:
        """The damaged blocks: name of the array, number, and what is wrong; see `verify`."""
        for name, pending in self._pending.items():
            for block in range(len(pending)):
                try:
                    self._check(name, block)
                except CorruptionError as error:
                    yield name, block, str(error)
                if read is not None:
                    read(min(BLOCK_BYTES, self._places[name].padded - block * BLOCK_BYTES))

    def _verify(self, name: str, blocks: Int64) -> None:
        # Threads may verify the same block twice, which is harmless.
        pending = self._pending[name]
        spans = list(self._spans(name, blocks))
        if self.scattered:  # nothing is read ahead: have it all read at a time
            for start, stop in spans:
                fetch(self._data, start, stop)
        for start, stop in spans:
            _kernels.read_pages(self._data[start:stop])
        for block in blocks:
            self._check(name, int(block))
            pending[block] = False
        if len(blocks) and not pending.any():
            self.verified.add(name)

    def _spans(self, name: str, blocks: Int64) -> Iterator[tuple[int, int]]:
        """Where blocks lie in the file, neighbours as one."""
        if len(blocks):
            ends = np.flatnonzero(np.diff(blocks) != 1)
            firsts, lasts = blocks[[0, *(ends + 1)]], blocks[[*ends, -1]]
            for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
                yield self._span(name, first)[0], self._span(name, last)[1]

    def _span(self, name: str, block: int) -> tuple[int, int]:
        """Where a block lies in the file."""
        place = self._places[name]
        start = place.start + block * BLOCK_BYTES
        return start, min(start + BLOCK_BYTES, place.start + place.padded)

    def _check(self, name: str, block: int) -> None:
        place = self._places[name]
        start, stop = self._span(name, block)
        if crc32c(self._data[start:stop]) != self._crcs[place.crc + block]:
            raise CorruptionError(
                f"block {block} of array {name!r} in {self.path} does not match its checksum"
            )


def _dense(rows: Int64) -> bool:
    """Whether rows are many, with few others between."""
    return len(rows) >= DENSE_ROWS_MIN and int(rows.max() - rows.min()) < DENSE_GAP * len(rows)


def _row_bytes(array: Array) -> tuple[Int64, Int64]:
    """Bytes of a row, and a column of places in it such that each block it meets holds one."""
    size = np.atleast_1d(array)[:1].nbytes
    return np.array(size), np.array([[*range(0, size, BLOCK_BYTES), max(size - 1, 0)]]).T
