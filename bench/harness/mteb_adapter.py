"""vecstore as the index that mteb searches.

    from mteb.models import SearchEncoderWrapper

    searched = SearchEncoderWrapper(encoder, index_backend=VecstoreIndex())
    mteb.evaluate(searched, tasks)

mteb encodes the corpus and the queries with any of its encoders, and vecstore finds the documents.
Only numpy and vecstore are imported; the class follows mteb's IndexEncoderSearchProtocol (2.x).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from vecstore.types import Array, Float32

NAME, FIELD = "documents", "text"
BATCH_ROWS = 10_000
BATCH_QUERIES = 500


class VecstoreIndex:
    """An index of the documents of one task at a time, in a folder that `clear` removes."""

    def __init__(
        self,
        *,
        metric: str = "cosine",
        ladder: Sequence[str] = (),
        exact: bool = False,
        folder: Path | None = None,
    ) -> None:
        """Nothing is stored yet.

        Args:
            metric: "cosine", "dot" or "l2": that of the encoder.
            ladder: representations, coarse to fine; empty for the default.
            exact: score every document with the finest representation.
            folder: where the folder is made; in the temporary one by default.
        """
        self.metric = metric
        self.ladder = tuple(ladder)
        self.exact = exact
        self.parent = folder
        self._folder: Path | None = None
        self._database: Any = None
        self._ids: list[str] = []

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Add documents: vectors [n, D], and how mteb calls each."""
        vectors = _floats(embeddings)
        if self._database is None:
            self._create(vectors.shape[1])
        documents = self._database.collection(NAME)
        for start in range(0, len(vectors), BATCH_ROWS):
            part = vectors[start : start + BATCH_ROWS]
            first = len(self._ids) + start
            documents.upsert(range(first, first + len(part)), part)
        documents.compact()
        self._ids += idxs

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[[Any, Any], Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        query_idx_to_id: Mapping[int, str] | None = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """The best documents of each query, or the order of those given.

        Args:
            embeddings: queries [Q, D].
            top_k: documents of each query at most.
            similarity_fn: how the encoder scores; asked where documents are given.
            top_ranked: for each query's id the ids of the documents to order.
            query_idx_to_id: the id of each query.

        Returns:
            For each query scores, best first, and places: among all documents in the order in which
            they were added, or among those given.
        """
        if self._database is None:
            raise ValueError("no documents yet: add_documents comes first")
        queries = _floats(embeddings)
        if top_ranked is None:
            return self._found(queries, top_k)
        if query_idx_to_id is None:
            raise ValueError("query_idx_to_id is needed to order documents that are given")
        rows = {id_: row for row, id_ in enumerate(self._ids)}
        scores, places = [], []
        for number, query in enumerate(queries):
            given = [rows[id_] for id_ in top_ranked.get(query_idx_to_id[number], ())]
            values, order = self._ordered(query, given, top_k, similarity_fn)
            scores.append(values)
            places.append(order)
        return scores, places

    def clear(self) -> None:
        """Remove what is stored."""
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None
        self._ids = []

    def _create(self, dim: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vecstore-mteb-", dir=self.parent))
        self._database = vs.open(self._folder)
        metric: Any = self.metric
        vector = vs.Vector(FIELD, dim, metric, self.ladder)
        self._database.create_collection(NAME, vs.Schema([vector]))

    def _found(self, queries: Float32, top_k: int) -> tuple[list[list[float]], list[list[int]]]:
        documents = self._database.collection(NAME)
        asked = {"limit": min(top_k, len(self._ids)), "exact": self.exact, "with_payload": False}
        hits = [
            each
            for start in range(0, len(queries), BATCH_QUERIES)
            for each in documents.search_batch(queries[start : start + BATCH_QUERIES], **asked)
        ]
        return [each.scores.tolist() for each in hits], [each.ids.tolist() for each in hits]

    def _ordered(
        self,
        query: Float32,
        rows: Sequence[int],
        top_k: int,
        similarity_fn: Callable[[Any, Any], Any],
    ) -> tuple[list[float], list[int]]:
        """Scores and places of the best of some documents, of their vectors as they are stored."""
        if not rows:
            return [], []
        records = self._database.collection(NAME).get(rows, with_vectors=True)
        vectors = np.stack([record.vectors[FIELD] for record in records])
        scores: Array = np.asarray(similarity_fn(query[None], vectors)).reshape(-1)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return scores[order].tolist(), order.tolist()


def _floats(values: Any) -> Float32:
    """float32 of an array or of a tensor, wherever it lies."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    return np.ascontiguousarray(values, dtype=np.float32)
