"""Repair makes again what can be made again, and lists what is lost; see also tests/fault."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecstore as vs
from tests.unit.damaged import (
    DIM,
    OPTIONS,
    ROWS,
    SCHEMA,
    fill,
    flip,
    flip_value,
    records,
    segment_file,
)
from vecstore.database import Database
from vecstore.errors import ReadOnlyError
from vecstore.reports import RepairReport
from vecstore.storage import failpoints, keys


def opened(path: Path) -> Database:
    """The database, without background work."""
    return vs.open(path, options=OPTIONS)


def filled(path: Path) -> dict[Any, Any]:
    """Make a database with deleted and rewritten records; its records."""
    with opened(path) as db:
        items = fill(db)
        items.delete([1, ROWS + 1, 3 * ROWS])
        items.upsert([2], {"v": np.ones((1, DIM))}, [{"year": 1}])
        return records(items)


def repaired(path: Path) -> tuple[RepairReport, dict[Any, Any]]:
    """Repair a database, which must be sound then; the report, and the records."""
    with opened(path) as db:
        report = db.repair()
        assert db.check() == list(report.remaining) == []
        after = records(db.collection("items"))
        assert not db.collection("items").search({"v": np.ones(DIM)}).partial
        assert db.collection("items").stats().quarantined == ()
    with opened(path) as db:
        assert db.check() == []
        assert records(db.collection("items")) == after
        assert len(list((path / "segments").iterdir())) == db.collection("items").stats().segments
    return report, after


def lost_ids(report: RepairReport) -> set[int]:
    """The ids of the records that a report lists."""
    return {int(text.split("record ")[1].split()[0].rstrip(":")) for text in report.lost}


def test_nothing_to_repair(tmp_path: Path) -> None:
    """Repairing a sound database changes nothing."""
    before = filled(tmp_path)
    with opened(tmp_path) as db:
        commit = db._environment.kv.last_txn()
        assert db.repair() == RepairReport()
        assert db._environment.kv.last_txn() == commit
        assert records(db.collection("items")) == before


def test_readers_do_not_repair(tmp_path: Path) -> None:
    """A database that was opened for reading is not repaired."""
    filled(tmp_path)
    with vs.open(tmp_path, read_only=True) as db, pytest.raises(ReadOnlyError):
        db.repair()


def test_coarse_codes_are_encoded_again(tmp_path: Path) -> None:
    """Damaged codes that are not the finest come from the finest; the other files are linked."""
    before = filled(tmp_path)
    kept = segment_file(tmp_path, 1, "payloads").stat().st_ino
    for name in ("codes-0-0", "codes-0-1"):
        flip(segment_file(tmp_path, 1, name), 300)
    report, after = repaired(tmp_path)
    assert after == before
    assert len(report.rebuilt) == 2
    assert report.lost == ()
    assert kept in {file.stat().st_ino for file in tmp_path.glob("segments/*/payloads")}


@pytest.mark.parametrize("name", ["rows", "column-0", "column-1", "segment"])
@pytest.mark.parametrize("how", ["flip", "gone"])
def test_what_follows_from_the_rest_loses_nothing(tmp_path: Path, name: str, how: str) -> None:
    """Ids, seqs, columns and the description of a segment are made again, every one."""
    before = filled(tmp_path)
    for number in (0, 1):
        file = segment_file(tmp_path, number, name)
        if how == "gone":
            file.unlink()
        else:
            flip(file, 400)
    report, after = repaired(tmp_path)
    assert after == before
    assert report.lost == ()


@pytest.mark.parametrize("place", [0, 9, 20, 40, -1, -5, -8])
@pytest.mark.parametrize("name", ["rows", "payloads", "codes-0-2", "codes-1-0"])
def test_heads_and_checksums_are_made_again(tmp_path: Path, name: str, place: int) -> None:
    """A damaged head or table of checksums takes none of the rows with it."""
    before = filled(tmp_path)
    flip(segment_file(tmp_path, 0, name), place)
    report, after = repaired(tmp_path)
    assert after == before
    assert report.lost == ()


def test_finest_codes_come_from_the_next_best(tmp_path: Path) -> None:
    """Vectors whose finest codes are damaged are there, less precisely, and listed."""
    before = filled(tmp_path)
    flip(segment_file(tmp_path, 1, "codes-0-2"), 300)
    report, after = repaired(tmp_path)
    changed = {id_ for id_ in before if after[id_] != before[id_]}
    assert changed <= lost_ids(report) == set(range(ROWS, 2 * ROWS)) - {ROWS + 1}
    assert all("'int8'" in text for text in report.lost)
    for id_ in changed:
        error = np.abs(np.array(after[id_][1]["v"]) - before[id_][1]["v"]).max()
        assert error < 0.1


def test_vectors_without_any_codes_are_listed(tmp_path: Path) -> None:
    """Records whose vector cannot be read at all keep their payloads and their other vectors."""
    before = filled(tmp_path)
    segment_file(tmp_path, 0, "codes-1-0").unlink()
    report, after = repaired(tmp_path)
    assert all("no vector 'w'" in text for text in report.lost)
    assert lost_ids(report) == {id_ for id_ in before if "w" in before[id_][1]}
    for id_, (payload, vectors) in before.items():
        assert after[id_] == (payload, {"v": vectors["v"]})


def test_records_without_payload_are_lost_and_listed(tmp_path: Path) -> None:
    """Records whose payload cannot be read are gone, and only they."""
    before = filled(tmp_path)
    segment_file(tmp_path, 1, "payloads").unlink()
    report, after = repaired(tmp_path)
    assert (
        lost_ids(report) == before.keys() - after.keys() == set(range(ROWS, 2 * ROWS)) - {ROWS + 1}
    )
    assert after == {id_: before[id_] for id_ in after}


def test_records_of_a_lost_segment_are_listed(tmp_path: Path) -> None:
    """Where the files of a segment are gone, its live records are listed, and the rest is sound."""
    before = filled(tmp_path)
    shutil.rmtree(segment_file(tmp_path, 1, "rows").parent)
    report, after = repaired(tmp_path)
    assert (
        lost_ids(report) == before.keys() - after.keys() == set(range(ROWS, 2 * ROWS)) - {ROWS + 1}
    )


def test_damage_stays_in_its_block(tmp_path: Path) -> None:
    """In large files only the records of the damaged blocks of 64 KiB are lost."""
    count, dim = 3000, 64
    rng = np.random.default_rng(0)
    with opened(tmp_path) as db:
        schema = vs.Schema([vs.Vector("v", dim, "dot", ["bits8", "float32"])], SCHEMA.columns)
        items = db.create_collection("items", schema)
        payloads = [{"year": row, "text": "x" * 200} for row in range(count)]
        items.upsert(range(count), rng.standard_normal((count, dim)), payloads)
        items.flush()
        before = records(items)
    flip(segment_file(tmp_path, 0, "payloads"), 300_000)
    flip(segment_file(tmp_path, 0, "codes-0-1"), 500_000)
    flip(segment_file(tmp_path, 0, "rows"), 30_000)
    with opened(tmp_path) as db:
        report = db.repair()
        assert report.remaining == ()
        after = records(db.collection("items"))
    gone = before.keys() - after.keys()
    assert 0 < len(gone) < 65_536 // 200 + 2
    changed = {id_ for id_ in after if after[id_] != before[id_]}
    assert 0 < len(changed) <= 65_536 // (4 * dim) + 1
    assert lost_ids(report) == gone | changed


@pytest.mark.parametrize(
    ("db_name", "key"),
    [
        (keys.IDS, keys.id_key(1, b"\x01" + (2**63 + 5).to_bytes(8, "big"))),
        (keys.TOMBSTONES, keys.chunk_key(1, 0)),
        (keys.CODECS, keys.codec_key(1)),
        (keys.META, keys.NEXT_SEGMENT),
        (keys.META, keys.NEXT_CODEC),
        (keys.META, keys.NEXT_COLLECTION),
        (keys.META, keys.IDENTITY),
    ],
)
def test_values_that_follow_from_others(tmp_path: Path, db_name: str, key: bytes) -> None:
    """Entries of ids, tombstones, codecs and counters are made again from what they describe."""
    before = filled(tmp_path)
    flip_value(tmp_path, db_name, key)
    report, after = repaired(tmp_path)
    assert after == before
    assert len(report.rebuilt) == 1
    assert report.lost == ()
    with opened(tmp_path) as db:
        items = db.collection("items")
        items.upsert([999], {"v": np.ones((1, DIM))})
        items.flush()
        assert db.create_collection("more", SCHEMA).id == 2
        assert db.check() == []


def test_damaged_batch_of_the_write_buffer(tmp_path: Path) -> None:
    """Records of a batch that cannot be read are listed; what they replaced does not come back."""
    with opened(tmp_path) as db:
        items = fill(db, buffered=False)
        first = items._store.snapshot().manifest.next_seq
        items.upsert([0, 500], {"v": np.ones((2, DIM))})
        items.upsert([501], {"v": np.ones((1, DIM))})
        before = records(items)
    flip_value(tmp_path, keys.BUFFER, keys.buffer_key(1, first))
    report, after = repaired(tmp_path)
    assert lost_ids(report) == {0, 500}
    assert after == {id_: before[id_] for id_ in before if id_ not in {0, 500}}


@pytest.mark.parametrize(
    ("db_name", "key"),
    [(keys.MANIFESTS, keys.collection_key(1)), (keys.COLLECTIONS, b"items")],
)
def test_what_only_a_snapshot_has_remains(tmp_path: Path, db_name: str, key: bytes) -> None:
    """A damaged manifest or schema is left as it is, and the report says to restore a snapshot."""
    filled(tmp_path)
    files = sorted(tmp_path.glob("segments/*/*"))
    flip_value(tmp_path, db_name, key)
    with opened(tmp_path) as db:
        report = db.repair()
        assert len(report.remaining) == 1
        assert "restore a snapshot" in report.remaining[0]
    assert sorted(tmp_path.glob("segments/*/*")) == files


def test_codec_that_is_gone_everywhere(tmp_path: Path) -> None:
    """Codes of a trained codec that nothing holds any more are made by another one."""
    before = filled(tmp_path)
    for number in range(3):
        segment_file(tmp_path, number, "segment").unlink()
    for file in (tmp_path / "codecs").iterdir():
        file.unlink()
    report, after = repaired(tmp_path)
    assert after == before
    assert all("codec" in text for text in report.lost)


@pytest.mark.parametrize("place", ["segment.component", "segment.renamed"])
def test_interrupted_repair_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A repair that is cut off leaves what was there; the next one does it all."""
    before = filled(tmp_path)
    flip(segment_file(tmp_path, 0, "column-0"), 200)
    flip(segment_file(tmp_path, 1, "column-0"), 200)
    visits = iter(range(100))

    def stop(name: str) -> None:
        if name == place and next(visits) == 1:
            raise KeyboardInterrupt

    with opened(tmp_path) as db:
        problems = db.check()
        monkeypatch.setattr(failpoints, "hook", stop)
        with pytest.raises(KeyboardInterrupt):
            db.repair()
        monkeypatch.undo()
        assert db.check() == problems
    _, after = repaired(tmp_path)
    assert after == before


