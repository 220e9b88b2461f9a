"""The public API as README uses it: checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np

import vecstore as vs
from vecstore.reports import CollectionStats
from vecstore.types import Array, Float32, Id, Payload, StageReport


def embedded(path: Path, vectors: Float32, payloads: list[Payload]) -> None:
    """Make a collection, fill it and search it, in this process."""
    with vs.open(path) as db:
        schema = vs.Schema(
            vectors=[
                vs.Vector("text", dim=384, metric="cosine", representations=["bits1", "float16"])
            ],
            columns=[vs.Column("year", "int"), vs.Column("tags", "list[keyword]")],
        )
        books = db.create_collection("books", schema)
        ids: list[Id] = ["a", 7]
        assert_type(books.upsert(ids, vectors={"text": vectors}, payloads=payloads), int)
        assert_type(books.upsert(ids, vectors=vectors), int)
        assert_type(books.upsert(np.arange(2), vectors), int)
        assert_type(books.upsert(range(2), vectors), int)
        assert_type(books.upsert(ids, vectors, ttl_s=3600), int)
        assert_type(books.upsert(ids, vectors, ttl_s=[0.5, None]), int)
        hits = books.search(
            {"text": vectors[0]},
            limit=10,
            where="year >= 2015 AND tags CONTAINS 'sea'",
            with_vectors=True,
            explain=True,
        )
        assert_type(hits, vs.Hits)
        for hit in hits:
            assert_type(hit, vs.Hit)
            assert_type(hit.id, Id)
            assert_type(hit.score, float)
            assert_type(hit.payload, Payload)
        assert_type(hits.ids, Array)
        assert_type(hits.scores, Float32)
        assert_type(hits.partial, bool)
        assert_type(hits.explain, tuple[StageReport, ...] | None)
        assert_type(db.collections(), list[str])
        assert_type(db.check(), list[str])
        db.drop_collection("books")


def sets(path: Path, pages: list[Float32 | None], query: Float32) -> None:
    """Write sets of vectors, search them, and see what matched."""
    with vs.open(path) as db:
        schema = vs.Schema([vs.MultiVector("pages", 128), vs.Vector("text", 384)])
        scans = db.create_collection("scans", schema)
        assert_type(scans.upsert(range(2), {"pages": pages}), int)
        plan = vs.Cascade([vs.Scan("bits2", 100), vs.MaxSim("pages", 10, token_budget=50)])
        given = {"text": query[0], "pages": query}
        assert_type(scans.search(given, plan=plan, token_budget=20), vs.Hits)
        assert_type(scans.search_batch({"pages": [query, query[:1]]}), list[vs.Hits])
        assert_type(scans.search({"pages": query[0]}, agg="max", group_by="parent"), vs.Hits)
        assert_type(scans.rerank({"pages": query}, ["a", 7], limit=1), vs.Hits)
        hits = scans.search({"pages": query}, explain=True)
        assert_type(hits.matches, tuple[vs.TokenMatches, ...] | None)
        for found in scans.matches({"pages": query}, [7]):
            assert found is None or assert_type(found, vs.TokenMatches).scores.sum() > 0


def codes(path: str, ids: Array, vectors: Float32) -> None:
    """Encode here, and write codes."""
    with vs.open(path) as db:
        books = db.collection("books")
        codec = books.codec("text")
        assert_type(codec.encode(vectors), vs.Codes)
        assert_type(codec.decode(codec.encode(vectors)), Float32)
        assert_type(codec.fingerprint, str)
        assert_type(books.upsert(ids, {"text": codec.encode(vectors)[:10]}), int)


def plans(path: str, queries: Float32) -> None:
    """Say how to search: by an explicit plan, or exactly; one query or many."""
    db = vs.open(path)
    books = db.collection("books")
    plan = vs.Cascade([vs.Scan("bits1", keep=1000), vs.Rescore("float16", keep=10)])
    assert_type(books.search(queries[0], plan=plan), vs.Hits)
    probe = vs.Probe("bits1", nprobe=50, keep=1000)
    assert_type(books.search(queries[0], plan=vs.Cascade([probe])), vs.Hits)
    assert_type(books.search_batch({"text": queries}, limit=5, exact=True), list[vs.Hits])
    assert_type(books.search_batch(queries, with_payload=False), list[vs.Hits])
    db.close()


def records(path: str) -> None:
    """Read, count and delete records."""
    with vs.open(path) as db:
        books = db.collection("books")
        assert_type(books.name, str)
        assert_type(books.schema, vs.Schema)
        assert_type(books.get(["a", 7], with_vectors=True), list[vs.Record | None])
        for record in books.scroll(where="year IS NULL"):
            assert_type(record, vs.Record)
        assert_type(books.count(), int)
        assert_type(books.count("year = 1999"), int)
        assert_type(books.delete(["a"]), int)
        assert_type(books.delete(where="year < 1900"), int)
        assert_type(books.stats(), CollectionStats)
        assert_type(books.measure_recall(), vs.Recall)
        assert_type(books.measure_recall(np.ones((5, 384)), limit=20).overlap, float)
        books.flush()


def backups(path: str) -> None:
    """Copy a database, and bring it back."""
    with vs.open(path) as db:
        assert_type(db.snapshot("backup"), vs.SnapshotInfo)
    vs.restore("backup", "again", progress=lambda what, done, total: None)
    assert_type(vs.snapshots("s3://bucket/library"), list[vs.SnapshotInfo])


def upkeep(path: str) -> None:
    """Look after a database: its jobs, its ladders, its soundness."""

    def told(what: str, done: int, total: int) -> None: ...

    for db in (vs.open(path), vs.connect("localhost")):
        books = db.collection("books")
        books.compact()
        books.alter("text", ["bits1", "float16"], wait=False)
        books.alter("pages", pruning="share0.5", pooling="")
        db.pause_jobs()
        assert_type(db.jobs(), list[vs.Job])
        db.resume_jobs()
        assert_type(db.check(told), list[str])
        assert_type(db.repair(progress=told), vs.RepairReport)
        assert_type(db.snapshot("monday", progress=told), vs.SnapshotInfo)
        assert_type(books.stats().quarantined, tuple[str, ...])
        assert_type(books.stats().jobs, tuple[vs.Job, ...])


def remote(queries: Float32) -> None:
    """Do the same through a server."""
    with vs.connect("localhost:7700", token="secret") as db:
        books = db.collection("books")
        written: int = books.upsert([1], vectors={"text": queries[:1]})
        hits: vs.Hits = books.search({"text": queries[0]}, limit=written)
        many: list[vs.Hits] = books.search_batch(queries, where="lang = 'en'")
        found: list[vs.Record | None] = books.get([1])
        assert len(many) + len(found) + len(hits) == books.count()


def wrong(path: str) -> str:
    """Every error that vecstore raises on purpose is a VecstoreError."""
    try:
        with vs.open(path) as db:
            db.collection("books").search(np.zeros(3, np.float32))
    except vs.errors.DimensionError as error:
        return str(error)
    except vs.errors.VecstoreError as error:
        return str(error)
    return ""
