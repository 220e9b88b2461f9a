"""Snapshots as LMDB has them: with the schema of that commit, and of that collection only."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore as vs
from vecstore.database import Database
from vecstore.errors import CorruptionError, NotFoundError
from vecstore.segment.codecs import CodecShelf
from vecstore.segment.load import load_snapshot
from vecstore.segment.snapshot import Snapshot
from vecstore.storage import keys

SCHEMA = vs.Schema(vectors=[vs.Vector("v", 8, "dot", ("bits2", "float16"))], ttl_s=50)


def fill(database: Database) -> vs.Collection:
    collection = database.create_collection("items", SCHEMA)
    collection.upsert(range(20), np.ones((20, 8), dtype=np.float32))
    collection.flush()
    return collection


def load(database: Database, known: Snapshot) -> Snapshot:
    """The last commit as a process reads it that knows an earlier one."""
    environment = database._environment
    shelf = CodecShelf(
        kv=environment.kv,
        files=environment.files,
        paths=environment.paths,
        collection=known.info,
    )
    with environment.kv.read() as txn:
        return load_snapshot(environment, shelf, txn, known)


def test_the_schema_is_that_of_the_commit(database: Database) -> None:
    """Who read a collection before its ladder changed sees the new one, and the new segments."""
    collection = fill(database)
    before = collection._store.snapshot()
    assert before.info.schema == collection.schema
    assert load(database, before).segments[0].source is before.segments[0].source
    collection.alter("v", ("bits1", "float16"))
    after = load(database, before)
    assert before.info.schema.vectors[0].representations == ("bits2", "float16")
    assert after.info.schema.vectors[0].representations == ("bits1", "float16")
    assert after.info.schema.ttl_s == 50
    assert after.segments[0].source.specs("v") == ("bits1", "float16")
    assert before.segments[0].source.specs("v") == ("bits2", "float16")


def test_another_collection_of_that_name(database: Database) -> None:
    """A collection that was dropped is not found, though another has its name now."""
    before = fill(database)._store.snapshot()
    database.drop_collection("items")
    with pytest.raises(NotFoundError, match="it was dropped"):
        load(database, before)
    fill(database)
    with pytest.raises(NotFoundError, match="it was dropped"):
        load(database, before)


def test_rows_expire_by_the_clock_of_the_database(database: Database) -> None:
    """Loaded rows, of segments and of the write buffer, live as long as their collection says."""
    collection = fill(database)
    collection.upsert([100], np.ones((1, 8), dtype=np.float32))
    found = load(database, collection._store.snapshot())
    assert found.count_live() == 21
    now = database._environment.clock()
    database._environment.clock = lambda: now + 51
    found = load(database, collection._store.snapshot())
    assert found.count_live() == 0
    assert found.manifest.live == 21


def test_a_missing_manifest_is_damage(database: Database) -> None:
    """A collection without a manifest is a CorruptionError, not one that was dropped."""
    collection = fill(database)
    known, environment = collection._store.snapshot(), database._environment
    key = keys.collection_key(known.info.id)
    with environment.kv.read() as txn:
        kept = txn.get(keys.MANIFESTS, key)
    with environment.kv.write() as txn:
        txn.delete(keys.MANIFESTS, key)
    with pytest.raises(CorruptionError, match="has no manifest"):
        load(database, known)
    assert kept is not None
    with environment.kv.write() as txn:
        txn.put(keys.MANIFESTS, key, kept)
