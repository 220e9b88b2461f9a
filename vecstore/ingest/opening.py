"""Open and close the files of a database."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

from vecstore.errors import CorruptionError, NotADatabaseError, StorageError
from vecstore.options import Options
from vecstore.segment.catalog import alter_jobs
from vecstore.segment.environment import Environment
from vecstore.segment.manifest import Manifest, from_bytes
from vecstore.segment.meta import is_new, put_identity, set_format
from vecstore.segment.pinning import Pinning
from vecstore.segment.reclaim import Reclaimer
from vecstore.storage import keys
from vecstore.storage.files import FileSystem, RealFiles
from vecstore.storage.kv import Kv
from vecstore.storage.lock import WriterLock
from vecstore.storage.paths import Paths, is_temporary, parse_id, strangers
from vecstore.storage.pins import oldest_pin


def open_environment(
    path: Path, *, read_only: bool, options: Options, files: FileSystem | None = None
) -> Environment:
    """Open the database in a directory; a writer makes what is missing, and removes leftovers.

    Args:
        path: the directory.
        read_only: beside a process that writes.
        options: sizes and threads.
        files: the file system, for all but LMDB's own files; the machine's own if not given.

    Raises:
        NotADatabaseError, FormatVersionError, LockedError: see `vecstore.open`.
    """
    files = files or RealFiles()
    paths = Paths(path)
    _check_directory(paths, files, read_only=read_only)
    with ExitStack() as opened:  # what is open when something fails is closed again
        lock = None if read_only else WriterLock(paths.writer_lock)
        if lock is not None:
            opened.callback(lock.release)
        kv = Kv.open(
            path,
            databases=keys.DATABASES,
            map_bytes=options.map_bytes,
            read_only=read_only,
            files=files,
        )
        opened.callback(kv.close)
        environment = Environment(
            kv=kv,
            files=files,
            paths=paths,
            options=options,
            writer_lock=lock,
            reclaimer=Reclaimer(files, paths, oldest_pin),
        )
        _check_format(environment)
        if read_only:
            environment.pins = Pinning(paths.readers)
        else:
            _remove_leftovers(environment)
        opened.pop_all()
    return environment


def close_environment(environment: Environment) -> None:
    """Release the files and the lock."""
    environment.closed = True
    environment.kv.close()
    if environment.pins is not None:
        environment.pins.release()
    if environment.writer_lock is not None:
        environment.writer_lock.release()


def _check_directory(paths: Paths, files: FileSystem, *, read_only: bool) -> None:
    root = paths.root
    if root.exists() and not root.is_dir():
        raise NotADatabaseError(f"{root} is a file, expected the directory of a database")
    if not root.exists():
        if read_only:
            raise NotADatabaseError(f"{root} does not exist; nothing to open with read_only=True")
        files.make_dir(root)
    held = files.list_dir(root)
    if "data.mdb" not in held and strangers(held):
        raise NotADatabaseError(
            f"{root} holds {strangers(held)[0]!r} and no database; open an empty or a new directory"
        )
    if "data.mdb" in held and paths.segments.name not in held:
        raise NotADatabaseError(f"{root} holds an LMDB database that vecstore did not make")
    _check_not_lost(paths, files)
    if not read_only:
        for folder in (paths.segments, paths.codecs):
            if folder.name not in held:
                files.make_dir(folder)
                files.sync_dir(root)  # before LMDB makes its file, which alone is a stranger's


def _check_not_lost(paths: Paths, files: FileSystem) -> None:
    """Raise CorruptionError where LMDB's file is gone, but what it named is there."""
    if paths.data.exists() and paths.data.stat().st_size:
        return
    for folder in (paths.segments, paths.codecs):
        for name in files.list_dir(folder):
            if parse_id(name) is not None:
                raise CorruptionError(
                    f"{paths.data} is missing or empty, and {folder / name} is there: the file "
                    "that names all records is lost; put it back, or restore a snapshot"
                )


def _check_format(environment: Environment) -> None:
    kv = environment.kv
    with kv.read() as txn:
        new = is_new(txn)
        named = keys.IDENTITY in txn.keys(keys.META)
    if not environment.writable:
        if new:
            raise NotADatabaseError(f"{environment.paths.root} holds no vecstore database yet")
        return
    kv.add_missing(keys.DATABASES)
    if new or not named:
        with environment.writing() as txn:
            if new:
                set_format(txn)
            put_identity(txn)


def _remove_leftovers(environment: Environment) -> None:
    """Remove files that a crash left before the commit that would have named them.

    Those that an older commit may have named stay while a reader in another process reads it.
    """
    files, paths = environment.files, environment.paths
    try:
        with environment.kv.read() as txn:
            manifests = [from_bytes(Manifest, value) for _, value in txn.scan(keys.MANIFESTS)]
            manifests += [job.manifest() for job in alter_jobs(txn).values()]
            codecs = {keys.parse_codec_key(key) for key in txn.keys(keys.CODECS)}
            number = txn.id
    except CorruptionError:
        return  # who knows what is named; check() says what is damaged
    segments = {segment.id for manifest in manifests for segment in manifest.segments}
    unnamed, temporary = [], []
    for folder, named in ((paths.segments, segments), (paths.codecs, codecs)):
        for name in files.list_dir(folder):
            if is_temporary(name):
                temporary.append(folder / name)
            elif (found := parse_id(name)) is not None and found not in named:
                unnamed.append(folder / name)
    environment.reclaimer.retire_paths(temporary, txn=0)
    environment.reclaimer.retire_paths(unnamed, number)
    with suppress(StorageError):  # what cannot be removed now is tried again
        environment.reclaimer.sweep()
