"""Inverted lists: made by compaction, kept by alter, made good by repair, chosen by the planner."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from tests.unit.compaction import FOREGROUND, rows
from tests.unit.damaged import flip
from vecstore import options
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import CorruptionError
from vecstore.ingest.compact import compact_all, plan_for
from vecstore.search.plan import lists_to_probe
from vecstore.segment.encode import FieldPart
from vecstore.segment.listing import list_order
from vecstore.segment.lists import read_lists
from vecstore.segment.reader import Segment
from vecstore.segment.stream import no_pace
from vecstore.types import Array, Float32, Hits

DIM, ROWS = 16, 3000
SCHEMA = vs.Schema(
    vectors=[vs.Vector("v", DIM, "cosine", ["bits2", "bits8", "float16"])],
    columns=[vs.Column("n", "int")],
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are worth lists, and no filter is so selective that its rows are gathered."""
    monkeypatch.setattr(options, "LISTS_ROWS_MIN", 1000)
    monkeypatch.setattr(options, "GATHER_ROWS_MAX", 0)
    monkeypatch.setattr(options, "PROBES_WANTED", 10 / ROWS)


@pytest.fixture
def items(foreground: Database) -> Collection:
    """ROWS rows in one segment with lists."""
    items = foreground.create_collection("items", SCHEMA)
    upsert(items, 0, ROWS)
    items.flush()
    items.compact()
    return items


def upsert(items: Collection, start: int, stop: int) -> None:
    vectors = rows(stop, DIM)[start:]
    items.upsert(range(start, stop), vectors, [{"n": number} for number in range(start, stop)])


def components(items: Collection) -> list[str]:
    """The files of codes of the last segment."""
    segment = items._store.snapshot().manifest.segments[-1]
    return [item.component for item in segment.fields[0].representations]


def pairs(hits: Hits) -> list[tuple[object, float]]:
    return [(hit.id, hit.score) for hit in hits]


def first_stage(hits: Hits) -> tuple[str, int]:
    assert hits.explain is not None
    return hits.explain[0].stage, hits.explain[0].rows_in


def query() -> Float32:
    return rows(1, DIM, seed=7)[0]


def test_compaction_makes_lists(foreground: Database) -> None:
    """A flush writes codes in the order of rows, a compaction of as few as one segment as lists."""
    items = foreground.create_collection("items", SCHEMA)
    upsert(items, 0, ROWS)
    items.flush()
    assert components(items) == ["codes-0-0", "codes-0-1", "codes-0-2"]
    before = pairs(items.search(query(), exact=True))
    items.compact()
    assert components(items) == ["listed-0-0", "listed-0-1", "codes-0-2"]
    assert pairs(items.search(query(), exact=True)) == before
    segments = items._store.snapshot().manifest.segments
    items.compact()
    assert items._store.snapshot().manifest.segments == segments


def test_the_background_makes_lists_of_what_does_not_merge(foreground: Database) -> None:
    """A large segment alone is written again as lists; where some merge, they do so before."""
    items = foreground.create_collection("items", SCHEMA)
    upsert(items, 0, ROWS)
    items.flush()
    compact_all(items._store)
    assert components(items) == ["listed-0-0", "listed-0-1", "codes-0-2"]
    for part in range(1, 4):
        upsert(items, part * ROWS, (part + 1) * ROWS)
        items.flush()
    [run] = plan_for(items._store, items._store.snapshot()).runs
    assert len(run) == 4
    compact_all(items._store)
    assert items.stats().segments == 1
    assert components(items) == ["listed-0-0", "listed-0-1", "codes-0-2"]


