"""Repair of multivector fields: what is lost with the bounds of tokens, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import vecstore as vs
from tests.fault.damage import component_spans
from tests.unit.damaged import OPTIONS, flip, records, segment_file
from tests.unit.test_repair import lost_ids, repaired
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import CorruptionError
from vecstore.repair.salvage import Remains
from vecstore.repair.tokens import check_tokens, read_tokens
from vecstore.segment.manifest import FieldInfo
from vecstore.segment.reader import Segment

DIM = 8
ROWS = 30
SCHEMA = vs.Schema(
    [
        vs.Vector("v", DIM, "dot", ["float32"]),
        vs.MultiVector("pages", DIM, "dot", ["int8", "float16"]),
    ]
)


def sets_of(first: int) -> list[Any]:
    """For each of ROWS records 1 to 5 vectors; every third has none."""
    rng = np.random.default_rng(first)
    sets = [rng.integers(-9, 9, (1 + row % 5, DIM)).astype(np.float32) for row in range(ROWS)]
    return [None if row % 3 == 2 else found for row, found in enumerate(sets)]


def fill(db: Database) -> Collection:
    """Two segments, one with salience, and a record of the first written again."""
    items = db.create_collection("items", SCHEMA)
    for number in range(2):
        first, sets = number * ROWS, sets_of(number)
        pages: Any = sets
        if not number:
            vectors = np.concatenate([found for found in sets if found is not None])
            offsets = np.cumsum([0, *(0 if found is None else len(found) for found in sets)])
            pages = vs.Tokens(vectors, offsets, np.arange(len(vectors)) * 7 % 5)
        payloads = [{"row": row} for row in range(ROWS)]
        dense = np.arange(ROWS * DIM).reshape(ROWS, DIM)
        items.upsert(range(first, first + ROWS), {"v": dense, "pages": pages}, payloads)
        items.flush()
    items.upsert([2], {"v": np.ones((1, DIM)), "pages": [np.ones((3, DIM))]})
    return items


@pytest.fixture
def before(tmp_path: Path) -> dict[Any, Any]:
    """The records of a database that was just made."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        return records(fill(db))


def owners(before: dict[Any, Any], first: int) -> set[int]:
    """The records of a segment that have sets of vectors, without the one written again."""
    own = range(first, first + ROWS)
    return {id_ for id_ in own if "pages" in before[id_][1]} - {2}


def damage(path: Path, number: int, name: str, array: str) -> None:
    """Flip a bit in the middle of an array of a component."""
    file = segment_file(path, number, name)
    spans = {kind.rpartition(" ")[2]: (start, stop) for kind, start, stop in component_spans(file)}
    flip(file, sum(spans[array]) // 2)


def test_offsets(tmp_path: Path, before: dict[Any, Any]) -> None:
    """Records of which nobody knows the tokens keep everything else, and are listed."""
    damage(tmp_path, 1, "tokens-1", "offsets")
    report, after = repaired(tmp_path)
    assert all("has no vector 'pages' any more" in text for text in report.lost)
    assert owners(before, ROWS) <= lost_ids(report) <= set(range(ROWS, 2 * ROWS))
    for id_, (payload, vectors) in before.items():
        kept = {"v": vectors["v"]} if id_ in lost_ids(report) else vectors
        assert after[id_] == (payload, kept)


def test_places(tmp_path: Path, before: dict[Any, Any]) -> None:
    """Vectors whose places are damaged are all there, perhaps in another order, and listed."""
    damage(tmp_path, 0, "tokens-1", "places")
    report, after = repaired(tmp_path)
    assert all("in another order, perhaps" in text for text in report.lost)
    assert owners(before, 0) <= lost_ids(report) <= set(range(ROWS))
    for id_, (payload, vectors) in before.items():
        assert after[id_][0] == payload
        assert after[id_][1].keys() == vectors.keys()
        assert sorted(after[id_][1].get("pages", [])) == sorted(vectors.get("pages", []))
    assert after != before


def test_salience(tmp_path: Path, before: dict[Any, Any]) -> None:
    """Vectors whose salience is damaged are as they were, and listed."""
    damage(tmp_path, 0, "tokens-1", "salience")
    report, after = repaired(tmp_path)
    assert all("without how important each is" in text for text in report.lost)
    assert owners(before, 0) <= lost_ids(report) <= set(range(ROWS))
    assert after == before


def test_bounds_are_gone(tmp_path: Path, before: dict[Any, Any]) -> None:
    """Without the component that bounds them the vectors of the segment are lost, and no others."""
    segment_file(tmp_path, 0, "tokens-1").unlink()
    report, after = repaired(tmp_path)
    assert owners(before, 0) <= lost_ids(report) <= set(range(ROWS))
    for id_, (payload, vectors) in before.items():
        kept = {"v": vectors["v"]} if id_ in lost_ids(report) else vectors
        assert after[id_] == (payload, kept)


@pytest.mark.parametrize("place", [0, 9, 20, 40, -1, -5, -8])
@pytest.mark.parametrize("number", [0, 1])
def test_heads_and_checksums(
    tmp_path: Path, before: dict[Any, Any], number: int, place: int
) -> None:
    """A damaged head or table of checksums takes nothing with it, with salience and without."""
    flip(segment_file(tmp_path, number, "tokens-1"), place)
    report, after = repaired(tmp_path)
    assert after == before
    assert report.lost == ()
    assert len(report.rebuilt) == 1


def test_coarse_codes(tmp_path: Path, before: dict[Any, Any]) -> None:
    """Damaged codes that are not the finest are encoded again; the bounds of tokens are linked."""
    linked = segment_file(tmp_path, 0, "tokens-1").stat().st_ino
    damage(tmp_path, 0, "codes-1-0", "codes")
    report, after = repaired(tmp_path)
    assert after == before
    assert report.lost == ()
    assert linked in {file.stat().st_ino for file in tmp_path.glob("segments/*/tokens-1")}


def test_finest_codes(tmp_path: Path, before: dict[Any, Any]) -> None:
    """Vectors whose finest codes are damaged are there, less precisely, and listed."""
    damage(tmp_path, 0, "codes-1-1", "values")
    report, after = repaired(tmp_path)
    assert all("'int8'" in text for text in report.lost)
    assert owners(before, 0) <= lost_ids(report) <= set(range(ROWS))
    for id_ in owners(before, 0):
        found, expected = (np.array(each[id_][1]["pages"]) for each in (after, before))
        assert np.abs(found - expected).max() < 0.1


def test_damage_stays_in_its_block(tmp_path: Path) -> None:
    """In large files only the records with tokens in the damaged blocks of 64 KiB are lost."""
    count, dim = 9000, 16
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, count)
    with vs.open(tmp_path, options=OPTIONS) as db:
        schema = vs.Schema([vs.MultiVector("pages", dim, "dot", ["float32"])])
        items = db.create_collection("items", schema)
        total = int(lengths.sum())
        tokens = vs.Tokens(
            rng.standard_normal((total, dim)), np.cumsum([0, *lengths]), rng.random(total)
        )
        items.upsert(range(count), {"pages": tokens})
        items.flush()
        before = records(items)
    flip(segment_file(tmp_path, 0, "codes-0-0"), 500_000)
    flip(segment_file(tmp_path, 0, "tokens-0"), 300)  # the first 8,192 offsets
    with vs.open(tmp_path, options=OPTIONS) as db:
        report = db.repair()
        assert report.remaining == ()
        after = records(db.collection("items"))
    changed = {id_ for id_ in after if after[id_] != before[id_]}
    assert lost_ids(report) == changed
    assert changed == set(range(8192))
    flip(segment_file(tmp_path, 0, "codes-0-0"), 100)
    with vs.open(tmp_path, options=OPTIONS) as db:
        report = db.repair()
        again = records(db.collection("items"))
    changed = {id_ for id_ in after if after[id_] != again[id_]}
    assert min(changed) >= 8192
    tokens_lost = sum(int(lengths[row]) for row in changed)
    assert 65_536 // (4 * dim) <= tokens_lost <= 65_536 // (4 * dim) + 5
    assert lost_ids(report) == changed


