"""What goes wrong on disk or midway, and what must still hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore import errors
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.ingest import flush
from vecstore.search.parallel import Workers
from vecstore.storage import keys
from vecstore.storage.kv import Kv
from vecstore.types import Float32

FOREGROUND = vs.Options(flush_bytes_max=1, background=False)
SCHEMA = vs.Schema(vectors=[vs.Vector("v", 4, "dot", ["pca2/int8", "bits1", "float16"])])


def fill(db: Database, name: str = "items", segments: int = 2) -> Collection:
    """A collection with one record in each segment: ids 0, 1, ..."""
    items = db.create_collection(name, SCHEMA)
    for number in range(segments):
        items.upsert([number], np.eye(4)[number : number + 1])
        items.flush()
    return items


def damage(path: Path, db: str, key: bytes) -> None:
    """Flip a bit of one stored value."""
    kv = Kv.open(path, databases=keys.DATABASES, map_bytes=1 << 30)
    with kv.write() as txn:
        raw = txn._txn.get(key, db=txn._dbs[db])
        txn._txn.put(key, bytes([raw[0] ^ 1]) + raw[1:], db=txn._dbs[db])
    kv.close()


def overlap(items: Collection, queries: Float32) -> float:
    """The share of the exact top 10 that the default plan finds."""
    pairs = zip(items.search_batch(queries, exact=True), items.search_batch(queries), strict=True)
    return float(np.mean([len(set(a.ids) & set(b.ids)) / 10 for a, b in pairs]))


def test_failed_flush_fails_before_the_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at an automatic flush: the batch is refused whole, nothing is left behind."""
    with vs.open(tmp_path, options=FOREGROUND) as db:
        items = db.create_collection("items", SCHEMA)
        items.upsert([1], np.eye(4)[:1])

        def full(*_: object) -> None:
            raise errors.DatabaseFullError("no space")

        monkeypatch.setattr(flush, "_name", full)
        for _ in range(3):
            with pytest.raises(errors.DatabaseFullError):
                items.upsert([2], np.eye(4)[1:2])
        assert [record.id for record in items.scroll()] == [1]
        assert db.check() == []
        monkeypatch.undo()
        items.upsert([2], np.eye(4)[1:2])
        assert items.stats().segments == 1
        assert items.count() == 2
        assert db.check() == []


def test_coarse_float16_never_stops_a_flush(tmp_path: Path) -> None:
    """What an upsert accepts can be flushed, also where a coarse float16 rung saturates."""
    ladder = ["prefix2/float16", "pca2/float16", "float16", "float32"]
    with vs.open(tmp_path) as db:
        items = db.create_collection("items", vs.Schema(vectors=[vs.Vector("v", 4, "dot", ladder)]))
        items.upsert([1, 2], np.full((2, 4), 1e6))
        items.flush()
        assert items.search(np.ones(4), exact=True).scores.tolist() == [4e6, 4e6]


def test_rewriting_the_same_records_flushes(tmp_path: Path) -> None:
    """The buffer is counted as written, so that rewriting a few records cannot grow it for ever."""
    with vs.open(tmp_path, options=vs.Options(flush_bytes_max=20_000, background=False)) as db:
        items = db.create_collection("items", vs.Schema(vectors=[vs.Vector("v", 4)]))
        for _ in range(50):
            items.upsert(range(50), np.ones((50, 4)))
        assert items._store.snapshot().buffer_bytes < 40_000
        assert items.stats().segments > 3
        assert items.count() == 50


