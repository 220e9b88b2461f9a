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
from vecstore.storage.kv import Kv, Txn

IDS = list(range(40))
VERSIONS = 60


def test_no_read_sees_half_a_write(tmp_path: Path) -> None:
    """Beside upserts, flushes and deletes, every read sees one version of all records."""
    schema = vs.Schema(
        vectors=[vs.Vector("v", 8, "dot", ["bits2", "float16"])],
        columns=[vs.Column("version", "int")],
    )
    done = Event()
    with vs.open(tmp_path / "db", options=vs.Options(threads=2)) as db:
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
