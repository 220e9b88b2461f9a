"""What late interaction is measured on: several vectors for each document and query.

Shapes  N documents, Q queries, T vectors of one of them, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import data
from bench.peers import envs
from vecstore.types import Array, Float32, Int64

SETS = ("cranfield", "limit-small", "scifact")
NAME = "tokens128"

# Of the set that stands in where there is no data.
DIM, TOPICS = 128, 64
DOCUMENT_TOKENS, QUERY_TOKENS = (8, 24), 8
MOVED = 0.5  # how far a query's vectors lie from the document's that they are made of


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSet:
    """Documents and queries, all vectors at unit length, with judgments.

    Attributes:
        name: of the set.
        documents: of each of N, float32 [T, D].
        queries: of each of Q, float32 [T, D].
        dense: one vector of each document and query, and for each query, row -> grade.
    """

    name: str
    documents: Sequence[Float32]
    queries: Sequence[Float32]
    dense: data.Dataset

    @property
    def relevant(self) -> tuple[Mapping[int, float], ...]:
        """For each query, row -> grade."""
        return self.dense.relevant

    @property
    def tokens(self) -> int:
        """Vectors of all documents."""
        return sum(map(len, self.documents))

    def first(self, queries: int) -> TokenSet:
        """The same documents, and fewer queries."""
        return TokenSet(
            name=self.name,
            documents=self.documents,
            queries=self.queries[:queries],
            dense=data.Dataset(
                name=self.dense.name,
                vectors=self.dense.vectors,
                queries=self.dense.queries[:queries],
                relevant=self.dense.relevant[:queries],
            ),
        )


def load(folder: Path | None, name: str) -> TokenSet | None:
    """One set with ready vectors of tokens, or None where it is not there.

    They lie beside its texts, or in the cache (see `bench.embed_tokens`).

    Raises:
        ValueError: a query has no judgments, so that vectors and judgments are not of one another.
    """
    dense = data.load(folder, name)
    if folder is None or dense is None:
        return None
    places = (folder / name, envs.folder() / "tokens" / name)
    held = next((place for place in places if (place / f"{NAME}-corpus.i8.npy").is_file()), None)
    if held is None:
        return None
    documents, queries = (_split(held, what) for what in ("corpus", "queries"))
    if (len(documents), len(queries)) != (len(dense.vectors), len(dense.queries)):
        raise ValueError(f"{name}: {len(dense.queries)} of {len(queries)} queries are judged")
    return TokenSet(name=name, documents=documents, queries=queries, dense=dense)


def _split(folder: Path, what: str) -> list[Float32]:
    values = _unit(np.load(folder / f"{NAME}-{what}.i8.npy"))
    lengths = np.load(folder / f"{NAME}-{what}.len.npy")
    return np.split(values, np.cumsum(lengths)[:-1])


def _unit(vectors: Array) -> Float32:
    values: Float32 = vectors.astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def synthetic(documents: int, queries: int) -> TokenSet:
    """Documents around topics; a query is some vectors of one, moved, and that one relevant.

    The dense vector of each is the mean of its vectors.
    """
    rng = np.random.default_rng(5)
    topics = rng.standard_normal((TOPICS, DIM), dtype=np.float32)

    def made(count: int) -> Float32:
        drawn = topics[rng.integers(TOPICS, size=count)]
        return _unit(drawn + rng.standard_normal(drawn.shape, dtype=np.float32))

    def moved(document: Float32) -> Float32:
        part = document[rng.integers(len(document), size=QUERY_TOKENS)]
        step = rng.standard_normal(part.shape, dtype=np.float32) * DIM**-0.5
        return _unit(part + MOVED * step.astype(np.float32))

    found = [made(int(count)) for count in rng.integers(*DOCUMENT_TOKENS, size=documents)]
    rows = rng.integers(documents, size=queries)
    asked = [moved(found[row]) for row in rows]
    name = "synthetic, around topics"
    dense = data.Dataset(
        name=name,
        vectors=_unit(np.stack([each.mean(axis=0) for each in found])),
        queries=_unit(np.stack([each.mean(axis=0) for each in asked])),
        relevant=tuple({int(row): 1.0} for row in rows),
    )
    return TokenSet(name=name, documents=found, queries=asked, dense=dense)


def ranking(found: TokenSet, limit: int) -> Int64:
    """The true rows [Q, limit] by MaxSim in float32: score descending, then row; -1 for none.

    Document by document for all queries at once: another way than any peer's, to judge them by.
    """
    lengths = np.array([len(query) for query in found.queries])
    every = np.concatenate(found.queries)
    starts = np.cumsum(lengths) - lengths
    scores = np.full((len(lengths), len(found.documents)), -np.inf, dtype=np.float32)
    for row, document in enumerate(found.documents):
        if len(document):
            best = (every @ document.T).max(axis=1)
            scores[:, row] = np.add.reduceat(best, starts)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :limit]
    order[np.isneginf(np.take_along_axis(scores, order, axis=1))] = -1
    rows = np.full((len(lengths), limit), -1, dtype=np.int64)
    rows[:, : order.shape[1]] = order
    return rows


def with_dense(found: TokenSet) -> tuple[int, list[Float32], list[Float32]]:
    """Documents and queries that begin with their dense vector, cut into pieces of D.

    Returns how many pieces that is, the documents and the queries.

    Raises:
        ValueError: the dense vector is not so many whole pieces.
    """
    dim, wide = found.documents[0].shape[1], found.dense.vectors.shape[1]
    if wide % dim:
        raise ValueError(f"dense vectors have {wide} dimensions, expected a multiple of {dim}")

    def joined(dense: Float32, tokens: Sequence[Float32]) -> list[Float32]:
        pairs = zip(dense.reshape(len(dense), -1, dim), tokens, strict=True)
        return [np.concatenate(pair) for pair in pairs]

    documents = joined(found.dense.vectors, found.documents)
    return wide // dim, documents, joined(found.dense.queries, found.queries)
