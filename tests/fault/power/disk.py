"""A disk that loses power: what is on it after the first records of a log (see shim.c).

What was synced is there. Of what was not, an image keeps nothing ("lost"), or a random half of the
512-byte sectors written and a random number of the first changes of names ("torn").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SECTOR = 512
_HEAD = struct.Struct("<cQQI")


@dataclass(frozen=True)
class Record:
    """One thing that a process did; `a`, `b` and `data` as in shim.c."""

    operation: str
    a: int
    b: int
    data: bytes


def read_log(path: Path) -> list[Record]:
    """The records of a log; a last one that is cut short is left out."""
    data = path.read_bytes()
    records, at = [], 0
    while at + _HEAD.size <= len(data):
        operation, a, b, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        if at <= len(data):
            records.append(Record(operation.decode(), a, b, data[at - length : at]))
    return records


@dataclass(eq=False)
class File:
    """Bytes that were synced, and the writes and truncations (data None) that were not."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.durable, offset, data)
        self.pending.clear()

    def torn(self, rng: np.random.Generator) -> bytes:
        """The durable bytes with a random half of what was not synced."""
        found = bytearray(self.durable)
        for offset, data in self.pending:
            if data is None:
                if rng.random() < 0.5:
                    _apply(found, offset, None)
                continue
            for start, stop in _sectors(offset, len(data)):
                if rng.random() < 0.5:
                    _apply(found, start, data[start - offset : stop - offset])
        return bytes(found)


@dataclass(eq=False)
class Folder:
    """The names that were synced, and what each leads to."""

    durable: dict[str, File | Folder] = field(default_factory=dict)
    current: dict[str, File | Folder] = field(default_factory=dict)


@dataclass(eq=False)
class Rename:
    """A change of names: `node` gets a name in `target`, and loses one in `source`."""

    source: Folder | None
    old: str
    target: Folder | None
    new: str
    node: File | Folder

    def apply(self, entries: str) -> None:
        if self.source is not None:
            getattr(self.source, entries).pop(self.old, None)
        if self.target is not None:
            getattr(self.target, entries)[self.new] = self.node

    def concerns(self, folder: Folder) -> bool:
        return folder is self.source or folder is self.target


class Disk:
    """The state after some records of a log that began with an empty root folder."""

    def __init__(self, root_inode: int) -> None:
        self.root = Folder()
        self.acknowledged: list[bytes] = []
        self._nodes: dict[int, File | Folder] = {root_inode: self.root}
        self._pending: list[Rename] = []

    def play(self, record: Record) -> None:
        """What the process did next."""
        operation, node = record.operation, self._nodes.get(record.a)
        if operation == "A":
            self.acknowledged.append(record.data)
        elif operation in "WD" and isinstance(node, File):
            if operation == "D":
                _apply(node.durable, record.b, record.data)
            else:
                node.pending.append((record.b, record.data))
        elif operation == "P" and isinstance(node, File):  # zeros, each there or not until synced
            node.pending.append((record.b, bytes(int.from_bytes(record.data, "little"))))
        elif operation == "T" and isinstance(node, File):
            node.pending.append((record.b, None))
        elif operation == "S":
            self._sync(node)
        elif operation in "CMLUR" and isinstance(node, Folder):
            self._rename(node, record)

    def _sync(self, node: File | Folder | None) -> None:
        if isinstance(node, File):
            node.sync()
        elif node is not None:
            for change in [change for change in self._pending if change.concerns(node)]:
                change.apply("durable")
                self._pending.remove(change)

    def _rename(self, folder: Folder, record: Record) -> None:
        names = [name.decode() for name in record.data.split(b"\0")]
        if record.operation in "CM":
            made: File | Folder = File() if record.operation == "C" else Folder()
            self._nodes[record.b] = made
            change = Rename(None, "", folder, names[0], made)
        elif record.operation == "L":
            change = Rename(None, "", folder, names[0], self._nodes[record.b])
        elif record.operation == "U":
            change = Rename(folder, names[0], None, "", folder.current[names[0]])
        else:
            target = self._nodes[record.b]
            assert isinstance(target, Folder)
            change = Rename(folder, names[0], target, names[1], folder.current[names[0]])
        change.apply("current")
        self._pending.append(change)

    def image(self, rng: np.random.Generator | None) -> Iterator[tuple[str, bytes | None]]:
        """The paths on the disk after the power came back, and their bytes; None: a folder.

        Args:
            rng: picks what was kept of what was not synced; None: nothing was.
        """
        kept = [] if rng is None else self._pending[: int(rng.integers(len(self._pending) + 1))]
        saved: dict[Folder, dict[str, File | Folder]] = {}
        for change in kept:
            for folder in (change.source, change.target):
                if folder is not None and folder not in saved:
                    saved[folder] = dict(folder.durable)
            change.apply("durable")
        try:
            yield from _walk(self.root, "", rng)
        finally:
            for folder, entries in saved.items():
                folder.durable = entries


def _walk(
    folder: Folder, prefix: str, rng: np.random.Generator | None
) -> Iterator[tuple[str, bytes | None]]:
    for name, node in sorted(folder.durable.items()):
        path = prefix + name
        if isinstance(node, Folder):
            yield path, None
            yield from _walk(node, path + "/", rng)
        else:
            yield path, bytes(node.durable) if rng is None else node.torn(rng)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    stop = offset + (0 if data is None else len(data))
    if stop > len(content):
        content.extend(bytes(stop - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:stop] = data


def _sectors(offset: int, length: int) -> Iterator[tuple[int, int]]:
    start = offset
    while start < offset + length:
        stop = min(start // SECTOR * SECTOR + SECTOR, offset + length)
        yield start, stop
        start = stop
