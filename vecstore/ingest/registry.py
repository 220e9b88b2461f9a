"""Which collections a database has."""

from __future__ import annotations

from collections.abc import Iterable

from vecstore.errors import CorruptionError
from vecstore.schema import Schema
from vecstore.segment.catalog import CollectionInfo, alter_jobs
from vecstore.segment.codecs import codecs_of
from vecstore.segment.environment import Environment
from vecstore.segment.manifest import Manifest, from_bytes, to_bytes
from vecstore.segment.meta import next_number
from vecstore.segment.reader import Segment
from vecstore.storage import keys
from vecstore.storage.failpoints import reach
from vecstore.storage.kv import Txn


def names(environment: Environment) -> list[str]:
    """The names of all collections, sorted."""
    with environment.kv.read() as txn:
        return sorted(keys.parse_name(key) for key in txn.keys(keys.COLLECTIONS))


def find(environment: Environment, name: str) -> CollectionInfo | None:
    """The collection of that name, if there is one."""
    with environment.kv.read() as txn:
        stored = txn.get(keys.COLLECTIONS, keys.name_key(name))
    return None if stored is None else CollectionInfo.from_bytes(name, stored)


def create(environment: Environment, name: str, schema: Schema) -> None:
    """Add a collection; its ladders are spelled out."""
    with environment.writing() as txn:
        number = next_number(txn, keys.NEXT_COLLECTION)
        info = CollectionInfo(number, name, schema)
        txn.put(keys.COLLECTIONS, keys.name_key(name), info.to_bytes())
        txn.put(keys.MANIFESTS, keys.collection_key(info.id), to_bytes(Manifest()))
    reach("create.committed")


def drop(environment: Environment, info: CollectionInfo, opened: Iterable[Segment] = ()) -> None:
    """Remove a collection from LMDB, and retire its files.

    A crash in between leaves files that nothing names, which the next open retires.

    Args:
        environment: the database.
        info: the collection.
        opened: its segments, where this process has it open.
    """
    with environment.writing() as txn:
        segments = {item.id for item in _manifest(txn, info).segments}
        segments |= _built(txn, info)
        trained = _trained(txn, info)
        txn.delete(keys.COLLECTIONS, keys.name_key(info.name))
        start, stop = keys.collection_range(info.id)
        for db in (keys.MANIFESTS, keys.IDS, keys.BUFFER, keys.TOMBSTONES, keys.JOBS, keys.RECALLS):
            txn.delete_range(db, start, stop)
        for codec in trained:
            txn.delete(keys.CODECS, keys.codec_key(codec))
        number = txn.id
    reach("drop.committed")
    opened = list(opened)
    closed = segments - {item.info.id for item in opened}
    reclaimer = environment.reclaimer
    reclaimer.retire_paths([environment.paths.segment(item) for item in closed], number)
    reclaimer.retire(opened, trained, number)


def _manifest(txn: Txn, info: CollectionInfo) -> Manifest:
    """The manifest, or an empty one where it is damaged: a collection can always be dropped."""
    try:
        stored = txn.get(keys.MANIFESTS, keys.collection_key(info.id))
        return Manifest() if stored is None else from_bytes(Manifest, stored)
    except CorruptionError:
        return Manifest()


def _built(txn: Txn, info: CollectionInfo) -> set[int]:
    """The segments that an alteration under way has made."""
    try:
        job = alter_jobs(txn).get(info.id)
        return set() if job is None else {item.info.id for item in job.built}
    except CorruptionError:
        return set()


def _trained(txn: Txn, info: CollectionInfo) -> list[int]:
    try:
        return [codec.id for codec in codecs_of(txn, info)]
    except CorruptionError:
        return []
