"""When codecs of tokens learn: not from few, at once where asked, again where tokens change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from vecstore import options
from vecstore.codec import centroid_training
from vecstore.collection import Collection
from vecstore.ingest import choose
from vecstore.ingest.compact import compact_all, plan_for
from vecstore.types import Array

DIM, TOKENS = 8, 20
FEW, MANY = 200, 800


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codecs learn from hundreds of tokens."""
    monkeypatch.setattr(centroid_training, "_CENTROIDS_MIN", FEW // 16)
    monkeypatch.setattr(centroid_training, "CENTROIDS_MAX", MANY // 16)
    monkeypatch.setattr(centroid_training, "_SAMPLE_MIN", MANY)


def pages(count: int, seed: int, topics: int = 0) -> list[Array]:
    """Sets of tokens around topics; those of another `topics` lie elsewhere."""
    centers = np.random.default_rng(topics).standard_normal((9, DIM)) * 4
    rng = np.random.default_rng(seed)
    own = centers[rng.integers(0, 9, count * TOKENS)]
    values = own + 0.2 * rng.standard_normal((count * TOKENS, DIM))
    return np.split(values.astype(np.float32), count)


def specs(collection: Collection) -> Sequence[Sequence[str]]:
    """The representations of each segment."""
    return [live.source.specs("pages") for live in collection._store.snapshot().segments]


@pytest.fixture
def made(tmp_path: Path) -> Collection:
    """An empty collection that does nothing on its own."""
    database = vs.open(tmp_path / "db", options=vs.Options(background=False))
    field = vs.MultiVector("pages", DIM, representations=["res2"])
    return database.create_collection("c", vs.Schema([field]))


def test_few_tokens_stay_exact(made: Collection) -> None:
    """A segment of fewer tokens than a codec learns from keeps floats, and is searched exactly."""
    given = pages(5, seed=1)
    made.upsert(range(5), given)
    made.flush()
    assert specs(made) == [("float16",)]
    made.compact()
    assert specs(made) == [("float16",)]
    assert made.search(given[3], limit=1).ids[0] == 3
    assert {item.spec: item.vectors for item in made.stats().representations} == {
        "res2": 0,
        "float16": 5 * TOKENS,
    }


def test_compaction_by_hand_learns_from_what_there_is(made: Collection) -> None:
    """`compact` trains as soon as it can; in the background, tokens wait until they are many."""
    for start in range(0, 30, 10):
        made.upsert(range(start, start + 10), pages(10, seed=start))
        made.flush()
    compact_all(made._store)
    assert set(specs(made)) == {("float16",)}
    made.compact()
    assert specs(made) == [("res2",)]


def test_many_tokens_are_upgraded_in_the_background(made: Collection) -> None:
    """Segments of floats become one of codes once no more could be learned from; flushes follow."""
    for start in range(0, 50, 10):
        made.upsert(range(start, start + 10), pages(10, seed=start))
        made.flush()
    compact_all(made._store)
    assert specs(made) == [("res2",)]
    made.upsert(range(60, 62), pages(2, seed=7))
    made.flush()
    assert specs(made) == [("res2",), ("res2",)]


@pytest.mark.parametrize("by_hand", [False, True])
def test_roomy_codes_learn_from_all_where_more_is_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_hand: bool
) -> None:
    """In the background from as many as there may be, once; by hand from a fourth."""
    monkeypatch.setattr(centroid_training, "_SAMPLE_MIN", FEW)
    monkeypatch.setattr(choose, "DRIFT_MAX", 9)
    with vs.open(tmp_path, options=vs.Options(background=False)) as database:
        field = vs.MultiVector("pages", DIM, representations=["res4"])
        made = database.create_collection("c", vs.Schema([field]))
        learned = []
        for start, stop in ((0, 30), (30, 60), (60, 180)):
            made.upsert(range(start, stop), pages(stop - start, seed=start))
            made.flush()
            if by_hand:
                made.compact()
            else:
                compact_all(made._store)
            learned.append([info.rows for info in choose.trained_codecs(made._store)])
        assert learned == ([[FEW], [FEW], [MANY]] if by_hand else [[], [MANY], [MANY]])


def codecs(collection: Collection) -> list[int | None]:
    """The codec of each segment; None: it has floats."""
    found = collection._store.snapshot().segments
    return [live.source.codec_id("pages", "res2") for live in found]


def test_other_tokens_get_another_codebook(
    made: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that no codec suits stay floats until they can teach one; then each get their own."""
    monkeypatch.setattr(options, "COMPACTION_FANOUT", 100)
    made.upsert(range(50), pages(50, seed=1))
    made.flush()
    made.upsert(range(50, 70), pages(20, seed=2))
    made.flush()
    assert codecs(made) == [first := codecs(made)[0], first]
    for start in (70, 90, 110):
        assert not plan_for(made._store, made._store.snapshot()).runs
        made.upsert(range(start, start + 15), pages(15, seed=start, topics=1))
        made.flush()
        assert codecs(made)[-1] is None
    compact_all(made._store)
    *_, second = codecs(made)
    assert codecs(made) == [first, first, second]
    assert second not in (first, None)
    for seed, topics in ((9, 0), (10, 1), (11, 2)):
        made.upsert(range(100 * seed, 100 * seed + 2), pages(2, seed=seed, topics=topics))
        made.flush()
    assert codecs(made)[-3:] == [first, second, None]
    assert not plan_for(made._store, made._store.snapshot()).runs


def lost(collection: Collection, ids: Sequence[int], given: Sequence[Array]) -> float:
    """How far stored tokens are from those given: the mean of 1 - cos."""
    found = [record.vectors["pages"] for record in collection.get(ids, with_vectors=True)]
    both = [np.concatenate(list(each)).astype(np.float64) for each in (given, found)]
    one, other = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in both)
    return float(1 - np.einsum("nd,nd->n", one, other).mean())


def test_what_comes_little_by_little_is_not_coded_badly(made: Collection) -> None:
    """Other tokens in small flushes stay exact, and a compaction of all learns from both kinds."""
    usual, other = pages(50, seed=1), pages(20, seed=2, topics=1)
    made.upsert(range(50), usual)
    made.compact()
    for start in range(0, 20, 2):
        made.upsert(range(100 + start, 102 + start), other[start : start + 2])
        made.flush()
    assert lost(made, range(100, 120), other) < 1e-5
    made.compact()
    assert None not in codecs(made)
    assert lost(made, range(100, 120), other) < 0.02
    assert lost(made, range(50), usual) < 0.02


def test_a_codec_of_some_tokens_learns_again_from_the_most(made: Collection) -> None:
    """One that learned from more than a fourth of what is enough is not the last one."""
    made.upsert(range(30), pages(30, seed=1))
    made.compact()
    assert [info.rows for info in choose.trained_codecs(made._store)] == [30 * TOKENS]
    made.upsert(range(30, 60), pages(30, seed=2))
    made.compact()
    assert [info.rows for info in choose.trained_codecs(made._store)] == [MANY]
    made.upsert(range(60, 120), pages(60, seed=3))
    known = choose.trained_codecs(made._store)
    made.compact()
    assert choose.trained_codecs(made._store) == known


def test_ids_take_as_many_centroids_as_two_bytes_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 65,536 of them each token is at its own, and search finds what there is."""
    monkeypatch.setattr(centroid_training, "CENTROIDS_MAX", 65_536)
    monkeypatch.setattr(centroid_training, "TOKENS_PER_CENTROID", 1)
    monkeypatch.setattr(centroid_training, "_SAMPLE_MIN", 1 << 17)
    rng = np.random.default_rng(2)
    given = np.split(rng.standard_normal((66_000, DIM)).astype(np.float32), 660)
    with vs.open(tmp_path, options=vs.Options(background=False)) as database:
        field = vs.MultiVector("pages", DIM, representations=["ids", "float16"])
        made = database.create_collection("c", vs.Schema([field]))
        made.upsert(range(660), given)
        made.compact()
        [live] = made._store.snapshot().segments
        codes = live.source.codes("pages", "ids")
        assert codes is not None
        ids = codes.parts["ids"]
        assert ids.dtype == np.uint16
        assert len(np.unique(ids)) > 30_000
        assert int(ids.max()) > 60_000
        for nprobe in (None, 8):
            first = vs.MaxSim("pages", 20, "ids", nprobe=nprobe)
            plan = vs.Cascade([first, vs.MaxSim("pages", 1)])
            found = [made.search(given[row], limit=1, plan=plan).ids[0] for row in (0, 300, 659)]
            assert found == [0, 300, 659]
