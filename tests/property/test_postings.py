"""Candidates by centroids are the twin's, of allowed records alone, and hold the best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vecstore as vs
from tests.property.kernel_cases import VARIANTS
from tests.reference import postings as twin
from vecstore import errors, options
from vecstore.codec import centroid_training
from vecstore.kernels import _kernels
from vecstore.types import Array

SEEDS = st.integers(0, 2**32)


@given(
    documents=st.integers(0, 150),
    size=st.sampled_from([1, 2, 7, 256, 300]),
    vectors=st.integers(1, 40),
    nprobe=st.integers(1, 20),
    keep=st.integers(1, 60),
    seed=SEEDS,
)
@settings(max_examples=60, deadline=None)
def test_candidates_are_the_twins(
    documents: int, size: int, vectors: int, nprobe: int, keep: int, seed: int
) -> None:
    """Every variant finds the same candidates, whatever ids and scores there are."""
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *rng.integers(0, 6, documents)]).astype(np.uint64)
    dtype = np.uint8 if size <= 256 and seed % 2 else np.uint16
    ids = rng.integers(0, min(size + 2, 256), int(offsets[-1])).astype(dtype)
    spread = int(rng.integers(1, 256))
    table = rng.integers(0, spread + 1, (size, -(-vectors // 32) * 32)).astype(np.uint8)
    allowed = rng.random(documents) < 0.7
    words = np.zeros(-(-documents // 64), dtype=np.uint64)
    for document in np.flatnonzero(allowed).tolist():
        words[document // 64] |= np.uint64(1 << (document % 64))
    sums, read = twin.candidates(offsets, ids, table, vectors, nprobe)
    postings = _kernels.Postings(offsets, ids, size)
    for bits, passing in ((words, allowed.tolist()), (None, [True] * documents)):
        expected = twin.chosen(sums, passing, keep)
        for name in VARIANTS:
            found, count, looked = postings.candidates(table, vectors, nprobe, keep, bits, name)
            members = {d for d in range(documents) if int(found[d // 64]) >> (d % 64) & 1}
            assert (members, count, looked) == (expected, len(expected), read)


def test_hostile_offsets_and_shapes() -> None:
    """Offsets lead nowhere, ids are brought into range, and what does not fit is refused."""
    ids = np.array([3, 9, 65535], dtype=np.uint16)
    wild = np.array([2, 1 << 62, 0, 3, 1 << 63], dtype=np.uint64)
    table = np.arange(5, dtype=np.uint8)[:, None].repeat(32, axis=1)
    found, count, _ = _kernels.Postings(wild, ids, 5).candidates(table, 1, 2, 9, None)
    assert (found.tolist(), count) == ([0b101], 2)
    with pytest.raises(ValueError, match="256"):
        _kernels.Postings(wild, ids.astype(np.uint8), 257)
    postings = _kernels.Postings(wild, ids, 5)
    for given_ in (
        (table[:4], 1, 1, 1, None),
        (table, 33, 1, 1, None),
        (table, 0, 1, 1, None),
        (table, 1, 0, 1, None),
        (table, 1, 1, 0, None),
        (table, 1, 1, 1, np.zeros(0, np.uint64)),
    ):
        with pytest.raises(ValueError, match=r"table|columns|nprobe|allowed"):
            postings.candidates(*given_)


DIM, TOKENS, RECORDS = 16, 12, 400


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[vs.Collection, list[Array]]:
    """Records around topics in two segments and the write buffer, some of them deleted."""
    monkeypatch.setattr(centroid_training, "_CENTROIDS_MIN", 16)
    rng = np.random.default_rng(1)
    topics = rng.standard_normal((60, DIM)) * 3
    made = [
        (topics[rng.integers(0, 60, TOKENS)] + rng.standard_normal((TOKENS, DIM))).astype("f4")
        for _ in range(RECORDS)
    ]
    database = vs.open(tmp_path, options=vs.Options(background=False))
    field = vs.MultiVector("pages", DIM, representations=["ids", "res2", "float16"])
    schema = vs.Schema([field], [vs.Column("year", "int")])
    found = database.create_collection("c", schema)
    for start in range(0, RECORDS, 150):
        rows = range(start, min(start + 150, RECORDS))
        found.upsert(rows, made[rows.start : rows.stop], [{"year": row % 5} for row in rows])
        if rows.stop < RECORDS:
            found.compact()
    found.delete(range(0, RECORDS, 7))
    return found, made


def test_few_records_hold_the_best(
    pages: tuple[vs.Collection, list[Array]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By centroids few records of a segment are scored, and nearly all of the best are these."""
    found, made = pages
    monkeypatch.setattr(options, "MAXSIM_CANDIDATES", 2)
    monkeypatch.setattr(options, "MAXSIM_CANDIDATES_MIN", 1)
    exact, near = [], []
    for record in range(1, RECORDS, 9):
        query = made[record][:8] + 0.3
        first = vs.MaxSim("pages", 20, "ids", nprobe=4)
        plan = vs.Cascade([first, vs.MaxSim("pages", 5)])
        hits = found.search(query, limit=5, plan=plan, explain=True)
        assert hits.explain is not None
        assert hits.explain[0].rows_in <= 40 + RECORDS % 150
        exact.append(set(found.search(query, limit=5, exact=True).ids.tolist()))
        near.append(set(hits.ids.tolist()))
        assert not any(id_ % 7 == 0 for id_ in near[-1])
        where = found.search(query, limit=5, plan=plan, where="year = 3")
        assert all(id_ % 5 == 3 for id_ in where.ids)
        assert len(where) == 5
    recall = np.mean([len(a & b) / 5 for a, b in zip(exact, near, strict=True)])
    assert recall > 0.9


