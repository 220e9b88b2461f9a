"""What can still be read of a damaged component.

it opens                          all but the blocks that do not match their checksums
its head is damaged, or the       all the same: what stands before the arrays follows from what
checksums at its end are          the segment holds, and the manifest has the checksum of both
it is missing, or cut off         nothing
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, takewhile
from pathlib import Path

import numpy as np

from vecstore.errors import CorruptionError, FormatVersionError
from vecstore.segment.format import Component
from vecstore.segment.layout import BLOCK_BYTES, CRC, Arrays, Form, Place
from vecstore.segment.manifest import ComponentInfo
from vecstore.segment.ragged import Ragged
from vecstore.segment.stream import Shape, plan_component
from vecstore.storage.checksum import crc32c
from vecstore.storage.files import FileSystem
from vecstore.types import Bool, Int64, Uint8, Uint32

Forms = Mapping[str, Form]
MadeForms = Callable[[], Sequence[Forms]]
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Remains:
    """What is left of a component.

    Attributes:
        arrays: its arrays, not to be trusted where they are damaged.
        damaged: name -> the damaged blocks, int64; only of arrays that are damaged.
        problems: what is wrong, in words.
    """

    arrays: Arrays
    damaged: Mapping[str, Int64]
    problems: tuple[str, ...]

    def bad(self, name: str, count: int) -> Bool:
        """Which of the `count` items that an array should have cannot be read, bool [count]."""
        bad = np.zeros(count, dtype=np.bool_)
        array = self.arrays.get(name)
        if array is None or len(array) != count:
            return ~bad
        size = max(array[:1].nbytes, 1)
        for block in self.damaged.get(name, ()):
            bad[block * BLOCK_BYTES // size : -(-(block + 1) * BLOCK_BYTES // size)] = True
        return bad

    def strings(self, kind: str, count: int) -> tuple[Ragged, Bool]:
        """The `count` byte strings of a kind, and which of them can be read, bool [count]."""
        bad = self.bad(f"{kind}/offsets", count + 1)
        data = self.arrays.get(f"{kind}/data")
        if data is None or bad.all():
            return Ragged.from_list([]), np.zeros(count, dtype=np.bool_)
        offsets = self.arrays[f"{kind}/offsets"]
        sound = ~(bad[:-1] | bad[1:])
        sound &= (offsets[:-1] <= offsets[1:]) & (offsets[1:] <= len(data))
        starts, stops = (np.where(sound, ends, 0) for ends in (offsets[:-1], offsets[1:]))
        before = np.zeros(len(data) // BLOCK_BYTES + 2, dtype=np.int64)  # damaged blocks
        before[1 + self.damaged.get(f"{kind}/data", np.empty(0, dtype=np.int64))] = 1
        before = np.cumsum(before)
        last = np.where(stops > starts, -(-stops.astype(np.int64) // BLOCK_BYTES), 0)
        first = np.where(stops > starts, starts // BLOCK_BYTES, 0).astype(np.int64)
        return Ragged(offsets=offsets, data=data), sound & (before[last] == before[first])


def salvage(
    files: FileSystem,
    path: Path,
    kind: str,
    info: ComponentInfo,
    told: Told,
    forms: MadeForms,
) -> Remains:
    """Read a component as far as it can be.

    Args:
        files: where it lies.
        path: the file.
        kind: what it holds.
        info: what was written.
        told: called with the bytes of each block that was read.
        forms: makes the arrays that it may hold, for where it does not say so itself.

    Raises:
        StorageError: the machine cannot read it, which says nothing about what it holds.
    """
    problems: list[str] = []
    try:
        component = Component.open(files, path, kind, info)
    except (CorruptionError, FormatVersionError) as error:
        problems.append(str(error))
        found = _without_head(files, path, kind, info, forms())
        if found is None:
            return Remains({}, {}, tuple(problems))
        component = found
    damaged: dict[str, list[int]] = {}
    for name, block, text in component.damage(told):
        damaged.setdefault(name, []).append(block)
        problems.append(text)
    blocks = {name: np.array(found, dtype=np.int64) for name, found in damaged.items()}
    return Remains(component.arrays, blocks, tuple(problems))


def string_forms(kind: str, info: ComponentInfo, fixed: Forms, rows: int) -> list[Forms]:
    """The arrays of a component of byte strings; how many bytes they have is one of at most 64.

    Args:
        kind: of the component, and of the strings.
        info: what was written.
        fixed: the arrays before the strings.
        rows: how many strings.
    """
    strings = "ids" if kind == "rows" else kind

    def made(count: int) -> Forms:
        offsets, data = Shape(np.dtype("<u8"), (rows + 1,)), Shape(np.dtype("|u1"), (count,))
        return {**fixed, f"{strings}/offsets": offsets, f"{strings}/data": data}

    return sized_forms(kind, info, made)


def sized_forms(kind: str, info: ComponentInfo, made: Callable[[int], Forms]) -> list[Forms]:
    """The arrays that fill a component, of those that grow with a number which is not known.

    Args:
        kind: of the component.
        info: what was written.
        made: the arrays for a number.
    """

    def size(number: int) -> int:
        return _size(*plan_component(kind, made(number))[1:])

    least = bisect_left(range(info.bytes), info.bytes, key=size)
    return [made(fit) for fit in takewhile(lambda fit: size(fit) == info.bytes, count(least))]


def _without_head(
    files: FileSystem, path: Path, kind: str, info: ComponentInfo, forms: Sequence[Forms]
) -> Component | None:
    """A component by what it must hold: its head is made again, or its checksums are."""
    try:
        data = files.map(path)
    except CorruptionError:
        return None
    plans = [plan_component(kind, item) for item in forms]
    plans = [plan for plan in plans if _size(*plan[1:]) == info.bytes and len(data) > plan[2]]
    for head, places, end in plans:
        stored = _table(data[end:], places)
        for table in (stored, None):
            crcs = _sums(data, places) if table is None else table
            if crc32c(crcs.astype(CRC).tobytes(), crc32c(head)) == info.crc:
                return Component(path, data, places, crcs)
    for _, places, end in plans:  # both are damaged: a block that matches its checksum is whole
        if _fits(data, places):
            return Component(path, data, places, _table(data[end:], places))
    return None


def _size(places: Sequence[Place], end: int) -> int:
    return end + CRC.itemsize * (sum(place.blocks for place in places) + 1)


def _table(tail: Uint8, places: Sequence[Place]) -> Uint32:
    """The checksums that stand after the arrays; zeros where they are cut off."""
    size = CRC.itemsize * sum(place.blocks for place in places)
    return np.frombuffer(tail[:size].tobytes().ljust(size, b"\0"), dtype=CRC)


def _sums(data: Uint8, places: Sequence[Place]) -> Uint32:
    """The checksums of the blocks as they are now."""
    spans = chain.from_iterable(map(_spans, places))
    return np.array([crc32c(data[start:stop]) for start, stop in spans], dtype=np.uint32)


def _spans(place: Place) -> Iterator[tuple[int, int]]:
    end = place.start + place.padded
    for start in range(place.start, end, BLOCK_BYTES):
        yield start, min(start + BLOCK_BYTES, end)


def _fits(data: Uint8, places: Sequence[Place]) -> bool:
    """Whether byte strings have the length that their last offset says; other arrays do."""
    if not places[-1].entry.name.endswith("/data"):
        return True
    offsets, strings = places[-2:]
    last = data[offsets.start + offsets.used - 8 : offsets.start + offsets.used]
    return int.from_bytes(last.tobytes(), "little") == strings.used
