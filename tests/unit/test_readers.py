"""One process writes, others read."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from vecstore.errors import LockedError, NotADatabaseError, NotFoundError, ReadOnlyError
from vecstore.ingest import store
from vecstore.segment.load import load_snapshot
from vecstore.segment.snapshot import Snapshot

SCHEMA = vs.Schema(vectors=[vs.Vector("v", 4, "dot", ["bits1", "float16"])])

WRITER = """
import sys, numpy as np, vecstore as vs
with vs.open(sys.argv[1], options=vs.Options(background=False)) as db:
    schema = vs.Schema(vectors=[vs.Vector("v", 4, "dot", ["bits1", "float16"])])
    exists = "items" in db.collections()
    items = db.collection("items") if exists else db.create_collection("items", schema)
    print("ready", flush=True)
    for line in sys.stdin:
        exec(line)
        print("done", flush=True)
"""


class Writer:
    """A writer in another process, told what to do line by line."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer("ready")

    def do(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self._answer("done")

    def _answer(self, expected: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == expected

    def close(self) -> None:
        self.process.communicate()


def test_reader_sees_each_acknowledged_write(tmp_path: Path) -> None:
    """A reader answers from the writer's last acknowledged write, flushed or not."""
    writer = Writer(tmp_path)
    with vs.open(tmp_path, read_only=True) as db:
        items = db.collection("items")
        assert items.count() == 0
        writer.do("items.upsert([1, 2], np.eye(4)[:2])")
        assert items.search(np.eye(4)[0]).ids.tolist() == [1, 2]
        writer.do("items.upsert([3], np.eye(4)[:1])")
        assert items.search(np.eye(4)[0]).ids.tolist() == [1, 3, 2]
        writer.do("items.flush()")
        assert items.search(np.eye(4)[0]).ids.tolist() == [1, 3, 2]
        writer.do("items.upsert([1], np.eye(4)[3:])")
        assert items.search(np.eye(4)[0]).ids.tolist() == [3, 2, 1]
        assert [record.id for record in items.scroll()] == [2, 3, 1]
        writer.do("items.delete([3])")
        assert items.get([1, 3])[1] is None
        assert items.count() == 2
        assert db.check() == []
    writer.close()


def test_a_reader_forgets_a_buffer_whose_segment_is_gone(tmp_path: Path) -> None:
    """Records that were flushed and died, with their segment, are no longer seen."""
    writer = Writer(tmp_path)
    writer.do("items.upsert(range(4), np.eye(4))")
    with vs.open(tmp_path, read_only=True) as db:
        items = db.collection("items")
        assert items.count() == 4
        writer.do("items.flush()")
        writer.do("items.delete([0, 1]); items.upsert([2, 3], np.eye(4)[2:])")
        writer.do("from vecstore.ingest.compact import compact_all; compact_all(items._store)")
        assert [record.id for record in items.scroll()] == [2, 3]
        assert sorted(items.search(np.ones(4)).ids.tolist()) == [2, 3]
        assert items.count() == items.stats().buffered == 2
    writer.close()


def folders(path: Path) -> int:
    """How many segments lie in a database."""
    return len(list((path / "segments").iterdir()))


def fill(writer: Writer) -> None:
    """Three segments of one record each: ids 0, 1, 2."""
    for number in range(3):
        writer.do(f"items.upsert([{number}], np.eye(4)[{number}:{number}+1], [dict(n={number})])")
        writer.do("items.flush()")


def test_hits_of_a_reader_outlive_a_compaction(tmp_path: Path) -> None:
    """Hits can be read after the writer replaced their segments, which stay until they are gone."""
    writer = Writer(tmp_path)
    fill(writer)
    with vs.open(tmp_path, read_only=True) as db:
        items = db.collection("items")
        hits = items.search([3, 2, 1, 0], with_vectors=True)
        writer.do("items.compact()")
        assert folders(tmp_path) == 4
        assert items.stats().segments == 1, "new reads see what the writer made"
        writer.do("db._environment.reclaimer.sweep()")
        assert folders(tmp_path) == 4
        assert [(hit.id, hit.payload["n"]) for hit in hits] == [(0, 0), (1, 1), (2, 2)]
        assert hits[1].vectors["v"].tolist() == [0, 1, 0, 0]
        del hits
        writer.do("db._environment.reclaimer.sweep()")
        assert folders(tmp_path) == 1
        assert db.check() == []
    writer.close()


def test_hits_of_a_reader_outlive_a_drop(tmp_path: Path) -> None:
    """Hits can be read after the writer dropped their collection; then its files go."""
    writer = Writer(tmp_path)
    fill(writer)
    with vs.open(tmp_path, read_only=True) as db:
        hits = db.collection("items").search([3, 2, 1, 0])
        writer.do("db.drop_collection('items')")
        assert [hit.payload["n"] for hit in hits] == [0, 1, 2]
        assert folders(tmp_path) == 3
    writer.do("db._environment.reclaimer.sweep()")
    assert folders(tmp_path) == 0
    writer.close()


def test_reader_that_reads_nothing_old_holds_up_nothing(tmp_path: Path) -> None:
    """A reader that reads no collection lets the writer remove what later commits replace."""
    writer = Writer(tmp_path)
    fill(writer)
    with vs.open(tmp_path, read_only=True) as db:
        items = db.collection("items")
        assert items.count() == 3
        writer.do("items.compact()")
        assert items.count() == 3
        writer.do("items.delete([0])")
        assert items.count() == 2
        writer.do("db._environment.reclaimer.sweep()")
        assert folders(tmp_path) == 1
    writer.close()


def pins(path: Path) -> int:
    """How many readers say what they read."""
    found = path / "readers"
    return len(list(found.iterdir())) if found.exists() else 0


def test_idle_reader_holds_up_nothing(tmp_path: Path) -> None:
    """A reader that never opened a collection, or whose last one is gone, has no pin."""
    writer = Writer(tmp_path)
    fill(writer)
    with vs.open(tmp_path, read_only=True) as db:
        assert db.collections() == ["items"]
        assert db.check() == []
        assert pins(tmp_path) == 0
        writer.do("items.compact(); db._environment.reclaimer.sweep()")
        assert folders(tmp_path) == 1
        items = db.collection("items")
        assert items.count() == 3
        assert pins(tmp_path) == 1
        hits = items.search([3, 2, 1, 0])
        writer.do("db.drop_collection('items')")
        with pytest.raises(NotFoundError, match="'items'"):
            items.count()
        assert pins(tmp_path) == 1
        assert hits[0].payload["n"] == 0
        del hits
        assert pins(tmp_path) == 0
        writer.do("items = db.create_collection('items', schema)")
        fill(writer)
        again = db.collection("items")
        writer.do("items.compact(); db._environment.reclaimer.sweep()")
        assert folders(tmp_path) == 4
        assert len(again.search([3, 2, 1, 0])) == 3
    assert pins(tmp_path) == 0
    writer.close()


@pytest.mark.parametrize("other_open", [False, True])
def test_a_collection_is_pinned_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_open: bool
) -> None:
    """What is being loaded stays, though meanwhile the reader sees later commits elsewhere."""
    writer = Writer(tmp_path)
    writer.do("other = db.create_collection('other', schema)")
    fill(writer)
    loaded, go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> Snapshot:
        found = load_snapshot(*args)
        if found.info.name == "items":
            loaded.set()
            assert go_on.wait(60)
        return found

    with vs.open(tmp_path, read_only=True) as db, ThreadPoolExecutor(1) as threads:
        if other_open:
            assert db.collection("other").count() == 0
        other = db.collection("other")._store if other_open else None
        monkeypatch.setattr(store, "load_snapshot", slow)
        opening = threads.submit(db.collection, "items")
        assert loaded.wait(60)
        writer.do("items.compact(); other.upsert([1], np.eye(4)[:1])")
        if other is not None:
            assert other.snapshot().manifest.live == 1
        writer.do("db._environment.reclaimer.sweep()")
        assert folders(tmp_path) == 4
        go_on.set()
        items = opening.result()
        stale = items._store._snapshot
        assert [live.source.seqs.tolist() for live in stale.segments] == [[0], [1], [2]]
        del stale
        assert items.count() == 3
        writer.do("other.upsert([2], np.eye(4)[:1]); db._environment.reclaimer.sweep()")
        assert folders(tmp_path) == 1
    writer.close()


@pytest.mark.parametrize("again", [False, True])
def test_reader_lets_go_of_a_dropped_collection(tmp_path: Path, again: bool) -> None:
    """Once a reader was told that a collection is gone, its files go, also while it stays open."""
    writer = Writer(tmp_path)
    fill(writer)
    with vs.open(tmp_path, read_only=True) as db:
        items = db.collection("items")
        assert items.count() == 3
        writer.do("db.drop_collection('items')")
        assert folders(tmp_path) == 3
        if again:
            writer.do("items = db.create_collection('items', schema)")
            assert db.collection("items").count() == 0
        with pytest.raises(NotFoundError, match="'items'"):
            items.count()
        writer.do("db._environment.reclaimer.sweep()")
        assert folders(tmp_path) == 0
    writer.close()


def test_next_writer_leaves_what_readers_read(tmp_path: Path) -> None:
    """Files that the last writer left to a reader outlive it, and go after the reader."""
    writer = Writer(tmp_path)
    fill(writer)
    with vs.open(tmp_path, read_only=True) as db:
        hits = db.collection("items").search([3, 2, 1, 0])
        writer.do("items.compact()")
        writer.close()
        writer = Writer(tmp_path)
        assert folders(tmp_path) == 4
        writer.do("assert db.check() == []")
        assert [hit.payload["n"] for hit in hits] == [0, 1, 2]
    writer.do("db._environment.reclaimer.sweep()")
    assert folders(tmp_path) == 1
    writer.close()


def test_reader_of_a_dropped_collection_is_told(tmp_path: Path) -> None:
    """A reader's handle of a collection that the writer dropped raises NotFoundError."""
    writer = Writer(tmp_path)
    with vs.open(tmp_path, read_only=True) as db:
        items = db.collection("items")
        writer.do("db.drop_collection('items')")
        with pytest.raises(NotFoundError, match="'items'"):
            items.search(np.ones(4))
        assert db.collections() == []
    writer.close()


def test_reader_cannot_write(tmp_path: Path) -> None:
    """Every write through a reader raises ReadOnlyError and changes nothing."""
    with vs.open(tmp_path) as db:
        db.create_collection("items", SCHEMA).upsert([1], np.eye(4)[:1])
    with vs.open(tmp_path, read_only=True) as db:
        items = db.collection("items")
        for write in (
            lambda: items.upsert([2], np.eye(4)[:1]),
            lambda: items.delete([1]),
            lambda: items.delete(where=None, ids=[1]),
            items.flush,
            lambda: db.create_collection("more", SCHEMA),
            lambda: db.drop_collection("items"),
        ):
            with pytest.raises(ReadOnlyError, match="read_only"):
                write()
        assert items.count() == 1


def test_second_writer_is_refused(tmp_path: Path) -> None:
    """A second writer is refused and told who writes; the first goes on."""
    writer = Writer(tmp_path)
    with pytest.raises(LockedError, match=str(writer.process.pid)):
        vs.open(tmp_path)
    writer.do("items.upsert([1], np.eye(4)[:1])")
    writer.close()
    with vs.open(tmp_path) as db:
        assert db.collection("items").count() == 1


def test_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    """The next writer opens at once after kill -9 of the last."""
    writer = Writer(tmp_path)
    writer.process.kill()
    writer.close()
    with vs.open(tmp_path) as db:
        assert db.collections() == ["items"]


def test_reader_needs_a_database(tmp_path: Path) -> None:
    """Opening nothing, or something else, for reading makes no database."""
    (tmp_path / "file").write_text("hello")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(NotADatabaseError):
            vs.open(path, read_only=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_reader_sees_what_policies_did_to_the_buffer(tmp_path: Path) -> None:
    """Also where the schema is again what it was, and there was never a segment."""
    writer = Writer(tmp_path / "db")
    writer.do('field = vs.MultiVector("p", 4, "dot")')
    writer.do('pages = db.create_collection("pages", vs.Schema([field]))')
    writer.do('pages.upsert(range(2), {"p": [np.eye(4), np.ones((6, 4))]})')
    with vs.open(tmp_path / "db", read_only=True) as db:
        pages = db.collection("pages")

        def lengths() -> list[int]:
            found = pages.get([0, 1], with_vectors=True)
            return [len(record.vectors["p"]) for record in found if record is not None]

        assert lengths() == [4, 6]
        writer.do('pages.alter("p", pruning="share0.5")')
        writer.do('pages.alter("p", pruning="")')
        assert lengths() == [2, 3]
    writer.close()
