"""What is measured on: real embeddings where there are some, else synthetic ones with structure.

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

from vecstore.types import Array, Float32

SETS = ("scifact", "code-mini", "vaswani", "wordnet")
# The sets that give synthetic rows their structure.
BASE_SETS = ("scifact", "code-mini", "vaswani")
DIM = 384
TEST_ROWS = slice(5500, 8000)  # of code-mini: query i belongs to document i
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


def load(folder: Path | None, name: str) -> Dataset | None:
    """One set in BEIR layout with ready embeddings, or None where it is not there."""
    if folder is None or not (folder / name / "minilm-corpus.f16.npy").is_file():
        return None
    vectors = _unit(np.load(folder / name / "minilm-corpus.f16.npy"))
    queries = _unit(np.load(folder / name / "minilm-queries.f16.npy"))
    if name == "code-mini":
        own = range(len(queries))[TEST_ROWS]
        relevant: list[dict[int, float]] = [{row: 1.0} for row in own]
        queries = queries[TEST_ROWS]
    else:
        relevant = _judgments(folder / name)
    kept = [place for place, rows in enumerate(relevant) if rows]
    return Dataset(
        name=name,
        vectors=vectors,
        queries=queries[kept],
        relevant=tuple(relevant[place] for place in kept),
    )


def _judgments(folder: Path) -> list[dict[int, float]]:
    rows = {id_: row for row, id_ in enumerate(_ids(folder / "corpus.jsonl.gz"))}
    places = {id_: place for place, id_ in enumerate(_ids(folder / "queries.jsonl.gz"))}
    relevant: list[dict[int, float]] = [{} for _ in places]
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if float(grade) > 0:
            relevant[places[query]][rows[document]] = float(grade)
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
