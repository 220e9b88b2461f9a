"""Copy a database as of one moment, while it is written.

LMDB is copied first: that is the moment. It names the files, which nobody changes; they are kept
from being removed until the copy has them too.

    directory      hard links of the files, and the copy of LMDB
    object store   files that are not there yet are uploaded; then a manifest names all
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from vecstore.backup.contents import Contents, StoredFile, copy_lmdb, open_file
from vecstore.backup.directory import NewDirectory, check_outside, to_path
from vecstore.backup.manifest import VERSION, FileEntry, SnapshotManifest, read_manifest
from vecstore.backup.objects import Objects, ObjectStore, find_folder, find_objects
from vecstore.backup.parallel import Tick, for_all
from vecstore.errors import CorruptionError, FormatVersionError, RequestError
from vecstore.reports import SnapshotInfo
from vecstore.segment.environment import Environment
from vecstore.segment.manifest import ComponentInfo
from vecstore.storage.failpoints import reach
from vecstore.storage.files import FileSystem
from vecstore.storage.paths import Paths
from vecstore.storage.pins import ReaderPin
from vecstore.types import Progress

# Bytes that are read and hashed at a time.
_CHUNK_BYTES = 8 << 20
# Manifests may be damaged; so many snapshots back one that can be read is looked for.
_LOOK_BACK = 8


def take_snapshot(
    environment: Environment,
    target: str | os.PathLike[str] | ObjectStore,
    progress: Progress | None,
) -> SnapshotInfo:
    """See `Database.snapshot`."""
    store = find_folder(target)
    if store is not None:
        check_outside(store, environment.paths.root)
    objects = find_objects(target)
    if objects is None:
        return _to_directory(environment, to_path("target", target), progress)
    with tempfile.TemporaryDirectory(prefix="vecstore-") as folder, _held(environment):
        return _to_store(environment, objects, Paths(Path(folder)), progress)


def list_snapshots(source: str | ObjectStore) -> list[SnapshotInfo]:
    """See `vecstore.snapshots`."""
    objects = find_objects(source)
    if objects is None:
        raise RequestError(
            f"source is {source!r}, expected an object store: its URL, or a store of obstore"
        )
    seen: set[str] = set()
    found = []
    for number, size in objects.numbers().items():
        manifest = read_manifest(objects, number, size)
        sizes = {entry.sha256: entry.bytes for entry in manifest.files}
        found.append(
            SnapshotInfo(
                number=number,
                created_at=manifest.created_at,
                files=len(manifest.files),
                bytes_total=manifest.bytes_total,
                bytes_new=sum(new for sha256, new in sizes.items() if sha256 not in seen),
            )
        )
        seen |= sizes.keys()
    return found


def _to_directory(
    environment: Environment, target: Path, progress: Progress | None
) -> SnapshotInfo:
    check_outside(target, environment.paths.root)
    made = NewDirectory(environment.files, target, ".tmp", "a snapshot")
    with made.making():
        made.clear()
        try:
            return _fill(environment, made, progress)
        except BaseException:
            made.discard()
            raise


def _fill(environment: Environment, made: NewDirectory, progress: Progress | None) -> SnapshotInfo:
    files, paths = environment.files, made.paths
    lmdb = Paths(paths.root / "lmdb")
    created_at = datetime.now(UTC)
    with _held(environment):
        files.make_dir(lmdb.root)
        contents = copy_lmdb(environment, lmdb.root)
        reach("snapshot.copied")
        copied = _link(environment, contents, paths, progress)
    files.rename(lmdb.data, paths.data)
    files.remove(lmdb.root)
    reach("snapshot.linked")
    made.publish()
    reach("snapshot.renamed")
    size = Paths(made.target).data.stat().st_size
    return SnapshotInfo(
        number=0,
        created_at=created_at,
        files=len(contents.files) + 1,
        bytes_total=size + contents.bytes,
        bytes_new=size + copied,
    )


def _link(
    environment: Environment, contents: Contents, paths: Paths, progress: Progress | None
) -> int:
    """Give each file a second name in the new directory; returns the bytes that were copied."""
    files = environment.files
    done = copied = 0
    folders = {paths.segments, paths.codecs}
    for folder in folders:
        files.make_dir(folder)
    for file in contents.files:
        place = paths.root / environment.paths.name_of(file.path)
        if place.parent not in folders:
            files.make_dir(place.parent)
            folders.add(place.parent)
        open_file(files, file)
        files.link(file.path, place)
        if not os.path.samefile(file.path, place):
            copied += file.info.bytes
        done += file.info.bytes
        if progress is not None:
            progress("link", done, contents.bytes)
    for folder in folders:
        files.sync_dir(folder)
    return copied


def _to_store(
    environment: Environment, objects: Objects, lmdb: Paths, progress: Progress | None
) -> SnapshotInfo:
    """Upload what is not there yet, and then the manifest.

    Args:
        environment: of the database.
        objects: where to.
        lmdb: an empty folder for the copy of LMDB.
        progress: told bytes.
    """
    created_at = datetime.now(UTC)
    contents = copy_lmdb(environment, lmdb.root)
    reach("snapshot.copied")
    numbers = objects.numbers()
    upload = _Upload(
        files=environment.files,
        objects=objects,
        sums=_known_sums(objects, numbers, contents.identity.hex()),
        there=objects.sizes(),
    )
    info = ComponentInfo(lmdb.data.name, lmdb.data.stat().st_size, 0)
    named = [(environment.paths.name_of(file.path), file) for file in contents.files]
    named.append((lmdb.name_of(lmdb.data), StoredFile(lmdb.data, "", info)))
    for_all(named, upload.send, info.bytes + contents.bytes, "upload", progress)
    reach("snapshot.linked")
    manifest = SnapshotManifest(
        version=VERSION,
        format=contents.format,
        created_at=created_at,
        identity=contents.identity.hex(),
        files=tuple(sorted(upload.entries, key=lambda entry: entry.path)),
    )
    number = max(numbers, default=0) + 1
    data = manifest.to_bytes()
    while not objects.put_manifest(number, data):
        _known_sums(objects, objects.numbers(), manifest.identity)  # who was quicker?
        number += 1
    reach("snapshot.renamed")
    return SnapshotInfo(
        number=number,
        created_at=created_at,
        files=len(manifest.files),
        bytes_total=manifest.bytes_total,
        bytes_new=sum(upload.sent.values()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    """What is known of an upload, by all its threads.

    Attributes:
        files: where the files lie.
        objects: where they go.
        sums: the SHA-256 of files that an earlier snapshot of this database has.
        there: the bytes of each file that the store has, by SHA-256.
        entries: of the files that are done.
        sent: the bytes of each file that is uploaded, by SHA-256.
        lock: for `sent`.
    """

    files: FileSystem
    objects: Objects
    sums: dict[tuple[str, int, int], str]
    there: dict[str, int]
    entries: list[FileEntry] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def send(self, named: tuple[str, StoredFile], tick: Tick) -> None:
        """Upload a file, unless it is there; one that an earlier snapshot has is not even read."""
        name, file = named
        size, crc = file.info.bytes, file.info.crc
        sha256 = self.sums.get((name, size, crc), "") if file.kind else ""
        if self.there.get(sha256) != size:
            sha256 = self._sum(file, tick)
        if self.there.get(sha256) != size and self._claim(sha256, size):
            self.objects.put_file(sha256, size, _chunks(self.files, file.path, tick))
        else:
            tick(size)
        self.entries.append(FileEntry(path=name, bytes=size, crc=crc, sha256=sha256))

    def _claim(self, sha256: str, size: int) -> bool:
        """Whether the caller is the one that uploads these bytes, which two files may have."""
        with self.lock:
            new = sha256 not in self.sent
            self.sent[sha256] = size
        return new

    def _sum(self, file: StoredFile, tick: Tick) -> str:
        """The SHA-256 of a file, which must be sound."""
        for problem in open_file(self.files, file).verify() if file.kind else ():
            raise CorruptionError(f"{problem}; repair the database before it is backed up")
        found = hashlib.sha256()
        for chunk in _chunks(self.files, file.path, tick, weight=0):
            found.update(chunk)
        return found.hexdigest()


def _known_sums(
    objects: Objects, numbers: dict[int, int], identity: str
) -> dict[tuple[str, int, int], str]:
    """The SHA-256 of each file in the last snapshot there, by what tells the file apart.

    Raises:
        RequestError: it is a snapshot of another database.
    """
    for number in sorted(numbers, reverse=True)[:_LOOK_BACK]:
        try:
            manifest = read_manifest(objects, number, numbers[number])
        except (CorruptionError, FormatVersionError):
            continue  # of no use; what it would have told is read from the files
        if manifest.identity != identity:
            raise RequestError(
                f"snapshot {number} in {objects.name} is of the database with identity "
                f"{manifest.identity or 'none'}, this one has identity {identity or 'none'}; "
                "give each database a place of its own"
            )
        # Copies without an identity cannot be told apart.
        return {entry.content: entry.sha256 for entry in manifest.files} if identity else {}
    return {}


def _chunks(files: FileSystem, path: Path, tick: Tick, weight: int = 1) -> Iterator[bytes]:
    data = files.map(path)
    for start in range(0, len(data), _CHUNK_BYTES):
        chunk = data[start : start + _CHUNK_BYTES].tobytes()
        yield chunk
        tick(len(chunk) * weight)


@contextlib.contextmanager
def _held(environment: Environment) -> Iterator[None]:
    """Keep every file that a commit named from here on, in whichever process the writer is."""
    if environment.writable:
        with environment.reclaimer.hold():
            yield
    else:
        pin = ReaderPin(environment.paths.readers)
        try:
            yield
        finally:
            pin.release()