def test_open_collection_goes_on_after_repair(tmp_path: Path) -> None:
    """A collection that was open meanwhile reads what was repaired; older hits are still read."""
    before = filled(tmp_path)
    flip(segment_file(tmp_path, 1, "codes-0-2"), 300)
    told: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    with opened(tmp_path) as db:
        items = db.collection("items")
        hits = items.search({"v": np.ones(DIM)}, limit=100)
        assert hits.partial
        db.repair(progress)
        assert not items.search({"v": np.ones(DIM)}, limit=100).partial
        assert len(list(hits)) == len(hits)
        items.upsert([7], {"v": np.ones((1, DIM))})
        items.flush()
        items.compact()
        assert records(items).keys() == before.keys()
        assert db.check() == []
    assert all(0 <= done <= total for _, done, total in told)
    assert {step for step, done, total in told if done == total} >= {
        "examining 'items'",
        "writing 'items'",
    }


def test_no_collection_is_opened_during_a_repair(tmp_path: Path) -> None:
    """Who opens a collection waits until it is repaired; an open one is handed out at once."""
    before = filled(tmp_path)
    flip(segment_file(tmp_path, 1, "codes-0-0"), 300)
    opened_at: list[int] = []
    asked, steps = threading.Event(), iter(range(1_000_000))

    with opened(tmp_path) as db, ThreadPoolExecutor(2) as threads:
        other = db.create_collection("other", SCHEMA)

        def open_late() -> None:
            asked.set()
            items = db.collection("items")
            opened_at.append(len(items._store._snapshot.manifest.segments))
            items.compact()

        def progress(what: str, done: int, total: int) -> None:
            if not next(steps):
                assert threads.submit(db.collection, "other").result(60) is other
                threads.submit(open_late)
                assert asked.wait(60)
                threading.Event().wait(0.3)
            if what.startswith(("examining", "writing")):
                assert opened_at == []

        report = db.repair(progress)
        threads.shutdown()
        assert len(report.rebuilt) == 1
        assert opened_at == [3]
        assert records(db.collection("items")) == before
        assert db.check() == []
