"""A damaged segment is left out of searches, which say so; what needs it says what is damaged."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pytest

import vecstore as vs
from tests.unit.damaged import DIM, OPTIONS, ROWS, fill, flip, segment_file, vectors_of
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import CorruptionError
from vecstore.segment.ids import encode_id
from vecstore.segment.snapshot import Snapshot

SECOND = range(ROWS, 2 * ROWS)


def opened(path: Path) -> Database:
    """The database, without background work."""
    return vs.open(path, options=OPTIONS)


def damage_second(path: Path, name: str = "codes-0-0") -> None:
    """Fill a database, and flip a bit in the arrays of a file of its second segment."""
    with opened(path) as db:
        fill(db)
    flip(segment_file(path, 1, name), 320)


def damage_expiring(path: Path) -> None:
    """Three segments of records that live for 1000 s; of the second the seqs and times are lost."""
    with opened(path) as db:
        items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM)], ttl_s=1000))
        for first in range(0, 3 * ROWS, ROWS):
            items.upsert(range(first, first + ROWS), vectors_of(first))
            items.flush()
    rows = segment_file(path, 1, "rows")
    for place in range(320, rows.stat().st_size - 400, 8):
        flip(rows, place)


def all_ids(items: Collection, field: str = "v") -> tuple[set[int], bool]:
    """The ids that a search for everything finds, and whether it says that it is partial."""
    plan = vs.Cascade([vs.Scan("bits1" if field == "v" else "float32", keep=1000)])
    hits = items.search({field: np.ones(DIM)}, limit=1000, plan=plan)
    return set(hits.ids.tolist()), hits.partial


def test_search_goes_on_without_a_damaged_segment(tmp_path: Path) -> None:
    """Hits of the other segments and of the write buffer come, marked as partial each time."""
    damage_second(tmp_path)
    with opened(tmp_path) as db:
        items = db.collection("items")
        for _ in range(2):
            found, partial = all_ids(items)
            assert partial
            assert found == set(range(4 * ROWS)) - set(SECOND)
        [text] = items.stats().quarantined
        assert "block 0" in text
        assert "codes-0-0" in text
        assert f"seqs {ROWS} to {2 * ROWS - 1}" in text


def test_batch_of_searches_is_partial_too(tmp_path: Path) -> None:
    """Each of many searches in one call says that it is partial, and lacks nothing else."""
    damage_second(tmp_path, "codes-0-2")
    with opened(tmp_path) as db:
        hits = db.collection("items").search_batch({"v": np.eye(DIM)}, limit=200)
        assert all(found.partial for found in hits)
        assert all(len(found) == 3 * ROWS for found in hits)


def test_search_of_another_field_is_whole(tmp_path: Path) -> None:
    """A search of a field that no quarantined segment has is not partial."""
    damage_second(tmp_path)
    with opened(tmp_path) as db:
        items = db.collection("items")
        assert all_ids(items)[1]
        assert all_ids(items, "w") == (set(range(ROWS)), False)


def test_what_needs_the_damaged_file_says_so(tmp_path: Path) -> None:
    """Records elsewhere are read; else a CorruptionError names file, block and seqs."""
    damage_second(tmp_path, "payloads")
    words = f"block 0 of array .*payloads.*segment 2 holds the seqs {ROWS} to {2 * ROWS - 1}"
    with opened(tmp_path) as db:
        items = db.collection("items")
        assert None not in items.get([0, 3 * ROWS])
        with pytest.raises(CorruptionError, match=words):
            items.get([ROWS])
        with pytest.raises(CorruptionError, match=words):
            list(items.scroll())
        hits = items.search({"v": np.ones(DIM)}, limit=1000)
        assert not hits.partial
        with pytest.raises(CorruptionError, match=words):
            list(hits)


def test_filters_need_whole_columns(tmp_path: Path) -> None:
    """With a damaged column a count or delete by filter fails, and a search is partial."""
    damage_second(tmp_path, "column-0")
    with opened(tmp_path) as db:
        items = db.collection("items")
        before = items.count()
        for ask in (items.count, lambda where: items.delete(where=where)):
            with pytest.raises(CorruptionError, match="column-0"):
                ask("year > 2010")
        assert items.count() == before
        assert not items.search({"v": np.ones(DIM)}).partial
        found = items.search({"v": np.ones(DIM)}, where="year > 2010", limit=1000)
        assert found.partial
        assert set(found.ids.tolist()).isdisjoint(SECOND)


def test_threads_meet_the_same_damage(tmp_path: Path) -> None:
    """Searches that meet a damaged block at the same moment are all answered."""
    damage_second(tmp_path)
    answers = []
    barrier = Barrier(8)
    with opened(tmp_path) as db:
        items = db.collection("items")

        def search() -> None:
            barrier.wait()
            answers.append(all_ids(items))

        threads = [Thread(target=search) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 8
    assert all(partial for _, partial in answers)


def test_damage_of_a_lost_segment(tmp_path: Path) -> None:
    """Where a whole segment is gone, the others answer."""
    with opened(tmp_path) as db:
        fill(db)
    folder = segment_file(tmp_path, 1, "rows").parent
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with opened(tmp_path) as db:
        found, partial = all_ids(db.collection("items"))
        assert partial
        assert found == set(range(4 * ROWS)) - set(SECOND)


def test_writes_elsewhere_need_no_damaged_segment(tmp_path: Path) -> None:
    """Records around a segment whose seqs are lost are deleted and written; so are its own."""
    damage_expiring(tmp_path)
    with opened(tmp_path) as db:
        items = db.collection("items")
        assert items.delete([0, 3 * ROWS - 1]) == 2
        assert items.upsert([1, 3 * ROWS - 2], vectors_of(0, 2)) == 2
        assert items.upsert([ROWS], vectors_of(0, 1)) == 1
        assert items.delete([ROWS + 1, 2]) == 2
        assert None not in items.get([1, ROWS, 3 * ROWS - 2])
        assert items.get([0, 2, ROWS + 1, 3 * ROWS - 1]) == [None] * 4
        assert items.count() == items.stats().records == 3 * ROWS - 4
    with opened(tmp_path) as db:
        assert db.collection("items").count() == 3 * ROWS - 4


def test_others_expire_where_a_segment_is_damaged(tmp_path: Path) -> None:
    """All that expired elsewhere is deleted, and what cannot be read counts as not expired."""
    damage_expiring(tmp_path)
    with opened(tmp_path) as db:
        now = db._environment.clock() + 2000
        db._environment.clock = lambda: now
        items = db.collection("items")
        assert items.delete([1, 3 * ROWS - 1]) == 0  # which reads nothing of the second segment
        assert db._environment.quarantined == {}
        assert items.count() == items.stats().records == ROWS
        assert len(items.stats().quarantined) == 1
        assert items.delete([0, ROWS]) == 1
        assert items._store.expire(int(now * 1e6)) == 2 * ROWS - 3
        assert items._store.expire(int(now * 1e6)) == 0
        assert items.count() == ROWS - 1


@pytest.mark.parametrize("name", ["rows", "payloads", "codes-0-2"])  # ids, payloads, vectors
def test_damage_of_what_hits_carry(tmp_path: Path, name: str) -> None:
    """Damage met when hits are read is raised once; the next search goes on without it."""
    with opened(tmp_path) as db:
        fill(db)
    file = segment_file(tmp_path, 1, name)
    flip(file, file.read_bytes().index(encode_id(ROWS)) if name == "rows" else 320)
    plan = vs.Cascade([vs.Scan("bits1", keep=1000)])
    with opened(tmp_path) as db:
        items = db.collection("items")
        for found in (False, True):
            hits = items.search({"v": np.ones(DIM)}, limit=1000, plan=plan, with_vectors=True)
            assert hits.partial is found
            if not found:
                with pytest.raises(CorruptionError, match=name):
                    list(hits)
            assert len(items.stats().quarantined) == 1
        assert {hit.id for hit in hits} == set(range(4 * ROWS)) - set(SECOND)


def test_another_thread_was_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who meets damage that another thread has just reported searches, and expires, again."""
    damage_expiring(tmp_path)
    with opened(tmp_path) as db:
        items = db.collection("items")
        store = items._store
        report = store.quarantine
        monkeypatch.setattr(store, "quarantine", lambda error: report(error) and report(error))
        now = db._environment.clock()
        db._environment.clock = lambda: now
        assert items.search(np.ones(DIM), limit=100).partial
        store.environment.quarantined.clear()
        db._environment.clock = lambda: now + 2000
        assert store.expire(int((now + 2000) * 1e6)) == 2 * ROWS


def test_search_goes_by_the_schema_of_its_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that an `alter` overtakes goes by the ladder that its snapshot has."""
    ladders = [["int8", "float16"], ["bits1", "int8", "float16"]] * 2
    with opened(tmp_path) as db:
        items = fill(db)
        take = items._store.snapshot
        expected = all_ids(items)

        def overtaken() -> Snapshot:
            found = take()
            with monkeypatch.context() as within:
                within.setattr(items._store, "snapshot", take)
                items.alter("v", ladders.pop(0))
            return found

        monkeypatch.setattr(items._store, "snapshot", overtaken)
        assert all_ids(items) == expected
        assert len(ladders) == 3
