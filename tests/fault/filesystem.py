"""A file system that fails when told to, and that loses what was not synced when its power goes.

    files = FaultyFiles(root)             the engine's seam; root is an empty or a filled directory
    files.fail("sync_dir", 3, ENOSPC)     the third such call fails, with "always" also later ones
    files.stop(17)                        the 17th call of any kind raises PowerOff half done
    files.power_off()                     rewrites root as it is when the power comes back

Calls are counted by their names, in `files.made`; "write", "write_at" and "sync" stand for the
bytes and for the sync at the end of a file, whichever method wrote it. A test runs a workload once
to see how many calls it makes, and then once for each of them.

LMDB does not pass here: it syncs its own file, so that data.mdb is as its last commit left it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import RLock

import numpy as np

from vecstore.storage.files import FileWriter, RealFiles, storage_errors
from vecstore.types import Uint8

SECTOR = 512


class PowerOff(BaseException):
    """The power went; no engine code may take it for an error that it can handle."""


@dataclass(eq=False)
class _File:
    """A file, whatever its names; `kept` is a name of it that nobody removes."""

    kept: Path
    synced: bool


@dataclass(eq=False)
class _Dir:
    """A directory: its names, and what they were after each change since it was last synced."""

    history: list[tuple[int, dict[str, _File | _Dir]]] = field(default_factory=lambda: [(0, {})])

    @property
    def names(self) -> dict[str, _File | _Dir]:
        return self.history[-1][1]

    def at(self, moment: int) -> dict[str, _File | _Dir]:
        """The names on disk where changes up to a moment got there; synced ones always did."""
        return [names for when, names in self.history if when <= moment][-1]


@dataclass
class _Plan:
    """Calls that are to fail."""

    name: str
    number: int
    code: int
    always: bool

    def meets(self, name: str, number: int) -> bool:
        return name == self.name and (
            number == self.number or (self.always and number > self.number)
        )


class FaultyFiles:
    """The machine's file system below `root`, with faults. Safe to use from many threads.

    Attributes:
        made: the names of the calls that were made, in order.
        free: what `free_bytes` answers; None: the truth.
        off: the power went; every call fails with EIO.
        root: the directory.
    """

    def __init__(self, root: Path) -> None:
        self.made: list[str] = []
        self.free: int | None = None
        self.off = False
        self.root = root
        self._kept = root.with_name(root.name + ".kept")
        self._kept.mkdir()
        self._numbers = count()
        self._real = RealFiles()
        self._tree = _Dir()
        self._moment = 0
        self._plans: list[_Plan] = []
        self._stop: int | None = None
        self._lock = RLock()

    @property
    def calls(self) -> Counter[str]:
        """How often each call was made."""
        return Counter(self.made)

    # What the test asks for

    def fail(self, name: str, number: int, code: int = errno.EIO, *, always: bool = False) -> None:
        """Let a call fail: the first after this one is number 1."""
        self._plans.append(_Plan(name, self.calls[name] + number, code, always))

    def mend(self) -> None:
        """Let no more calls fail."""
        self._plans.clear()
        self._stop = None

    def stop(self, number: int) -> None:
        """Raise PowerOff at a call of any kind: the first after this one is number 1."""
        self._stop = len(self.made) + number

    def power_off(self, seed: int | None = None) -> None:
        """Rewrite the directory as it is found when the power is back; all later calls fail.

        Without a seed nothing is left that was not synced. With one, the names are as they were at
        a random moment since, and of bytes that were not synced a random half of the sectors is
        there.
        """
        with self._lock:
            self.off = True
            rng = None if seed is None else np.random.default_rng(seed)
            moment = 0 if rng is None else int(rng.integers(self._moment + 1))
            before = self.root.with_name(self.root.name + ".before")
            os.rename(self.root, before)
            places = dict(_places(self._tree, before))
            self._rebuild(self._tree, self.root, moment, places, rng)
            shutil.rmtree(before)

    # What the engine asks for

    def write(self, path: Path, chunks: Iterable[bytes | Uint8]) -> int:
        """See FileSystem; the calls are "create", "write" and "sync"."""
        data = b"".join(bytes(chunk) for chunk in chunks)
        writer = self.create(path, 0)
        try:
            self._write(writer, "write", 0, data)
        except BaseException:
            writer.abandon()
            raise
        writer.close()
        return len(data)

    def create(self, path: Path, size: int) -> _Writer:
        """See FileSystem; what is written to the file are the calls "write_at" and "sync"."""
        with self._call("create", path):
            real = self._real.create(path, size)
            file = self._keep(path, synced=False)
            self._name(path, file)
            return _Writer(self, path, file, real)

    def link(self, source: Path, target: Path) -> None:
        """See FileSystem."""
        with self._call("link", source):
            file = self._find(source)
            self._real.link(source, target)
            self._name(target, file)

    def map(self, path: Path) -> Uint8:
        """See FileSystem."""
        with self._call("map", path):
            return self._real.map(path)

    def make_dir(self, path: Path) -> None:
        """See FileSystem."""
        with self._call("make_dir", path):
            missing = [folder for folder in (path, *path.parents) if not folder.exists()]
            for folder in reversed(missing):
                self._real.make_dir(folder)
                self._name(folder, _Dir())

    def list_dir(self, path: Path) -> list[str]:
        """See FileSystem."""
        with self._call("list_dir", path):
            return self._real.list_dir(path)

    def rename(self, source: Path, target: Path) -> None:
        """See FileSystem."""
        with self._call("rename", source):
            node = self._find(source)
            self._real.rename(source, target)
            self._name(source, None, target, node)

    def sync_dir(self, path: Path) -> None:
        """See FileSystem."""
        with self._call("sync_dir", path):
            self._real.sync_dir(path)
            node = self._find(path)
            if isinstance(node, _Dir):
                node.history = [(0, node.names)]

    def remove(self, path: Path) -> None:
        """See FileSystem; a directory goes name by name."""
        with self._call("remove", path):
            self._forget(path)
            self._real.remove(path)

    def free_bytes(self, path: Path) -> int:
        """See FileSystem."""
        with self._call("free_bytes", path):
            return self._real.free_bytes(path) if self.free is None else self.free

    # Faults

    @contextmanager
    def _call(self, name: str, path: Path) -> Iterator[None]:
        with self._lock, storage_errors(name, path):
            self._raise(self._failure(name))
            yield

    def _failure(self, name: str) -> BaseException | None:
        """Count a call; what it is to raise."""
        if self.off:
            return OSError(errno.EIO, "the power is off")
        self.made.append(name)
        if len(self.made) == self._stop:
            self.off = True
            return PowerOff(f"call {self._stop}, {name!r}")
        number = self.made.count(name)
        for plan in self._plans:
            if plan.meets(name, number):
                return OSError(plan.code, os.strerror(plan.code))
        return None

    def _raise(self, failure: BaseException | None) -> None:
        if failure is not None:
            raise failure

    def _write(self, writer: _Writer, name: str, offset: int, data: bytes) -> None:
        with self._lock, storage_errors("write", writer.path):
            failure = self._failure(name)
            writer.real.write_at(offset, data if failure is None else data[: len(data) // 2])
            self._raise(failure)

    def _sync(self, writer: _Writer) -> None:
        with self._lock, storage_errors("sync", writer.path):
            failure = self._failure("sync")
            if failure is not None:
                writer.real.abandon()
                raise failure
            writer.real.close()
            writer.file.synced = True

    # What is on disk

    def _keep(self, path: Path, *, synced: bool) -> _File:
        file = _File(self._kept / str(next(self._numbers)), synced)
        os.link(path, file.kept)
        return file

    def _find(self, path: Path) -> _File | _Dir | None:
        """What has a name; something that was made without these files is taken for durable."""
        if path == self.root:
            return self._tree
        if self.root not in path.parents:
            return None
        parent = self._find(path.parent)
        if not isinstance(parent, _Dir):
            return None
        if path.name not in parent.names and path.exists():
            node = self._keep(path, synced=True) if path.is_file() else _Dir()
            for _, names in parent.history:
                names[path.name] = node
        return parent.names.get(path.name)

    def _name(
        self,
        path: Path,
        node: _File | _Dir | None,
        other: Path | None = None,
        also: _File | _Dir | None = None,
    ) -> None:
        """Give a name to something, or take it away; in one step with another name if given."""
        self._moment += 1
        for place, named in ((path, node), (other, also)):
            parent = self._find(place.parent) if place is not None else None
            if place is not None and isinstance(parent, _Dir):
                names = {name: kept for name, kept in parent.names.items() if name != place.name}
                if named is not None:
                    names[place.name] = named
                parent.history.append((self._moment, names))

    def _forget(self, path: Path) -> None:
        node = self._find(path)
        if isinstance(node, _Dir):
            for name in list(node.names):
                self._forget(path / name)
        if node is not None:
            self._name(path, None)

    def _rebuild(
        self,
        node: _Dir,
        path: Path,
        moment: int,
        places: dict[_Dir, Path],
        rng: np.random.Generator | None,
    ) -> None:
        path.mkdir()
        for name, child in node.at(moment).items():
            if isinstance(child, _Dir):
                self._rebuild(child, path / name, moment, places, rng)
            else:
                _lose(child, rng)
                os.link(child.kept, path / name)
        if node in places:  # what was made without these files: LMDB's, locks
            known = {name for _, names in node.history for name in names}
            for name in set(os.listdir(places[node])) - known:
                os.rename(places[node] / name, path / name)


@dataclass
class _Writer(FileWriter):
    """A file that is being written."""

    files: FaultyFiles
    path: Path
    file: _File
    real: FileWriter

    def write_at(self, offset: int, data: bytes | Uint8) -> None:
        """See FileWriter."""
        self.files._write(self, "write_at", offset, bytes(data))

    def close(self) -> None:
        """See FileWriter."""
        self.files._sync(self)

    def abandon(self) -> None:
        """See FileWriter."""
        self.real.abandon()


def _places(node: _Dir, path: Path) -> Iterator[tuple[_Dir, Path]]:
    """Where each directory lies that has a name."""
    yield node, path
    for name, child in node.names.items():
        if isinstance(child, _Dir):
            yield from _places(child, path / name)


def _lose(file: _File, rng: np.random.Generator | None) -> None:
    """Lose the bytes of a file that were not synced: all, or a random half of its sectors."""
    if file.synced:
        return
    file.synced = True
    size = file.kept.stat().st_size if rng is not None else 0
    os.truncate(file.kept, size)
    with open(file.kept, "r+b") as opened:
        for start in range(0, size, SECTOR):
            assert rng is not None
            if rng.random() < 0.5:
                os.pwrite(opened.fileno(), bytes(min(SECTOR, size - start)), start)
