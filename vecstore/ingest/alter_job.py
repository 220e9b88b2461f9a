"""The stored side of an alteration: its AlterJob, and the files that nothing else names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from vecstore.errors import ReadOnlyError, StorageError
from vecstore.ingest.numbers import made_paths
from vecstore.ingest.store import CollectionStore
from vecstore.segment.catalog import AlterJob, CodecInfo
from vecstore.segment.codecs import codecs_of, put_info
from vecstore.segment.manifest import codecs_in_use, from_bytes
from vecstore.storage import keys
from vecstore.storage.kv import Txn


class Withdrawn(Exception):  # noqa: N818 - it is no failure
    """The alteration that is worked on was taken back, or replaced by another."""


def read_job(store: CollectionStore) -> AlterJob | None:
    """The alteration that is stored, if there is one."""
    with store.environment.kv.read() as txn:
        return _read(txn, store)


def replace_job(store: CollectionStore, job: AlterJob | None, new: AlterJob | None) -> None:
    """Store another alteration, or none, and remove what was made for the one before.

    Args:
        store: the collection.
        job: what is stored.
        new: what shall be.

    Raises:
        Withdrawn: something else is stored than `job`.
    """
    _replace(store, job, new, store.environment.writing())


def drop_job(store: CollectionStore) -> None:
    """Take an alteration back that failed, also where nothing else is written any more.

    What LMDB says of this commit is true even after the disk failed elsewhere; see `Kv`.
    """
    try:
        replace_job(store, read_job(store), None)
    except (ReadOnlyError, StorageError):
        _replace(store, read_job(store), None, store.environment.kv.write())


def _replace(
    store: CollectionStore,
    job: AlterJob | None,
    new: AlterJob | None,
    writing: AbstractContextManager[Txn],
) -> None:
    unneeded: list[CodecInfo] = []
    with writing as txn:
        expect_job(txn, store, job)
        if job is not None:
            unneeded = _only_of(txn, store, job)
        for codec in unneeded:
            txn.delete(keys.CODECS, keys.codec_key(codec.id))
        put_job(txn, store, new)
    if job is not None:
        give_up(store, (item.info.id for item in job.built), unneeded)


def update_job(
    store: CollectionStore, job: AlterJob, new: AlterJob, trained: Sequence[CodecInfo]
) -> None:
    """Store how far an alteration has come, and the codecs that were trained for it.

    Args:
        store: the collection.
        job: what is stored.
        new: the same with other segments made.
        trained: codecs that were not stored yet.

    Raises:
        Withdrawn: something else is stored than `job`.
    """
    with store.environment.writing() as txn:
        expect_job(txn, store, job)
        for codec in trained:
            put_info(txn, codec)
        put_job(txn, store, new)
    made = (item.info.id for item in new.built)
    store.environment.reclaimer.finish(made_paths(store.environment, made, trained))


def expect_job(txn: Txn, store: CollectionStore, job: AlterJob | None) -> None:
    """Raise Withdrawn where something else is stored than `job`."""
    if _read(txn, store) != job:
        raise Withdrawn


def put_job(txn: Txn, store: CollectionStore, job: AlterJob | None) -> None:
    """Store an alteration, or none."""
    key = keys.collection_key(store.id)
    if job is None:
        txn.delete(keys.JOBS, key)
    else:
        txn.put(keys.JOBS, key, job.to_bytes())


def give_up(
    store: CollectionStore, segments: Iterable[int], codecs: Sequence[CodecInfo] = ()
) -> None:
    """Remove segments and codecs that nothing names, and that nobody ever read."""
    for codec in codecs:
        store.shelf.forget(codec)
    store.environment.reclaimer.abandon(made_paths(store.environment, segments, codecs))


def _read(txn: Txn, store: CollectionStore) -> AlterJob | None:
    stored = txn.get(keys.JOBS, keys.collection_key(store.id))
    return None if stored is None else from_bytes(AlterJob, stored)


def _only_of(txn: Txn, store: CollectionStore, job: AlterJob) -> list[CodecInfo]:
    """The trained codecs that only the segments made by an alteration need."""
    ladder = store.info.schema.vector(job.field).representations
    made = codecs_in_use([job.manifest()])
    return [
        codec
        for codec in codecs_of(txn, store.shelf.collection)
        if codec.id in made and codec.field == job.field and codec.spec not in ladder
    ]