def test_more_than_there_are_is_a_scan(pages: tuple[vs.Collection, list[Array]]) -> None:
    """Where no more records are allowed than candidates are wanted, all are scored."""
    found, made = pages
    for nprobe in (1, 3, 4_000):
        plan = vs.Cascade([vs.MaxSim("pages", 100, "ids", nprobe=nprobe)])
        flat = vs.Cascade([vs.MaxSim("pages", 100, "ids")])
        for query in (made[5], made[200][:1]):
            one, other = (found.search(query, limit=20, plan=each) for each in (plan, flat))
            assert one.ids.tolist() == other.ids.tolist()
            np.testing.assert_array_equal(one.scores, other.scores)


def test_the_default_plan_looks_for_candidates(
    pages: tuple[vs.Collection, list[Array]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From so many tokens on; never for an exact search, nor where a filter leaves few."""
    found, made = pages
    monkeypatch.setattr(options, "MAXSIM_KEEP", {"ids": (2, 20)})
    monkeypatch.setattr(options, "MAXSIM_KEEP_VECTORS", 1)
    monkeypatch.setattr(options, "MAXSIM_NPROBE", 3)
    monkeypatch.setattr(options, "MAXSIM_CANDIDATES", 2)
    monkeypatch.setattr(options, "MAXSIM_CANDIDATES_MIN", 1)

    def scored(**given_: object) -> int:
        hits = found.search(made[9], limit=10, explain=True, **given_)  # type: ignore[arg-type]
        assert hits.explain is not None
        return hits.explain[0].rows_in

    everything = scored()
    assert everything == found.count()
    monkeypatch.setattr(options, "MAXSIM_SCAN_MAX", TOKENS * 200)
    assert scored() < everything
    assert scored(exact=True) == everything
    assert scored(where="year = 3") == found.count("year = 3")


def test_nprobe_is_for_first_stages_of_ids(pages: tuple[vs.Collection, list[Array]]) -> None:
    """Elsewhere it is a RequestError, as is one that is no count."""
    found, made = pages
    for nprobe in (0, 2_000_000, "4", 1.5):
        with pytest.raises(errors.RequestError, match="nprobe of MaxSim"):
            vs.MaxSim("pages", 10, "ids", nprobe=nprobe)  # type: ignore[arg-type]
    with pytest.raises(errors.RequestError, match="stage 2"):
        vs.Cascade([vs.MaxSim("pages", 10), vs.MaxSim("pages", 5, "ids", nprobe=3)])
    with pytest.raises(errors.RequestError, match="'ids256'"):
        plan = vs.Cascade([vs.MaxSim("pages", 10, "res2", nprobe=3)])
        found.search(made[0], plan=plan)


def test_more_of_short_records_are_kept(
    pages: tuple[vs.Collection, list[Array]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first stage hands on as many records as have so many vectors, of ids and of floats."""
    found, made = pages
    monkeypatch.setattr(options, "MAXSIM_KEEP", {"ids": (2, 20)})
    for vectors, kept in ((1, 20), (TOKENS * 50, 50), (TOKENS * 60 - 1, 60)):
        monkeypatch.setattr(options, "MAXSIM_KEEP_VECTORS", vectors)
        hits = found.search(made[9], limit=10, explain=True)
        assert hits.explain is not None
        assert hits.explain[0].rows_out == 2 * kept
