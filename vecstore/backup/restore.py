"""Bring a database back from a snapshot that anybody may have written.

LMDB's file comes first. Its pages are verified before LMDB opens it, and it says which other files
belong to the database; a manifest must list exactly these. Every byte is counted and every checksum
compared before the database gets its name.

    <path>.restoring/    what is there; the next try goes on from it
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vecstore.backup.contents import forget, read_contents
from vecstore.backup.directory import NewDirectory, to_path
from vecstore.backup.manifest import FileEntry
from vecstore.backup.objects import ObjectStore, find_objects
from vecstore.backup.origins import CopiedOrigin, Origin, StoredOrigin
from vecstore.backup.parallel import Tick, for_all
from vecstore.check import check_database
from vecstore.errors import (
    CorruptionError,
    DatabaseFullError,
    RequestError,
    StorageError,
    VecstoreError,
)
from vecstore.ingest.opening import close_environment, open_environment
from vecstore.options import Options
from vecstore.request import check_progress
from vecstore.storage import keys
from vecstore.storage.files import RealFiles, storage_errors
from vecstore.storage.kv import Kv, verify_pages
from vecstore.storage.lock import no_writer
from vecstore.storage.paths import Paths
from vecstore.types import Progress


def restore_database(
    source: str | os.PathLike[str] | ObjectStore,
    path: str | os.PathLike[str],
    number: int | None,
    progress: Progress | None,
) -> None:
    """See `vecstore.restore`."""
    check_progress(progress)
    made = NewDirectory(RealFiles(), to_path("path", path), ".restoring", "a restore")
    objects = find_objects(source)
    if objects is not None:
        _restore(StoredOrigin(objects, number), made, progress)
        return
    if number is not None:
        raise RequestError(f"number is {number!r}, but {source!r} is a directory, one snapshot")
    folder = Paths(to_path("source", source))
    with no_writer(folder.writer_lock):
        _restore(CopiedOrigin(folder), made, progress)


def _restore(origin: Origin, made: NewDirectory, progress: Progress | None) -> None:
    paths, files = made.paths, made.files
    with made.making():
        for name in (paths.lmdb_lock, paths.writer_lock, paths.readers):
            files.remove(name)
        data = origin.data()
        _check_space(made, origin.known)
        _fetch_all(origin, made, [data], "restore LMDB", progress)
        with _judging(origin.name):
            verify_pages(paths.data)
            with contextlib.closing(_open(paths, read_only=True)) as kv:
                rest = origin.rest(read_contents(kv, paths), paths)
        _tidy(made, [data, *rest])
        _check_space(made, rest)
        _fetch_all(origin, made, rest, "restore files", progress)
        _check(origin.name, paths, progress)
        with contextlib.closing(_open(paths, read_only=False)) as kv:
            forget(kv)
        for name in (paths.lmdb_lock, paths.writer_lock, paths.readers):
            files.remove(name)
        made.publish()


def _fetch_all(
    origin: Origin,
    made: NewDirectory,
    entries: list[FileEntry],
    what: str,
    progress: Progress | None,
) -> None:
    folders = {made.paths.segments, made.paths.codecs}
    folders |= {(made.paths.root / entry.path).parent for entry in entries}
    for folder in folders:
        made.files.make_dir(folder)

    def fetch(entry: FileEntry, tick: Tick) -> None:
        _fetch(origin, made.paths.root / entry.path, entry, tick)

    for_all(entries, fetch, sum(entry.bytes for entry in entries), what, progress)
    for folder in folders:
        made.files.sync_dir(folder)


def _fetch(origin: Origin, path: Path, entry: FileEntry, tick: Tick) -> None:
    """Bring one file, unless an earlier try did."""
    files = RealFiles()
    if _is_there(path, entry):
        tick(entry.bytes)
        return
    part = path.with_name(path.name + ".part")
    files.remove(path)
    files.remove(part)
    try:
        files.write(part, _judged(origin, entry, tick))
    except BaseException:
        with contextlib.suppress(StorageError):  # the first error says more; the next try tidies
            files.remove(part)
        raise
    files.rename(part, path)


def _judged(origin: Origin, entry: FileEntry, tick: Tick) -> Iterator[bytes]:
    """The bytes of a file, as long as they can be the right ones."""
    found, size = hashlib.sha256(), 0
    for chunk in origin.read(entry):
        size += len(chunk)
        if size > entry.bytes:
            break
        found.update(chunk)
        tick(len(chunk))
        yield chunk
    if size != entry.bytes:
        raise CorruptionError(
            f"{entry.path} of {origin.name} has not the {entry.bytes:,} bytes it should have"
        )
    if entry.sha256 and found.hexdigest() != entry.sha256:
        raise CorruptionError(f"the SHA-256 of {entry.path} of {origin.name} does not match")


def _is_there(path: Path, entry: FileEntry) -> bool:
    """Whether a file is the wanted one; never where its SHA-256 is not known."""
    if not entry.sha256 or path.is_symlink() or not path.is_file():
        return False
    with storage_errors("read", path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256


def _open(paths: Paths, *, read_only: bool) -> Kv:
    return Kv.open(
        paths.root, databases=keys.DATABASES, map_bytes=Options().map_bytes, read_only=read_only
    )


def _tidy(made: NewDirectory, entries: list[FileEntry]) -> None:
    """Remove what an earlier try, perhaps of another snapshot, has left."""
    paths, files = made.paths, made.files
    wanted = {paths.root / entry.path for entry in entries}
    folders = {paths.segments, paths.codecs} | {path.parent for path in wanted}
    keep = wanted | folders | {paths.unfinished}
    for folder in sorted(folders | {paths.root}):
        for name in files.list_dir(folder):
            if folder / name not in keep:
                files.remove(folder / name)


def _check_space(made: NewDirectory, entries: list[FileEntry]) -> None:
    """Refuse before anything is written what cannot have room."""
    root = made.paths.root
    needed = 0
    for entry in entries:
        path = root / entry.path
        there = path.stat().st_size if path.is_file() else 0
        needed += max(0, entry.bytes - there)
    free = made.files.free_bytes(root)
    if needed > free:
        raise DatabaseFullError(f"{root} needs {needed:,} bytes, {free:,} are free")


def _check(name: str, paths: Paths, progress: Progress | None) -> None:
    raised: list[Exception] = []

    def tell(what: str, done: int, total: int) -> None:
        try:
            if progress is not None:
                progress(what, done, total)
        except Exception as error:
            raised.append(error)
            raise

    with _judging(name, raised):
        environment = open_environment(paths.root, read_only=True, options=Options())
        try:
            problems = check_database(environment, tell)
        finally:
            close_environment(environment)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CorruptionError(f"{name} is no sound database: {problems[0]}{more}")


@contextlib.contextmanager
def _judging(name: str, raised: Sequence[Exception] = ()) -> Iterator[None]:
    """Turn what strange bytes do to code that expects its own into a CorruptionError.

    Errors of ours and of the machine stay what they are, and so does what the caller has `raised`.
    """
    try:
        yield
    except (VecstoreError, OSError, MemoryError):
        raise
    except Exception as error:
        if error in raised:
            raise
        raise CorruptionError(f"{name} is no sound database: {error!r}") from error
