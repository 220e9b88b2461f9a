"""Searches beside writes, from many threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import numpy as np
import pytest

import vecstore as vs
from vecstore.collection import Collection
from vecstore.errors import ClosedError
from vecstore.storage.kv import Kv, Txn
from vecstore.types import Durability

IDS = list(range(40))
VERSIONS = 60


OPTIONS = [
    vs.Options(threads=2),
    vs.Options(threads=2, flush_bytes_max=4_000, durability="group"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=["quiet", "flushing"])
def test_no_read_sees_half_a_write(tmp_path: Path, options: vs.Options) -> None:
    """Beside upserts, flushes, compactions and deletes, every read sees one version of all."""
    schema = vs.Schema(
        vectors=[vs.Vector("v", 8, "dot", ["bits2", "float16"])],
        columns=[vs.Column("version", "int")],
    )
    done = Event()
    with vs.open(tmp_path / "db", options=options) as db:
        items = db.create_collection("items", schema)
        items.upsert(IDS, np.ones((40, 8)), [{"version": 0}] * 40)

        def write() -> None:
            for version in range(1, VERSIONS):
                items.upsert(IDS, np.full((40, 8), version), [{"version": version}] * 40)
                if version % 7 == 0:
                    items.flush()
                if version % 11 == 0:
                    assert items.delete(where=f"version < {version}") == 0
            done.set()

        def search() -> int:
            hits = items.search(np.ones(8), limit=100)
            versions = {hit.payload["version"] for hit in hits}
            assert sorted(hits.ids) == IDS
            assert set(hits.scores.tolist()) == {8.0 * max(*versions, 1)}
            assert len(versions) == 1
            return versions.pop()

        def get() -> int:
            records = items.get(IDS)
            versions = {record.payload["version"] for record in records if record}
            assert all(records)
            assert len(versions) == 1
            return versions.pop()

        def read(once: Callable[[], int]) -> int:
            last = rounds = 0
            while not done.is_set():
                version = once()
                assert version >= last
                last, rounds = version, rounds + 1
            assert once() == VERSIONS - 1
            return rounds

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(read, once) for once in (search, search, get)]
            pool.submit(write).result()
            assert all(future.result() > 0 for future in futures)
        assert db.check() == []


def test_write_cut_off_after_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interrupt between a commit and its publication, reads and writes go on from it."""
    write = Kv.write

    @contextmanager
    def cut_off(kv: Kv) -> Iterator[Txn]:
        with write(kv) as txn:
            yield txn
        raise KeyboardInterrupt

    schema = vs.Schema(vectors=[vs.Vector("v", 4, "dot")])
    with vs.open(tmp_path / "db") as db:
        items = db.create_collection("items", schema)
        items.upsert([1], np.eye(4)[:1])
        for interrupted in (
            lambda: items.upsert([1, 2], np.eye(4)[1:3]),
            lambda: items.delete([1]),
            lambda: items.upsert([3], np.eye(4)[3:]),
        ):
            monkeypatch.setattr(Kv, "write", cut_off)
            with pytest.raises(KeyboardInterrupt):
                interrupted()
            monkeypatch.undo()
            assert items.get([2])[0] is not None
        assert [record.id for record in items.scroll()] == [2, 3]
        assert items.search(np.ones(4)).ids.tolist() == [2, 3]
        items.flush()
        assert items.count() == 2
        assert db.check() == []


@pytest.mark.parametrize("durability", ["fsync", "group"])
def test_writers_beside_each_other(tmp_path: Path, durability: Durability) -> None:
    """Many threads write, delete, flush and compact; in the end each has what it wrote last."""
    options = vs.Options(flush_bytes_max=20_000, durability=durability)
    schema = vs.Schema(vectors=[vs.Vector("v", 8, "dot", ["int8", "float16"])])

    def write(items: Collection, number: int) -> dict[int, int]:
        rng = np.random.default_rng(number)
        kept: dict[int, int] = {}
        for step in range(60):
            ids = (100 * number + rng.choice(40, 10, replace=False)).tolist()
            if step % 5 == 4:
                assert items.delete(ids) == len(kept.keys() & set(ids))
                kept = {id_: value for id_, value in kept.items() if id_ not in ids}
            else:
                items.upsert(ids, np.full((10, 8), step), [{"step": step}] * 10)
                kept |= dict.fromkeys(ids, step)
            if step % 23 == number:
                items.flush()
            if step == 30 + number:
                items.compact()
        return kept

    with vs.open(tmp_path, options=options) as db:
        items = db.create_collection("items", schema)
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(write, items, number) for number in range(4)]
            expected = {id_: step for future in futures for id_, step in future.result().items()}
        found = {record.id: record.payload["step"] for record in items.scroll()}
        assert found == expected
        assert items.count() == len(expected)
        assert db.jobs() == [] or all(job.state != "failed" for job in db.jobs())
        assert db.check() == []
    with vs.open(tmp_path) as db:
        assert {record.id for record in db.collection("items").scroll()} == expected.keys()
        assert db.check() == []


def test_close_waits_for_a_flush(tmp_path: Path) -> None:
    """A flush under way in another thread when the database is closed leaves nothing behind."""
    begun, go_on = Event(), Event()

    def slow(written: int) -> None:
        begun.set()
        assert go_on.wait(10)

    db = vs.open(tmp_path, options=vs.Options(background=False))
    items = db.create_collection("items", vs.Schema(vectors=[vs.Vector("v", 4)]))
    items.upsert([1], np.eye(4)[:1])
    with ThreadPoolExecutor(2) as pool:
        flush = pool.submit(items._store.background_flush, slow)
        assert begun.wait(10)
        closed = pool.submit(db.close)
        while not db._environment.closed:
            pass
        assert not closed.done()
        go_on.set()
        closed.result()
        assert isinstance(flush.exception(), ClosedError)
    assert list((tmp_path / "segments").iterdir()) == []
    with vs.open(tmp_path) as db:
        assert db.collection("items").count() == 1
