"""Recall floors of LVQ and of planes of signs on real embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from bench.data import Dataset, load
from vecstore.types import Int64

TOP = 10
SETS = ("code-mini", "scifact")
FIELDS: Mapping[str, tuple[str, ...]] = {
    "lvq": ("lvq4x8", "float32"),
    "lvq8": ("lvq8",),
    "bebr": ("bebr4",),
    "sign": ("sign", "lvq4x4"),
}

Search = Callable[[str, vs.Cascade | None], Int64]


@pytest.fixture(scope="module", params=SETS)
def measured(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Dataset, Int64, Search]]:
    """A set, the exact best rows of its queries [Q, TOP], and what a field finds by a plan."""
    found = load(data, request.param)
    if found is None:
        pytest.skip(f"needs real embeddings; none of {request.param} in {data}")
    queries = found.queries
    exact = np.argsort(-(queries @ found.vectors.T), axis=1, kind="stable")[:, :TOP]
    dim = found.vectors.shape[1]
    fields = [vs.Vector(name, dim, "cosine", ladder) for name, ladder in FIELDS.items()]
    with vs.open(tmp_path_factory.mktemp("levels")) as db:
        items = db.create_collection("items", vs.Schema(fields))
        items.upsert(range(len(found.vectors)), vectors=dict.fromkeys(FIELDS, found.vectors))
        items.flush()

        def search(field: str, plan: vs.Cascade | None) -> Int64:
            hits = items.search_batch({field: queries}, limit=TOP, plan=plan)
            return np.stack([each.ids for each in hits])

        yield found, exact, search


def overlap(exact: Int64, found: Int64) -> float:
    """The mean share of the exact best rows that are among those found."""
    shared = [len(np.intersect1d(a, b)) for a, b in zip(exact, found, strict=True)]
    return float(np.mean(shared)) / TOP


def recall(data: Dataset, found: Int64) -> float:
    """The mean share of the relevant rows of a query that are among those found."""
    shares = [
        len(relevant.keys() & set(rows.tolist())) / min(TOP, len(relevant))
        for relevant, rows in zip(data.relevant, found, strict=True)
    ]
    return float(np.mean(shares))


def alone(spec: str) -> vs.Cascade:
    """One scan."""
    return vs.Cascade([vs.Scan(spec, TOP)])


def test_lvq_finds_the_exact_best(measured: tuple[Dataset, Int64, Search]) -> None:
    """Of the exact top 10, lvq8 alone finds .99, lvq4 .93, and lvq4 rescored with both levels
    .99.
    """
    _, exact, search = measured
    assert overlap(exact, search("lvq8", alone("lvq8"))) >= 0.99
    assert overlap(exact, search("lvq", alone("lvq4"))) >= 0.93
    plan = vs.Cascade([vs.Scan("lvq4", 4 * TOP), vs.Rescore("lvq4x8", TOP)])
    assert overlap(exact, search("lvq", plan)) >= 0.99


def test_two_planes_lose_a_point_at_most(measured: tuple[Dataset, Int64, Search]) -> None:
    """With bebr2 the share of relevant documents in the top 10 is within .01 of that of floats."""
    data, exact, search = measured
    assert recall(data, search("bebr", alone("bebr2"))) >= recall(data, exact) - 0.01


def test_default_plans_are_as_good_as_their_finest(
    measured: tuple[Dataset, Int64, Search],
) -> None:
    """Scans of contained codes and of signs hand on .99 of what the finest codes find alone."""
    _, exact, search = measured
    for field, ladder in FIELDS.items():
        finest = search(field, alone(ladder[-1]))
        assert overlap(finest, search(field, None)) >= 0.99
    assert overlap(exact, search("lvq", None)) >= 0.99
