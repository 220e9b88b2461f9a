"""What is measured on: real embeddings where there are some, else synthetic ones with structure.

Real sets are folders in BEIR layout. Their embeddings lie beside the texts, or where
`python -m bench.embed` keeps those that it makes: the same model, in the same precision.

Shapes  N rows, Q queries, D dimensions.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from vecstore.types import Array, Float32, Int64

SETS = ("scifact", "code-mini", "vaswani", "cranfield", "octave-pages", "medquad", "wordnet")
# The sets that give synthetic rows their structure.
BASE_SETS = ("scifact", "code-mini", "vaswani")
DIM = 384
TEST_ROWS = slice(5500, 8000)  # of code-mini: query i belongs to document i
VECTORS, QUERIES = "minilm-corpus.f16.npy", "minilm-queries.f16.npy"
BATCH = 1_000
BASE_ROWS = 8_000
CLUSTERS = 200
# How far a synthetic row lies from the row it is made of, in differences of two others.
SPREAD = 0.5
# How many such steps a query of a known item lies from it: hard enough that some are not found.
QUERY_STEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Vectors and queries at unit length, with judgments.

    Attributes:
        name: of the set.
        vectors: float32 [N, D].
        queries: float32 [Q, D].
        relevant: for each query, row -> grade.
    """

    name: str
    vectors: Float32
    queries: Float32
    relevant: tuple[Mapping[int, float], ...]


def _place(folder: Path | None, name: str, keep: Path | None) -> Path | None:
    """Where the embeddings of a set lie; None where there are none, or no texts."""
    if folder is None or not (folder / name).is_dir():
        return None
    ready = [folder / name] + ([keep / "embeddings" / name] if keep is not None else [])
    return next((path for path in ready if (path / QUERIES).is_file()), None)


def load(folder: Path | None, name: str, keep: Path | None = None) -> Dataset | None:
    """One set in BEIR layout, or None where it is not there or nobody has embedded it.

    Args:
        folder: of all sets.
        name: of the set.
        keep: the cache in which embeddings made by bench.embed lie, for want of ready ones.

    Raises:
        ValueError: the embeddings are not of these texts.
    """
    place = _place(folder, name, keep)
    if folder is None or place is None:
        return None
    vectors, queries = _unit(np.load(place / VECTORS)), _unit(np.load(place / QUERIES))
    if name == "code-mini":
        own = range(len(queries))[TEST_ROWS]
        relevant: list[dict[int, float]] = [{row: 1.0} for row in own]
        queries = queries[TEST_ROWS]
    else:
        relevant = _judgments(folder / name, len(vectors), len(queries))
    kept = [place for place, rows in enumerate(relevant) if rows]
    return Dataset(
        name=name,
        vectors=vectors,
        queries=queries[kept],
        relevant=tuple(relevant[place] for place in kept),
    )


def loaded(folder: Path | None, keep: Path) -> list[str]:
    """Those of SETS whose embeddings are there."""
    return [name for name in SETS if _place(folder, name, keep) is not None]


@cache
def real(folder: Path | None, keep: Path | None = None) -> Dataset | None:
    """All real rows there are, no two alike, in an order drawn once; None where there are none.

    Queries are those of the sets, none of them equal to a row; as far as they go, the first so
    many are of each set in proportion to its rows. Without judgments: the truth is what is
    nearest. The arrays are shared, and read-only.
    """
    found = [data for name in SETS if (data := load(folder, name, keep)) is not None]
    if not found:
        return None
    rows = np.concatenate([data.vectors for data in found])
    rng = np.random.default_rng(11)
    # The r-th query that is drawn of a set stands as far on as r rows are through the set.
    places = [rng.permutation(len(data.queries)) / len(data.vectors) for data in found]
    order = np.argsort(np.concatenate(places), kind="stable")
    queries = np.concatenate([data.queries for data in found])[order]
    # Rows come first, so that of a row and a query that are equal the row stays.
    count = len(rows)
    kept = _distinct(np.concatenate([rows, queries]))
    rows = rows[rng.permutation(kept[kept < count])]
    queries = queries[kept[kept >= count] - count]
    for values in (rows, queries):
        values.setflags(write=False)
    return Dataset(
        name="MiniLM of " + ", ".join(data.name for data in found),
        vectors=rows,
        queries=queries,
        relevant=({},) * len(queries),
    )


