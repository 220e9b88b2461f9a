"""Representations that another one contains, and ladders of the codecs that have such."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from tests.unit.damaged import flip, segment_file
from vecstore import options
from vecstore.codec.ladder import resolve_schema
from vecstore.codec.spec import CODECS
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import NotFoundError
from vecstore.request import SearchRequest
from vecstore.search.plan import make_plan
from vecstore.types import Float32, Metric

DIM, ROWS = 96, 3000
LADDERS = (
    ("lvq4x8",),
    ("lvq4", "lvq4x8"),
    ("lvq8",),
    ("bebr4",),
    ("sign", "lvq4x4"),
    ("bebr1", "float16"),
    ("prefix32/bebr2", "pca32/lvq4x8", "float32"),
)


def rows(count: int = ROWS, seed: int = 0) -> Float32:
    """Vectors [count, DIM] around 30 centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((30, DIM))
    spread = rng.standard_normal((count, DIM))
    return (centres[rng.integers(0, 30, count)] + spread).astype(np.float32)


def filled(db: Database, ladder: tuple[str, ...], metric: Metric = "cosine") -> Collection:
    """A collection with one segment of ROWS records."""
    items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM, metric, ladder)]))
    items.upsert(range(ROWS), rows())
    items.flush()
    return items


def stages(hits: vs.Hits) -> list[tuple[str, str]]:
    """What each stage of a search did, and with which representation."""
    return [(stage.stage, stage.representation) for stage in hits.explain or ()]


@pytest.mark.parametrize(
    ("ladder", "coarse", "code_bytes"), [("lvq4x8", "lvq4", 48 + 8), ("bebr4", "bebr1", 16 + 4)]
)
def test_the_coarsest_that_is_contained_is_scanned(
    foreground: Database, ladder: str, coarse: str, code_bytes: int
) -> None:
    """The default plan scans the beginning of the codes, reads no more of them, and rescores."""
    items = filled(foreground, (ladder,))
    (hits,) = items.search_batch(rows(1, 1), explain=True)
    assert stages(hits)[:2] == [("scan", coarse), ("rescore", ladder)]
    assert hits.explain is not None
    assert hits.explain[0].bytes_read == ROWS * code_bytes
    (exact,) = items.search_batch(rows(1, 1), exact=True, explain=True)
    assert stages(exact) == [("scan", ladder)]
    assert exact.ids.tolist() == hits.ids.tolist()
    assert [item.spec for item in items.stats().representations] == [ladder]


def test_contained_codes_score_as_if_they_were_stored(foreground: Database) -> None:
    """A plan that names lvq4 gives the same scores from lvq4x8 as from a field of its own."""
    vectors = rows()
    fields = [vs.Vector("one", DIM, "l2", ["lvq4x8"]), vs.Vector("two", DIM, "l2", ["lvq4"])]
    items = foreground.create_collection("items", vs.Schema(fields))
    items.upsert(range(ROWS), vectors={"one": vectors, "two": vectors})
    items.flush()
    plan = vs.Cascade([vs.Scan("lvq4", keep=20)])
    found = [items.search({name: rows(1, 2)[0]}, limit=20, plan=plan) for name in ("one", "two")]
    np.testing.assert_array_equal(found[0].ids, found[1].ids)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


def test_only_what_is_contained_is_read(tmp_path: Path) -> None:
    """Damage in the second level stops no scan of the first, and is found by what reads it."""
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        filled(db, ("lvq4x8",))
    flip(segment_file(tmp_path, 0, "codes-0-0"), -ROWS // 2)
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        items = db.collection("items")
        for spec, found, partial in (("lvq4", 10, False), ("lvq4x8", 0, True)):
            hits = items.search(rows(1)[0], plan=vs.Cascade([vs.Scan(spec, keep=10)]))
            assert (len(hits), hits.partial) == (found, partial)


def test_damaged_levels_are_repaired(tmp_path: Path) -> None:
    """Coarse codes are made again from both levels; a lost second level is made from the rest."""
    with vs.open(tmp_path, options=vs.Options(background=False)) as db:
        filled(db, ("sign", "bebr2", "lvq4x8"))
    for number in range(3):
        flip(segment_file(tmp_path, 0, f"codes-0-{number}"), -ROWS // 2)
        with vs.open(tmp_path, options=vs.Options(background=False)) as db:
            db.repair()
            assert db.check() == []
            items = db.collection("items")
            assert items.count() == ROWS
            hits = items.search_batch(rows()[::100], limit=1)
            assert [each.ids[0] for each in hits] == list(range(0, ROWS, 100))


def test_what_is_not_contained_is_refused(foreground: Database) -> None:
    """A plan cannot read what no codes of the field begin with; the error lists what it can."""
    items = filled(foreground, ("lvq4x8", "bebr2"))
    can = "plan reads .* but vector field 'v' has 'bebr2', 'lvq4x8', 'bebr1', 'lvq4'$"
    for spec in ("lvq8", "bebr3", "lvq4x4", "prefix32/lvq4"):
        with pytest.raises(NotFoundError, match=can):
            items.search(rows(1)[0], plan=vs.Cascade([vs.Scan(spec, keep=10)]))


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("ladder", LADDERS)
def test_ladders_live(foreground: Database, ladder: tuple[str, ...], metric: Metric) -> None:
    """Records survive flushes, deletes, compaction and other ladders, and are found by their own
    vectors all along.
    """
    vectors = rows(400)
    items = foreground.create_collection("items", vs.Schema([vs.Vector("v", DIM, metric, ladder)]))
    for start in (0, 150, 300):
        items.upsert(range(start, start + 100), vectors[start : start + 100])
        items.flush()
    items.upsert(range(50), vectors[50:100])
    items.delete(list(range(50, 100)))
    kept = np.concatenate([vectors[50:100], vectors[150:250], vectors[300:400]])

    def found() -> float:
        hits = items.search_batch(kept, limit=1)
        ids = [*range(50), *range(150, 250), *range(300, 400)]
        return float(np.mean([h.ids[0] == own for h, own in zip(hits, ids, strict=True)]))

    # An inner product need not be greatest with the vector itself.
    least = 0.9 if metric == "dot" else 0.99
    assert found() >= least
    items.compact()
    assert found() >= least
    assert foreground.check() == []
    items.alter("v", ["bits1", "lvq4"])
    assert found() >= least - 0.1
    assert foreground.check() == []


def test_there_is_a_plan_for_every_ladder() -> None:
    """Every ladder of two representations has a default plan that scans one of its own."""
    specs = (*CODECS, "prefix32/sign", "pca32/lvq4x8", "pq48", "rq8")
    request = SearchRequest(field="v", queries=rows(1), limit=10)
    for ladder in (*itertools.combinations(specs, 2), *((spec,) for spec in specs)):
        schema = resolve_schema(vs.Schema([vs.Vector("v", DIM, "cosine", ladder)]))
        plan = make_plan(request, schema.vector("v"), few=False)
        assert plan.stages[-1].representation == schema.vector("v").representations[-1]
        assert plan.stages[0].keep >= options.KEEP_MIN or len(plan.stages) == 1
