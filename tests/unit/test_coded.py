"""Ready-made codes: which are taken, which are refused, and that they are kept byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.unit.damaged import flip
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import CodecError, CorruptionError, NotFoundError, SchemaError
from vecstore.ingest.compact import compact_all
from vecstore.segment.codecs import CodecShelf, codecs_of
from vecstore.types import Float32, Metric, Uint8

DIM, ROWS = 32, 60
OPTIONS = vs.Options(background=False, threads=1)
METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")
LADDERS = (
    ["bits1", "bits8"],
    ["bits2"],
    ["prefix16/bits1", "prefix24/bits4"],
    ["bits1", "int8"],
    ["bits1", "pca8/bits4"],
    ["bits1", "float16"],
    ["float32"],
    ["prefix8/float16"],
)


def vectors(count: int = ROWS, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def make(db: Database, ladder: Sequence[str], metric: Metric = "dot") -> Collection:
    """A collection whose codecs are trained, of as many records as were needed for that."""
    items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM, metric, ladder)]))
    try:
        items.codec("v")
    except NotFoundError:
        train(items, range(-ROWS, 0))
    return items


def train(items: Collection, ids: range, seed: int = 9) -> None:
    items.upsert(ids, vectors(len(ids), seed))
    items.flush()


def kept(items: Collection) -> Uint8:
    """The codes of the finest representation of all rows with ids from 0 on, oldest first."""
    found = []
    for live in items._store.snapshot().sources:
        source = live.source
        codes = source.codes("v", source.specs("v")[-1])
        assert codes is not None
        ids = [record.id for record in items.scroll()]
        assert len(ids) == sum(each.source.rows for each in items._store.snapshot().sources)
        found.append(codes.codec.unpack(codes.parts, np.arange(source.rows)))
    mine = np.array([int(record.id) >= 0 for record in items.scroll()])
    everything: Uint8 = np.concatenate(found)[mine]
    return everything


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ladder", LADDERS)
def test_codes_are_kept(foreground: Database, ladder: list[str], metric: Metric) -> None:
    """Codes are the same bytes after a flush and a compaction, and so are exact scores."""
    items = make(foreground, ladder, metric)
    codec = items.codec("v")
    codes = codec.encode(vectors())
    query = vectors(1, seed=4)[0]
    items.upsert(range(40), {"v": codes[:40]})
    items.flush()
    items.upsert(range(40, ROWS), codes[40:])
    before = items.search(query, limit=20, exact=True)
    assert kept(items).tobytes() == codes.codes.tobytes()
    items.flush()
    assert kept(items).tobytes() == codes.codes.tobytes()
    items.compact()
    assert items.stats().segments == 1
    assert kept(items).tobytes() == codes.codes.tobytes()
    after = items.search(query, limit=20, exact=True)
    assert after.ids.tolist() == before.ids.tolist()
    np.testing.assert_array_equal(after.scores, before.scores)
    records = items.get(range(ROWS), with_vectors=True)
    found = np.stack([record.vectors["v"] for record in records if record is not None])
    np.testing.assert_array_equal(found, codec.decode(codes))


@pytest.mark.parametrize("ladder", LADDERS)
def test_codes_are_those_of_the_database(tmp_path: Path, ladder: list[str]) -> None:
    """A database that was given vectors has the codes that its codec makes of them elsewhere."""
    with vs.open(tmp_path / "db", options=OPTIONS) as db:
        items = make(db, ladder, "cosine")
        items.upsert(range(ROWS), vectors())
        codec = items.codec("v")
        items.flush()
        assert items.codec("v").fingerprint == codec.fingerprint
        assert kept(items).tobytes() == codec.encode(vectors()).codes.tobytes()


def test_coarser_codes_are_made_of_the_finest(foreground: Database) -> None:
    """A search by a coarser representation finds records that came as codes."""
    items = make(foreground, ["bits1", "bits8"], "cosine")
    items.upsert(range(ROWS), {"v": items.codec("v").encode(vectors())})
    for _ in range(2):
        for row in (0, 7, 59):
            assert items.search(vectors()[row], limit=1).ids.tolist() == [row]
        items.flush()
    stats = {item.spec: item.vectors for item in items.stats().representations}
    assert stats == {"bits1": ROWS, "bits8": ROWS}


def test_codes_and_vectors_side_by_side(foreground: Database) -> None:
    """Batches of vectors and of codes are searched together, before and after a flush."""
    items = make(foreground, ["bits1", "bits8"])
    codec, given = items.codec("v"), vectors()
    for start in range(0, ROWS, 10):
        part = given[start : start + 10]
        items.upsert(range(start, start + 10), codec.encode(part) if start % 20 else part)
    items.delete([3, 13])
    assert len(items._store.snapshot().blocks) > 1
    for _ in range(2):
        hits = items.search(given[25], limit=ROWS, exact=True)
        expected = np.delete(given, [3, 13], axis=0) @ given[25]
        np.testing.assert_allclose(np.sort(hits.scores), np.sort(expected), atol=0.3)
        assert hits.ids[0] == 25
        items.flush()
    coded = np.delete(np.arange(ROWS), [3, 13])
    assert kept(items).tobytes() == codec.encode(given[coded]).codes.tobytes()


def test_codes_survive_a_restart(tmp_path: Path) -> None:
    """Batches of codes, of vectors and of neither are there after the database was opened again."""
    with vs.open(tmp_path / "db", options=OPTIONS) as db:
        items = make(db, ["bits1", "int8"])
        codes = items.codec("v").encode(vectors())
        items.upsert(range(20), {"v": codes[:20]})
        items.upsert(range(100, 110))
        items.upsert(range(20, 30), {"v": codes[20:30]})
        items.upsert(range(200, 210), vectors(10, seed=8))
        items.upsert(range(30, ROWS), {"v": codes[30:]})
        before = records(items)
    for read_only in (True, False):
        with vs.open(tmp_path / "db", options=OPTIONS, read_only=read_only) as db:
            assert records(db.collection("items")) == before
            assert db.collection("items").codec("v").fingerprint == codes.fingerprint
            assert db.check() == []


def records(items: Collection) -> list[tuple[Any, dict[str, bytes]]]:
    return [
        (record.id, {name: vector.tobytes() for name, vector in record.vectors.items()})
        for record in items.scroll(with_vectors=True)
    ]


def test_the_last_of_two_codes_of_an_id_counts(foreground: Database) -> None:
    """Where an id comes twice in a batch of codes, its last code is kept."""
    items = make(foreground, ["bits8"])
    codes = items.codec("v").encode(vectors(3))
    assert items.upsert([1, 2, 1], {"v": codes}) == 2
    assert kept(items).tobytes() == codes.codes[[1, 2]].tobytes()


def test_trained_codec_stays_while_codes_come(foreground: Database) -> None:
    """A flush with codes of a trained codec keeps it, however many vectors come with them."""
    items = make(foreground, ["bits1", "int8"])
    codec = items.codec("v")
    items.upsert(range(1000, 2000), vectors(1000, seed=2))
    items.upsert(range(ROWS), {"v": codec.encode(vectors())})
    items.flush()
    assert items.codec("v").fingerprint == codec.fingerprint
    items.upsert(range(1000, 2000), vectors(1000, seed=2))
    items.flush()
    assert items.codec("v").fingerprint != codec.fingerprint


def test_codec_stays_for_codes_in_the_buffer(tmp_path: Path) -> None:
    """A codec that only codes in the write buffer need is kept until they are of another."""
    with vs.open(tmp_path / "db", options=OPTIONS) as db:
        items = make(db, ["bits1", "int8"])
        old = items.codec("v")
        train(items, range(1000, 1500))
        items.upsert(range(ROWS), {"v": old.encode(vectors())})
        compact_all(items._store, everything=True)
        assert trained(items) == 2
        before = records(items)
    with vs.open(tmp_path / "db", options=OPTIONS) as db:
        items = db.collection("items")
        assert records(items) == before
        compact_all(items._store, everything=True)
        assert trained(items) == 2
        items.compact()
        assert trained(items) == 1
        assert db.check() == []


def trained(items: Collection) -> int:
    with items._store.environment.kv.read() as txn:
        return len(codecs_of(txn, items._store.shelf.collection))


def test_alter_with_codes_in_the_buffer(foreground: Database) -> None:
    """A ladder may get coarser while codes wait in the write buffer, and not finer."""
    items = make(foreground, ["bits1", "bits8"])
    codec = items.codec("v")
    items.upsert(range(ROWS), {"v": codec.encode(vectors())})
    with pytest.raises(SchemaError, match="the original vectors are gone"):
        items.alter("v", ["bits1", "float16"])
    items.alter("v", ["bits4"])
    with pytest.raises(CodecError, match="expected 'bits4', its finest"):
        items.upsert([1], {"v": codec.encode(vectors(1))})
    before = items.get([5], with_vectors=True)
    assert before[0] is not None
    np.testing.assert_array_equal(before[0].vectors["v"], codec.decode(codec.encode(vectors()))[5])
    items.flush()
    expected = items.codec("v").encode(codec.decode(codec.encode(vectors())))
    assert kept(items).tobytes() == expected.codes.tobytes()


def upsert_meanwhile(path: Path, write: Callable[[Collection], object]) -> None:
    """Upsert codes, the first of a process, and write something else while their codec is read."""
    with vs.open(path, options=OPTIONS) as db:
        items = make(db, ["bits1", "int8"])
        codes = items.codec("v").encode(vectors())
    reading, done = Event(), Event()
    read = CodecShelf._params

    def slow(shelf: CodecShelf, codec: int) -> object:
        if not reading.is_set():  # others read it at once
            reading.set()
            assert done.wait(60)
        return read(shelf, codec)

    with (
        vs.open(path, options=OPTIONS) as db,
        pytest.MonkeyPatch.context() as patch,
        ThreadPoolExecutor(2) as threads,
    ):
        items = db.collection("items")
        patch.setattr(CodecShelf, "_params", slow)
        coded = threads.submit(items.upsert, range(ROWS), codes)
        assert reading.wait(60)
        try:
            threads.submit(write, items).result(10)
        finally:
            done.set()
        assert coded.result(60) == ROWS
        assert db.check() == []


def test_writers_do_not_wait_for_a_codec_to_be_read(tmp_path: Path) -> None:
    """While the codec of some codes is loaded, others write."""
    upsert_meanwhile(tmp_path / "db", lambda items: items.delete([-1]))


def test_a_codec_stays_until_it_is_read(tmp_path: Path) -> None:
    """A codec that is dropped while it is loaded for some codes is whole; the codes are refused."""

    def drop(items: Collection) -> None:
        old = set(path.glob("codecs/*"))
        train(items, range(1000, 1500))
        items.compact()
        assert trained(items) == 1
        assert old < set(path.glob("codecs/*"))

    path = tmp_path / "db"
    with pytest.raises(CodecError, match="dropped meanwhile"):
        upsert_meanwhile(path, drop)
    with vs.open(path, options=OPTIONS) as db:
        assert db.check() == []
        assert len(list(path.glob("codecs/*"))) == 1


def test_codes_of_a_damaged_codec_are_told_to_be_lost(tmp_path: Path) -> None:
    """Where the file of a codec is damaged that only the write buffer needs, repair says so."""
    with vs.open(tmp_path / "db", options=OPTIONS) as db:
        items = make(db, ["int8"])
        codec = items.codec("v")
        items.delete(range(-ROWS, 0))
        compact_all(items._store, everything=True)
        items.upsert([1, 2], {"v": codec.encode(vectors(2))})
        items.upsert([3])
    [file] = (tmp_path / "db" / "codecs").iterdir()
    flip(file, -10)
    with vs.open(tmp_path / "db", options=OPTIONS) as db:
        assert db.check()
        with pytest.raises(CorruptionError):
            db.collection("items").search(vectors(1)[0])
        report = db.repair()
        assert [text for text in report.lost if "write buffer is gone" in text]
        assert db.check() == list(report.remaining) == []
        assert [record.id for record in db.collection("items").scroll()] == [3]