def _distinct(vectors: Float32) -> Int64:
    """The rows, ascending, of which no earlier one has the very same values."""
    whole = np.ascontiguousarray(vectors).view(f"V{vectors.shape[1] * vectors.itemsize}")
    _, first = np.unique(whole.ravel(), return_index=True)
    return np.sort(first)


def _judgments(folder: Path, rows: int, queries: int) -> list[dict[int, float]]:
    places = [
        {id_: place for place, id_ in enumerate(_ids(folder / f"{kind}.jsonl.gz"))}
        for kind in ("queries", "corpus")
    ]
    if [len(each) for each in places] != [queries, rows]:
        raise ValueError(f"{folder.name}: there are not as many embeddings as texts")
    relevant: list[dict[int, float]] = [{} for _ in range(queries)]
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if float(grade) > 0:
            relevant[places[0][query]][places[1][document]] = float(grade)
    return relevant


def _ids(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["_id"]


def _unit(vectors: Array) -> Float32:
    values: Float32 = vectors.astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


@dataclass(frozen=True, slots=True)
class Synthetic:
    """As many rows as asked for, the same ones every time.

    A row is a base row moved along the difference of two others, so that rows cluster and their
    spectrum decays as those of the base do. Uniform noise would have neither, and would make
    every codec look worse and every filter better than it is.

    Attributes:
        source: what the base is.
        base: float32 [n, D] at unit length.
    """

    source: str
    base: Float32

    def rows(self, batch: int, count: int = BATCH) -> Float32:
        """Rows [count, D] of one batch."""
        return self._moved(np.random.default_rng([1, batch]), count)

    def queries(self, count: int) -> Float32:
        """Queries [count, D], made as rows are but equal to none."""
        return self._moved(np.random.default_rng(2), count)

    def dataset(self, count: int, queries: int) -> Dataset:
        """A set of known items: each query is a row moved away, and that row relevant."""
        vectors = np.concatenate(
            [
                self.rows(start // BATCH, min(BATCH, count - start))
                for start in range(0, count, BATCH)
            ]
        )
        rng = np.random.default_rng(3)
        rows = rng.integers(count, size=queries)
        return Dataset(
            name=self.source,
            vectors=vectors,
            queries=_unit(vectors[rows] + QUERY_STEPS * self._step(rng, queries)),
            relevant=tuple({int(row): 1.0} for row in rows),
        )

    def _moved(self, rng: np.random.Generator, count: int) -> Float32:
        start = self.base[rng.integers(len(self.base), size=count)]
        return _unit(start + self._step(rng, count))

    def _step(self, rng: np.random.Generator, count: int) -> Float32:
        one, other = rng.integers(len(self.base), size=(2, count))
        step: Float32 = np.float32(SPREAD) * (self.base[one] - self.base[other])
        return step


@cache
def synthetic(folder: Path | None) -> Synthetic:
    """Rows around real embeddings where there are some, else around clustered Gaussians."""
    found = [data.vectors for name in BASE_SETS if (data := load(folder, name)) is not None]
    if found:
        return Synthetic("synthetic, around MiniLM", np.concatenate(found))
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
    axes = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)
    centres = rng.standard_normal((CLUSTERS, DIM), dtype=np.float32)
    base = centres[rng.integers(CLUSTERS, size=BASE_ROWS)]
    base = base + rng.standard_normal(base.shape, dtype=np.float32)
    return Synthetic("synthetic, clustered Gaussians", _unit(base * spectrum @ axes))