INFO = FieldInfo("pages", 2, "dot", 3, "", (), "tokens-0", 6)


def remains(**arrays: Any) -> Remains:
    """Bounds of three records that match their checksums."""
    return Remains(
        {"offsets": np.array([0, 1, 3, 6], np.uint64), **arrays}, damaged={}, problems=()
    )


@pytest.mark.parametrize(
    ("arrays", "lost", "forgotten"),
    [
        ({"offsets": np.array([0, 1, 3], np.uint64)}, [True, True, True], {}),
        ({"offsets": np.array([0.0, 1, 3, 6])}, [True, True, True], {}),
        ({"offsets": np.array([[0], [1], [3], [6]], np.uint64)}, [True, True, True], {}),
        ({"offsets": np.array([0, 3, 1, 6], np.uint64)}, [False, True, False], {}),
        ({"offsets": np.array([5, 1, 3, 9], np.uint64)}, [False, False, False], {}),
        ({"offsets": np.array([0, 1, 2**63, 6], np.uint64)}, [False, True, True], {}),
        ({"places": np.zeros(5, np.uint16)}, [False] * 3, {"places": [True] * 3}),
        ({"salience": np.zeros(6, np.float32)}, [False] * 3, {"salience": [True] * 3}),
    ],
)
def test_bounds_that_cannot_be(
    arrays: dict[str, Any], lost: list[bool], forgotten: dict[str, list[bool]]
) -> None:
    """Where checksums match and bounds cannot be, that is damage, and only what fits is read."""
    part = remains(**arrays)
    with pytest.raises(CorruptionError):
        check_tokens(part, INFO)
    found = read_tokens(part, INFO)
    assert found.lost.tolist() == lost
    assert {name: rows.tolist() for name, rows in found.forgotten.items()} == forgotten
    sound = np.flatnonzero(~found.lost)
    rows = found.bounds.rows(sound)
    assert ((rows >= 0) & (rows < 6)).all()
    assert found.bounds.take(sound).all_places().max(initial=0) < 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokens": 5}, "bounds"),
        ({"bounds": "", "tokens": 0}, "no bounds of tokens of field 'pages'"),
        ({"count": 19}, "does not list 19 of its rows"),
    ],
)
def test_check_finds_fields_that_cannot_be(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """Files that are whole but not what the manifest says of their tokens are found by check."""
    with vs.open(tmp_path, options=OPTIONS) as db:
        store = fill(db)._store
        source = store.snapshot().segments[0].source
        assert isinstance(source, Segment)
        assert source.verify() == []
        v, pages = source.info.fields
        info = msgspec.structs.replace(
            source.info, fields=(v, msgspec.structs.replace(pages, **changes))
        )
        wrong = Segment(store.environment.files, source.folder, info, store.shelf.load, SCHEMA)
        problems = wrong.verify()
        assert any(said in text and "holds the seqs" in text for text in problems), problems