@pytest.mark.parametrize("offset", [0, 10])
def test_default_plan_widens_until_it_is_sure(tmp_path: Path, offset: float) -> None:
    """Recall holds where codes are poor, as for l2 data far from the origin."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3000, 32)).astype(np.float32) + np.float32(offset)
    with vs.open(tmp_path) as db:
        items = db.create_collection("items", vs.Schema(vectors=[vs.Vector("v", 32, "l2")]))
        items.upsert(range(3000), rows)
        items.flush()
        assert overlap(items, rows[:50] + np.float32(0.1)) >= 0.98
        rounds = items.search(rows[0], explain=True).explain
        assert rounds is not None
        assert (len(rounds) > 2) == (offset > 0)


@pytest.mark.parametrize("metric", ["l2", "dot", "cosine"])
@pytest.mark.parametrize("spec", ["prefix16/bits4", "pca16/bits4"])
def test_shortened_scores_are_not_compared_with_whole_ones(
    tmp_path: Path, spec: str, metric: Any
) -> None:
    """A scan of some dimensions gives rows of buffer and segments the same chance."""
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((4000, 64)) * np.arange(1, 65) ** -0.7).astype(np.float32)
    queries = rows[::100] + np.float32(0.02) * rng.standard_normal((40, 64)).astype(np.float32)
    with vs.open(tmp_path) as db:
        schema = vs.Schema(vectors=[vs.Vector("v", 64, metric, [spec, "float16"])])
        items = db.create_collection("items", schema)
        items.upsert(range(3000), rows[:3000])
        items.flush()
        items.upsert(range(3000, 4000), rows[3000:])
        beside = overlap(items, queries)
        items.flush()
        assert beside >= overlap(items, queries) - 0.02


@pytest.mark.parametrize(
    ("db_name", "key"),
    [
        (keys.MANIFESTS, keys.collection_key(1)),
        (keys.COLLECTIONS, b"items"),
        (keys.CODECS, keys.codec_key(1)),
    ],
)
def test_one_damaged_value_stays_one(tmp_path: Path, db_name: str, key: bytes) -> None:
    """A damaged value is named by check; other collections work, and its own can be dropped."""
    with vs.open(tmp_path) as db:
        fill(db)
        fill(db, "others")
    damage(tmp_path, db_name, key)
    with vs.open(tmp_path) as db:
        assert db.collections() == ["items", "others"]
        assert any("checksum" in problem for problem in db.check())
        assert db.collection("others").search(np.ones(4)).ids.tolist() == [0, 1]
        db.create_collection("more", SCHEMA)
        if db_name != keys.COLLECTIONS:
            db.drop_collection("items")
            assert db.collections() == ["more", "others"]


def test_damaged_segment_leaves_the_others_alone(tmp_path: Path) -> None:
    """Records of healthy segments are read, written again and deleted beside a lost one."""
    with vs.open(tmp_path) as db:
        items = fill(db, segments=3)
        last = items._store.snapshot().manifest.segments[-1].id
    (tmp_path / "segments" / f"{last:016x}" / "rows").unlink()
    with vs.open(tmp_path) as db:
        items = db.collection("items")
        assert items.get([0])[0] is not None
        items.upsert([0], np.eye(4)[3:])
        assert items.delete([1]) == 1
        with pytest.raises(errors.CorruptionError, match="holds the seqs 2 to 2"):
            items.get([2])
        hits = items.search(np.ones(4))
        assert (hits.ids.tolist(), hits.partial) == ([0], True)
        assert any("No such file" in problem for problem in db.check())


def test_older_database_gains_key_spaces(tmp_path: Path) -> None:
    """A database without a key space that came later opens, for reading and for writing."""
    with vs.open(tmp_path) as db:
        fill(db)
    kv = Kv.open(tmp_path, databases=keys.DATABASES, map_bytes=1 << 30)
    with kv.write() as txn:
        txn._txn.drop(txn._dbs[keys.SCORES], delete=True)
    kv.close()
    for read_only in (True, False):
        with vs.open(tmp_path, read_only=read_only) as db:
            assert db.collection("items").count() == 2
            assert db.check() == []


def test_foreign_lmdb_is_left_alone(tmp_path: Path) -> None:
    """The directory of another program's LMDB file is refused before anything is made in it."""
    (tmp_path / "data.mdb").write_bytes(b"x" * 8192)
    with pytest.raises(errors.NotADatabaseError):
        vs.open(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.mdb"]


def test_search_after_close_says_so() -> None:
    """A search that was under way when the database closed gets ClosedError."""
    workers = Workers(2)
    tasks: list[Callable[[], int]] = [lambda: 1, lambda: 2]
    assert workers.run(tasks) == [1, 2]
    workers.close()
    with pytest.raises(errors.ClosedError, match="closed"):
        workers.run(tasks)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda path: vs.Options(threads=-1),
        lambda path: vs.Options(threads=True),
        lambda path: vs.Options(flush_bytes_max="x"),
        lambda path: vs.Options(map_bytes=-1),
        lambda path: vs.open(path, options={}),
        lambda path: vs.open(None),
        lambda path: vs.open("a\0b"),
        lambda path: vs.Cascade(5),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, wrong: Callable[[Path], Any]) -> None:
    """What cannot be an option, a path or a plan is a RequestError that says what it was."""
    with pytest.raises(errors.RequestError, match="expected"):
        wrong(tmp_path / "db")
    assert not (tmp_path / "db").exists()