def test_lists_are_learned_from_all_kinds_of_rows(
    foreground: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two kinds of rows take turns, both have centroids, though every second row is read."""
    monkeypatch.setattr(options, "TRAINING_ROWS_MAX", ROWS // 2)
    vectors = rows(ROWS, DIM)
    vectors[:, 0] = np.resize([9, -9], ROWS)
    items = foreground.create_collection("items", SCHEMA)
    items.upsert(range(ROWS), vectors)
    items.flush()
    [live] = items._store.snapshot().segments
    part = FieldPart(live.source, np.arange(ROWS))
    kinds = list_order(SCHEMA.vectors[0], [part], 1 << 20, no_pace).centroids[:, 0]
    assert kinds.min() < 0 < kinds.max()


def test_no_list_is_empty(foreground: Database) -> None:
    """Where many rows are equal, lists without a row would be probed for nothing."""
    vectors = rows(ROWS, DIM)
    vectors[: ROWS * 4 // 5] = vectors[0]
    items = foreground.create_collection("items", SCHEMA)
    items.upsert(range(ROWS), vectors)
    items.flush()
    [live] = items._store.snapshot().segments
    part = FieldPart(live.source, np.arange(ROWS))
    order = list_order(SCHEMA.vectors[0], [part], 1 << 20, no_pace)
    assert len(order.centroids) == len(order.offsets) - 1
    assert (np.diff(order.offsets) > 0).all()
    assert sorted(order.order.tolist()) == list(range(ROWS))


def test_few_rows_have_no_lists(foreground: Database) -> None:
    """Codes of a segment of fewer rows stay in the order of rows."""
    items = foreground.create_collection("items", SCHEMA)
    upsert(items, 0, 900)
    items.flush()
    upsert(items, 900, 999)
    items.flush()
    items.compact()
    assert components(items) == ["codes-0-0", "codes-0-1", "codes-0-2"]


def test_the_default_plan_probes(items: Collection) -> None:
    """It scores a part of the rows, more for a filter, all where that would be too few lists."""
    stage, scored = first_stage(items.search(query(), limit=1, explain=True))
    assert stage == "probe"
    assert 0 < scored < ROWS / 2
    stage, more = first_stage(
        items.search(query(), limit=1, where="n < 1500 AND n >= 0", explain=True)
    )
    assert (stage, more > scored) == ("probe", True)
    few = items.search(query(), where="n < 30", explain=True)
    assert first_stage(few)[1] == 30
    assert first_stage(items.search(query(), limit=1000, explain=True)) == ("scan", ROWS)
    assert first_stage(items.search(query(), exact=True, explain=True)) == ("scan", ROWS)


def test_a_filter_far_from_the_query_is_answered(items: Collection) -> None:
    """Where the lists near a query hold too few rows that pass, those that do are visited."""
    vectors = rows(ROWS, DIM)
    far = np.argsort(vectors @ query())[:300]
    items.upsert(far, vectors[far], [{"n": -1} for _ in far])
    items.flush()
    items.compact()
    hits = items.search(query(), where="n = -1", explain=True)
    assert hits.explain is not None
    assert {stage.stage for stage in hits.explain} == {"probe", "rescore"}
    assert hits.explain[0].rows_in < ROWS
    assert pairs(hits) == pairs(items.search(query(), where="n = -1", exact=True))


def test_lists_to_probe_grow_with_what_is_asked() -> None:
    """More lists, more hits and fewer allowed rows never mean fewer probes; too many mean none."""
    assert lists_to_probe(0, 10, 1) == 0
    sizes = (400, 1000, 4000, 16000)
    counts = [lists_to_probe(lists, 10, 100_000) for lists in sizes]
    assert counts == sorted(counts)
    assert all(0 < probes < lists for probes, lists in zip(counts, sizes, strict=True))
    assert lists_to_probe(4000, 1, 10**6) < lists_to_probe(4000, 10, 10**6)
    assert lists_to_probe(4000, 10, 10**5) == lists_to_probe(4000, 100, 10**6)
    assert lists_to_probe(100, 1000, 1000) == 0
    assert lists_to_probe(4000, 10, 10**6, "sign") > lists_to_probe(4000, 10, 10**6, "bits1")


def test_buffer_and_segments_without_lists_are_scanned(items: Collection) -> None:
    """A probe of one list finds whatever is nearest where there are no lists."""
    near = np.stack([query(), query() + np.float32(0.01)])
    items.upsert(["flushed"], near[:1])
    items.flush()
    items.upsert(["buffered"], near[1:])
    plan = vs.Cascade([vs.Probe("bits2", nprobe=1, keep=50), vs.Rescore("float16", keep=2)])
    assert set(items.search(query(), limit=2, plan=plan).ids) == {"flushed", "buffered"}


def test_threads_and_batches_change_nothing(items: Collection, tmp_path: Path) -> None:
    """One query or many, one thread or several: a probe finds the same."""
    queries = rows(20, DIM, seed=9)
    plan = vs.Cascade([vs.Probe("bits2", nprobe=9, keep=90), vs.Rescore("float16", keep=10)])
    items.delete(range(0, ROWS, 3))
    one = [pairs(items.search(each, plan=plan)) for each in queries]
    assert [pairs(hits) for hits in items.search_batch(queries, plan=plan)] == one
    shutil.copytree(tmp_path / "db", tmp_path / "copy", ignore=shutil.ignore_patterns("lock.mdb"))
    with (
        pytest.MonkeyPatch.context() as patch,
        vs.open(tmp_path / "copy", options=vs.Options(background=False, threads=3)) as db,
    ):
        patch.setattr(options, "PARALLEL_BYTES_MIN", 100)
        found = db.collection("items").search_batch(queries, plan=plan)
    assert [pairs(hits) for hits in found] == one


@pytest.mark.parametrize("explain", [False, True])
def test_few_allowed_rows_are_read_without_their_lists(
    items: Collection, monkeypatch: pytest.MonkeyPatch, *, explain: bool
) -> None:
    """A scan whose filter leaves few rows visits no list, and scores as one of all rows does."""
    queries = rows(20, DIM, seed=5)
    plan = vs.Cascade([vs.Scan("bits2", keep=ROWS), vs.Rescore("bits8", keep=ROWS)])
    numbers = {7, 123, 124, 2999}
    every = items.search_batch(queries, limit=ROWS, plan=plan)
    expected = [[pair for pair in pairs(hits) if pair[0] in numbers] for hits in every]
    where = f"n IN ({', '.join(map(str, sorted(numbers)))})"

    def refuse(*_: object) -> None:
        raise AssertionError("a list was visited")

    monkeypatch.setattr("vecstore.segment.base.Codes.listed", property(lambda _: None))
    monkeypatch.setattr("vecstore.codec.affine.AffinePrepared.scan_lists", refuse)
    for size in (1, 20):  # one query shares the rows with threads, many do not
        monkeypatch.setattr(options, "PARALLEL_BYTES_MIN", 1)
        found = items.search_batch(
            queries[:size], limit=ROWS, where=where, plan=plan, explain=explain
        )
        assert [pairs(hits) for hits in found] == expected[:size]


def test_alter_keeps_lists(items: Collection) -> None:
    """Codes that stay are linked as lists; new ones become lists with the next compaction."""
    items.alter("v", ["bits2", "bits4", "float16"])
    assert [name.partition("-")[0] for name in components(items)] == ["listed", "codes", "codes"]
    before = pairs(items.search(query(), exact=True))
    plan = vs.Cascade([vs.Probe("bits4", nprobe=1000, keep=ROWS), vs.Rescore("float16", keep=10)])
    scanned = pairs(items.search(query(), plan=plan))
    items.compact()
    assert components(items) == ["listed-0-0", "listed-0-1", "codes-0-2"]
    assert pairs(items.search(query(), exact=True)) == before
    assert pairs(items.search(query(), plan=plan)) == scanned


def test_lists_are_the_finest_where_floats_are_gone(items: Collection) -> None:
    """Vectors come back by row from codes in the order of lists."""
    vectors = rows(ROWS, DIM)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items.alter("v", ["bits2", "bits8"])
    numbers = [5, 1, 2999]
    for number, record in zip(numbers, items.get(numbers, with_vectors=True), strict=True):
        assert record is not None
        assert np.abs(record.vectors["v"] - vectors[number]).max() < 0.02
    assert items.search(vectors[5], exact=True, limit=1).ids.tolist() == [5]
    items.compact()
    assert items.search(vectors[5], exact=True, limit=1).ids.tolist() == [5]


@pytest.mark.parametrize("place", [100, 5_000, 30_000, -3])
def test_damaged_lists_are_found_and_made_again(tmp_path: Path, place: int) -> None:
    """A flipped bit anywhere in codes with lists is told, and repaired without loss."""
    path = tmp_path / "db"
    with vs.open(path, options=FOREGROUND) as db:
        items = db.create_collection("items", SCHEMA)
        upsert(items, 0, ROWS)
        items.flush()
        items.compact()
        before = pairs(items.search(query(), exact=True, limit=50))
    [file] = path.glob("segments/*/listed-0-0")
    flip(file, place)
    with vs.open(path, options=FOREGROUND) as db:
        assert len(db.check()) == 1
        report = db.repair()
        assert (report.lost, report.remaining) == ((), ())
        assert db.check() == []
        items = db.collection("items")
        assert pairs(items.search(query(), exact=True, limit=50)) == before
        assert components(items)[1:] == ["listed-0-1", "codes-0-2"]


def test_rows_are_saved_from_lists(tmp_path: Path) -> None:
    """Where floats are damaged, vectors come from codes in the order of lists, each to its row."""
    path = tmp_path / "db"
    with vs.open(path, options=FOREGROUND) as db:
        items = db.create_collection("items", SCHEMA)
        upsert(items, 0, ROWS)
        items.flush()
        items.compact()
    [file] = path.glob("segments/*/codes-0-2")
    flip(file, 300)
    vectors = rows(ROWS, DIM)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with vs.open(path, options=FOREGROUND) as db:
        assert db.repair().remaining == ()
        for number, record in enumerate(db.collection("items").get(range(20), with_vectors=True)):
            assert record is not None
            assert np.abs(record.vectors["v"] - vectors[number]).max() < 0.02


def lists(order: list[int], offsets: list[int]) -> dict[str, Array]:
    return {
        "lists/order": np.array(order, dtype=np.uint32),
        "lists/offsets": np.array(offsets, dtype=np.uint64),
    }


@pytest.mark.parametrize(
    ("order", "offsets"),
    [
        ([0, 1, 1], [0, 2, 3]),
        ([0, 1, 3], [0, 2, 3]),
        ([0, 1], [0, 2]),
        ([0, 1, 2], [0, 2]),
        ([0, 1, 2], [1, 3]),
        ([0, 1, 2], [0, 3, 2, 3]),
        ([0, 1, 2], [3]),
        ([0, 1, 2], []),
    ],
)
def test_lists_that_do_not_hold_each_row_once_are_damage(
    order: list[int], offsets: list[int]
) -> None:
    """What no version writes is refused, though its checksums match."""
    with pytest.raises(CorruptionError, match="each row once"):
        read_lists(lists(order, offsets), 3, "a file")


def test_check_looks_at_lists(items: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists that cannot be are a problem even where every checksum matches."""
    [live] = items._store.snapshot().segments
    old = live.source
    assert isinstance(old, Segment)
    fresh = Segment(old._files, old.folder, old.info, old._codecs)
    assert fresh.verify() == []

    def refuse(arrays: object, rows: int, where: str) -> None:
        raise CorruptionError(f"{where} has lists that do not hold each row once")

    with monkeypatch.context() as patch:
        patch.setattr("vecstore.segment.lists.read_lists", refuse)
        other = Segment(old._files, old.folder, old.info, old._codecs)
        assert len(other.verify()) == 2
