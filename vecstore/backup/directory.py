"""A directory that appears at its place when it is whole.

    <target>.tmp/          being made, or left behind by a crash; the suffix is the caller's
        unfinished         locked by the process that makes it
        ...
    <target>/              renamed when everything in it is on disk

The name says that the directory is ours to fill and to clear; without `unfinished` it is not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from vecstore.errors import AlreadyExistsError, RequestError, StorageError
from vecstore.storage.files import FileSystem
from vecstore.storage.lock import WriterLock
from vecstore.storage.paths import Paths


class NewDirectory:
    """The making of a directory; use `making`.

    Attributes:
        files: where.
        target: its place.
        paths: the database in it, while it is made.
    """

    __slots__ = ("_above", "_what", "files", "paths", "target")

    def __init__(self, files: FileSystem, target: Path, suffix: str, what: str) -> None:
        self.files = files
        self.target = target
        self.paths = Paths(target.with_name(target.name + suffix))
        self._what = what  # makes it, in words
        self._above = [target.parent]  # folders that get a new name

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """Have the directory under construction to oneself; what a crash left in it is there.

        Raises:
            AlreadyExistsError: something else is in the way.
            LockedError: another process makes it.
        """
        self._check_place()
        root, mark = self.paths.root, self.paths.unfinished
        held = self.files.list_dir(root)
        if held and mark.name not in held:
            raise AlreadyExistsError(f"{root} is in the way; rename it, or remove it")
        self._above += [folder.parent for folder in root.parents if not folder.exists()]
        self.files.make_dir(root)
        lock = WriterLock(mark, self._refusal)
        try:
            yield
        finally:
            lock.release()

    def clear(self) -> None:
        """Remove everything in the directory under construction."""
        for name in self.files.list_dir(self.paths.root):
            if name != self.paths.unfinished.name:
                self.files.remove(self.paths.root / name)

    def publish(self) -> None:
        """Give the directory its name, durably; what is in it must be on disk already."""
        self.files.sync_dir(self.paths.root)
        self._check_place()
        self.files.rename(self.paths.root, self.target)
        for folder in self._above:
            self.files.sync_dir(folder)
        self.files.remove(Paths(self.target).unfinished)
        self.files.sync_dir(self.target)

    def discard(self) -> None:
        """Remove the directory under construction, if that can be done."""
        with contextlib.suppress(StorageError):  # the next one to make it does so
            self.files.remove(self.paths.root)

    def _refusal(self, who: str) -> str:
        return (
            f"{self._what} to {self.target} is under way, by {who}; wait until it is done, or name "
            "another place"
        )

    def _check_place(self) -> None:
        if os.path.lexists(self.target) and (
            not self.target.is_dir() or self.files.list_dir(self.target)
        ):
            raise AlreadyExistsError(
                f"{self.target} exists and is no empty directory; name another place"
            )


def to_path(what: str, value: object) -> Path:
    """The absolute path of a directory that a caller named, without links.

    Raises:
        RequestError: it is no path.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value) or "\0" in str(value):
        raise RequestError(f"{what} is {value!r}, expected the path of a directory")
    return Path(os.path.realpath(value))


def check_outside(place: Path, database: Path) -> None:
    """Refuse to write a copy of a database into it.

    Args:
        place: of the copy, without links.
        database: its directory.

    Raises:
        RequestError: `place` is in it.
    """
    if place.is_relative_to(os.path.realpath(database)):
        raise RequestError(f"{place} is in the database {database}; name a place outside of it")
