"""Walk every invariant on disk. Run by users who wonder, and by the tests after each test.

What must hold, for each collection:

    every value in LMDB and every block of every file matches its checksum
    seqs ascend in every segment and batch, and no seq is given out twice or beyond next_seq
    an id leads to one live row that has that id, and every live row is led to
    the manifest counts the live rows
    the codecs that segments name exist; no file is left that nothing names
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vecstore.errors import StorageError, VecstoreError
from vecstore.segment.catalog import CodecInfo, CollectionInfo
from vecstore.segment.codecs import KIND, CodecShelf
from vecstore.segment.environment import Environment
from vecstore.segment.format import Component
from vecstore.segment.load import load_snapshot
from vecstore.segment.manifest import Manifest, codecs_in_use, from_bytes
from vecstore.segment.reader import Segment
from vecstore.segment.snapshot import Snapshot, live_rows
from vecstore.storage import keys
from vecstore.storage.kv import Txn
from vecstore.storage.paths import parse_id


def check_database(environment: Environment) -> list[str]:
    """The problems found in an open database; empty when it is sound.

    Looks at the last commit. Writes go on beside it.
    """
    problems: list[str] = []
    with environment.lock:  # what the commit names and what the folders hold, at one moment
        transaction = environment.kv.read()
        txn = transaction.__enter__()
        names = {folder: environment.files.list_dir(folder) for folder in _folders(environment)}
    try:
        for db in keys.DATABASES:
            problems += _readable(txn, db)
        for key in txn.keys(keys.COLLECTIONS):
            name = keys.parse_name(key)
            try:
                stored = txn.get(keys.COLLECTIONS, key)
                info = CollectionInfo.from_bytes(name, stored or b"")
                found = list(_collection(environment, info, txn))
            except VecstoreError as error:
                found = [str(error)]
            problems += [f"collection {name!r}: {text}" for text in found]
        if not problems:
            problems += _files(environment, names, txn)
    finally:
        transaction.__exit__(None, None, None)
    return list(dict.fromkeys(problems))


def _folders(environment: Environment) -> tuple[Path, Path]:
    return environment.paths.segments, environment.paths.codecs


def _readable(txn: Txn, db: str) -> Iterator[str]:
    try:
        for _ in txn.scan(db):
            pass
    except StorageError as error:
        yield str(error)


def _collection(environment: Environment, info: CollectionInfo, txn: Txn) -> Iterator[str]:
    shelf = CodecShelf(
        kv=environment.kv, files=environment.files, paths=environment.paths, collection=info
    )
    snapshot = load_snapshot(environment, shelf, txn)
    damaged = [
        problem
        for live in snapshot.segments
        if isinstance(live.source, Segment)
        for problem in live.source.verify()
    ]
    yield from damaged
    if not damaged:
        yield from _rows(snapshot, info, txn)


def _rows(snapshot: Snapshot, info: CollectionInfo, txn: Txn) -> Iterator[str]:
    start, stop = keys.collection_range(info.id)
    expected = {
        keys.parse_id_key(key)[1]: keys.parse_number(value)
        for key, value in txn.scan(keys.IDS, start, stop)
    }
    manifest = snapshot.manifest
    if manifest.live != len(expected):
        yield f"the manifest counts {manifest.live} live records, {len(expected)} ids are known"
    seen: set[int] = set()
    for number, live in enumerate(snapshot.sources):
        seqs = live.source.seqs
        if len(seqs) and (np.any(seqs[1:] <= seqs[:-1]) or seqs[-1] >= manifest.next_seq):
            yield f"source {number} has seqs that do not ascend below {manifest.next_seq}"
        rows = live_rows(live)
        for id_, seq in zip(live.source.ids(rows), seqs[rows].tolist(), strict=True):
            if seq in seen:
                yield f"seq {seq} is in two places"
            seen.add(seq)
            if expected.pop(id_, None) != seq:
                yield f"the live row of seq {seq} is not the one that its id {id_!r} leads to"
    for id_, seq in expected.items():
        yield f"id {id_!r} leads to seq {seq}, which no live row has"


def _files(environment: Environment, names: dict[Path, list[str]], txn: Txn) -> Iterator[str]:
    manifests = [from_bytes(Manifest, value) for _, value in txn.scan(keys.MANIFESTS)]
    infos = [from_bytes(CodecInfo, value) for _, value in txn.scan(keys.CODECS)]
    codecs = {info.id: info for info in infos}
    paths, files = environment.paths, environment.files
    for codec in sorted(codecs_in_use(manifests) - codecs.keys()):
        yield f"segments were written with codec {codec}, which no entry describes"
    for codec, info in codecs.items():
        try:
            yield from Component.open(files, paths.codec(codec), KIND, info.file).verify()
        except StorageError as error:
            yield str(error)
    if not environment.writable:
        return  # the writer may have files under way
    segments = {segment.id for manifest in manifests for segment in manifest.segments}
    for folder, named in ((paths.segments, segments), (paths.codecs, codecs.keys())):
        for name in names[folder]:
            if parse_id(name) not in named:
                yield f"{folder / name} is named by nothing; opening for writing removes it"
