"""Open and close the files of a database."""

from __future__ import annotations

from pathlib import Path

from vecstore.errors import CorruptionError, NotADatabaseError
from vecstore.options import Options
from vecstore.segment.environment import Environment
from vecstore.segment.manifest import Manifest, from_bytes
from vecstore.segment.meta import is_new, set_format
from vecstore.storage import keys
from vecstore.storage.files import FileSystem, RealFiles
from vecstore.storage.kv import Kv
from vecstore.storage.lock import WriterLock
from vecstore.storage.paths import Paths, is_temporary, parse_id, strangers


def open_environment(path: Path, *, read_only: bool, options: Options) -> Environment:
    """Open the database in a directory; a writer makes what is missing, and removes leftovers.

    Raises:
        NotADatabaseError, FormatVersionError, LockedError: see `vecstore.open`.
    """
    files = RealFiles()
    paths = Paths(path)
    _check_directory(paths, files, read_only=read_only)
    lock = None if read_only else WriterLock(paths.writer_lock)
    try:
        kv = Kv.open(
            path, databases=keys.DATABASES, map_bytes=options.map_bytes, read_only=read_only
        )
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    environment = Environment(
        kv=kv,
        files=files,
        paths=paths,
        options=options,
        writer_lock=lock,
    )
    try:
        _check_format(environment)
        if not read_only:
            _remove_leftovers(environment)
    except BaseException:
        close_environment(environment)
        raise
    return environment


def close_environment(environment: Environment) -> None:
    """Release the files and the lock."""
    environment.closed = True
    environment.kv.close()
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
    if not read_only:
        files.make_dir(paths.segments)
        files.make_dir(paths.codecs)


def _check_format(environment: Environment) -> None:
    with environment.kv.read() as txn:
        new = is_new(txn)
    if environment.writable:
        environment.kv.add_missing(keys.DATABASES)
    if new:
        if not environment.writable:
            raise NotADatabaseError(f"{environment.paths.root} holds no vecstore database yet")
        with environment.kv.write() as txn:
            set_format(txn)


def _remove_leftovers(environment: Environment) -> None:
    """Remove files that a crash left before the commit that would have named them."""
    files, paths = environment.files, environment.paths
    try:
        with environment.kv.read() as txn:
            segments = {
                segment.id
                for _, value in txn.scan(keys.MANIFESTS)
                for segment in from_bytes(Manifest, value).segments
            }
            codecs = {keys.parse_codec_key(key) for key in txn.keys(keys.CODECS)}
    except CorruptionError:
        return  # who knows what is named; check() says what is damaged
    for folder, named in ((paths.segments, segments), (paths.codecs, codecs)):
        for name in files.list_dir(folder):
            number = parse_id(name)
            if is_temporary(name) or (number is not None and number not in named):
                files.remove(folder / name)
