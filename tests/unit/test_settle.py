"""When codecs of tokens learn: not from few, at once where asked, again where tokens change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from vecstore.codec import centroid_training
from vecstore.collection import Collection
from vecstore.ingest import flush as flushing
from vecstore.ingest.compact import compact_all
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
    monkeypatch.setattr(flushing, "DRIFT_MAX", 9)
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
            learned.append([info.rows for info in flushing.trained_codecs(made._store)])
        assert learned == ([[FEW], [FEW], [MANY]] if by_hand else [[], [MANY], [MANY]])


def test_other_tokens_get_another_codebook(
    made: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that lie elsewhere train a codec of their own; more of the same do not."""
    made.upsert(range(50), pages(50, seed=1))
    made.flush()
    made.upsert(range(50, 70), pages(20, seed=2))
    made.flush()
    sources = [live.source for live in made._store.snapshot().segments]
    assert len({source.codec_id("pages", "res2") for source in sources}) == 1
    monkeypatch.setattr(flushing, "DRIFT_ROWS", 300)
    made.upsert(range(70, 90), pages(20, seed=3, topics=1))
    made.flush()
    sources = [live.source for live in made._store.snapshot().segments]
    assert len({source.codec_id("pages", "res2") for source in sources}) == 2


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
