r"""Named arrays as bytes: packed in one value, or as a file of their own, a component.

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
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vecstore.errors import CorruptionError, StorageError
from vecstore.segment.layout import (
    BLOCK_BYTES,
    FORMAT_VERSION,
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
from vecstore.storage.files import FileSystem
from vecstore.types import Array, Bool, Int64, Uint8, Uint32

# An array of no more blocks is verified whole when first touched: sooner done than kept track of.
SMALL_BLOCKS = 16
_PACKED = struct.Struct("<4sII")
_PACKED_MAGIC = b"VSA\0"
_PACKED_ALIGN = 8
_HEADER = struct.Struct("<8sIIQQ")
_MAGIC = b"VSCOMP\r\n"
_ALIGN = 64
_CRC = np.dtype("<u4")


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


def write_component(files: FileSystem, path: Path, kind: str, arrays: Arrays) -> ComponentInfo:
    """Write arrays as a component and sync it.

    Args:
        files: where to.
        path: a file that does not exist.
        kind: what the arrays mean; `Component.open` is told what to expect.
        arrays: at most 8 dimensions each.
    """
    stored = {name: plain(array) for name, array in arrays.items()}
    directory = make_directory(kind, stored)
    padded = [aligned(array.nbytes, _ALIGN) for array in stored.values()]
    blocks = sum(-(-size // BLOCK_BYTES) for size in padded)
    start = aligned(_HEADER.size + len(directory), _ALIGN)
    total = start + sum(padded) + _CRC.itemsize * (blocks + 1)
    head = _HEADER.pack(_MAGIC, FORMAT_VERSION, len(directory), total, 0) + directory
    head += gap(len(head), _ALIGN)
    own = 0

    def chunks() -> Iterator[bytes | Uint8]:
        nonlocal own
        yield head
        table: list[int] = []
        for array in stored.values():
            yield from _blocks(array, table)
        tail = np.array(table, dtype=_CRC).tobytes()
        own = crc32c(tail, crc32c(head))
        yield tail + own.to_bytes(_CRC.itemsize, "little")

    written = files.write(path, chunks())
    assert written == total
    return ComponentInfo(name=path.name, bytes=total, crc=own)


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
        "bytes",
        "path",
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
            FormatVersionError: a newer version wrote it.
            CorruptionError: it is damaged, another file than was written, or missing.
            StorageError: it cannot be read.
        """
        try:
            data = files.map(path)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise CorruptionError(f"{path} is missing") from error
            raise
        where = str(path)
        size = info.bytes if info is not None else len(data)
        if len(data) != size or size < _HEADER.size + _CRC.itemsize:
            raise CorruptionError(f"{where} has {len(data)} bytes, expected {size}")
        magic, version, length, total, _ = _HEADER.unpack(data[: _HEADER.size].tobytes())
        check_magic(magic, _MAGIC, version, where)
        if total != size:
            raise CorruptionError(f"{where} has {size} bytes, its header says {total}")
        packed = data[_HEADER.size : _HEADER.size + length].tobytes()
        directory = parse_directory(packed, length, where)
        start = aligned(_HEADER.size + length, _ALIGN)
        places, end = place_arrays(directory, start, _ALIGN, where)
        if end + _CRC.itemsize * (sum(place.blocks for place in places) + 1) != size:
            raise CorruptionError(f"{where} has {size} bytes, its directory says otherwise")
        table = np.frombuffer(data[end:].tobytes(), dtype=_CRC)
        own = crc32c(data[end : -_CRC.itemsize], crc32c(data[:start]))
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
        self.touch(name)
        return self.array(name)

    def touch(self, name: str, rows: Int64 | None = None) -> None:
        """Verify the blocks of an array that hold some rows of its first axis, or all.

        Raises:
            CorruptionError: a block changed after it was written.
        """
        if name in self.verified:
            return
        pending = self._pending[name]
        if rows is None:
            self._verify(name, np.flatnonzero(pending))
            return
        row_bytes = self.array(name).nbytes // max(len(self.array(name)), 1)
        first = rows * row_bytes
        last = first + max(row_bytes - 1, 0)
        # The hot path: a row of at most a block has two at most, which mostly are verified.
        if (
            row_bytes > BLOCK_BYTES
            or pending[first // BLOCK_BYTES].any()
            or pending[last // BLOCK_BYTES].any()
        ):
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
        if len(pending) <= SMALL_BLOCKS:
            self._verify(name, np.flatnonzero(pending))
            return
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
        self._verify(name, np.flatnonzero(wanted & pending))

    def verify(self) -> list[str]:
        """Check every block again, whatever was checked before; what is wrong, in words."""
        problems = []
        for name, pending in self._pending.items():
            for block in range(len(pending)):
                try:
                    self._check(name, block)
                except CorruptionError as error:
                    problems.append(str(error))
        return problems

    def _verify(self, name: str, blocks: Int64) -> None:
        # Threads may verify the same block twice, which is harmless.
        pending = self._pending[name]
        for block in blocks:
            self._check(name, int(block))
            pending[block] = False
        if len(blocks) and not pending.any():
            self.verified.add(name)

    def _check(self, name: str, block: int) -> None:
        place = self._places[name]
        start = place.start + block * BLOCK_BYTES
        stop = min(start + BLOCK_BYTES, place.start + place.padded)
        if crc32c(self._data[start:stop]) != self._crcs[place.crc + block]:
            raise CorruptionError(
                f"block {block} of array {name!r} in {self.path} does not match its checksum"
            )


def _blocks(array: Array, table: list[int]) -> Iterator[bytes | Uint8]:
    """The bytes of an array, padded; appends the checksum of each block to `table`."""
    data: Uint8 = array.reshape(-1).view(np.uint8)
    padding = gap(len(data), _ALIGN)
    for start in range(0, len(data), BLOCK_BYTES):
        block = data[start : start + BLOCK_BYTES]
        last = start + BLOCK_BYTES >= len(data)
        table.append(crc32c(padding, crc32c(block)) if last and padding else crc32c(block))
    yield data
    yield padding
