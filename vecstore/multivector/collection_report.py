"""What fewer tokens would lose of a collection, embedded or remote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from vecstore.codec.base import normalized
from vecstore.errors import RequestError
from vecstore.multivector.report import TokenReport, token_report
from vecstore.multivector.sets import TokenSets, offsets_of
from vecstore.schema import Schema
from vecstore.types import Float32, Id, Metric, Record

BATCH = 256


class Records(Protocol):
    """A collection, as far as it is read."""

    @property
    def schema(self) -> Schema:
        """Its fields."""
        ...

    def scroll(
        self, *, where: str | None = None, with_vectors: bool = False, batch: int = BATCH
    ) -> Iterator[Record]:
        """All its records."""
        ...


def report_tokens(
    collection: Records,
    queries: Mapping[str, Sequence[Any]],
    *,
    policies: Sequence[tuple[str, str]] = (),
    budgets: Sequence[int] = (),
    judgments: Sequence[Mapping[Id, float]] | None = None,
) -> TokenReport:
    """Measure what pruning, pooling and token budgets would lose; reads every record once.

    The finest representation that is stored is what all are compared with. What was not kept of
    salience when a record is read back is not known here: policies by salience raise VectorError.

    Args:
        collection: embedded or remote.
        queries: field -> Q arrays [n, D], for one multivector field.
        policies: (pruning, pooling), such as ("coverage0.5", "") or ("", "ward3").
        budgets: tokens of each record that are read, the most important first.
        judgments: of each query, id -> grade, bigger is better; None: overlap only.

    Raises:
        RequestError: not one multivector field.
        SchemaError: a policy is unknown.
    """
    if len(queries) != 1 or not all(collection.schema.vector(name).multi for name in queries):
        raise RequestError(f"queries are for {list(queries)}, expected one multivector field")
    [(name, given)] = queries.items()
    metric, places = collection.schema.vector(name).metric, dict[Id, int]()
    asked = [_query(query, metric) for query in given]
    return token_report(
        _blocks(collection, name, places),
        asked,
        metric,
        policies=policies,
        budgets=budgets,
        judgments=None if judgments is None else _ByPlace(judgments, places),
    )


class _ByPlace(Sequence[Mapping[int, float]]):
    """Judgments by the numbers of records, which are known once all are read."""

    def __init__(self, judgments: Sequence[Mapping[Id, float]], places: Mapping[Id, int]) -> None:
        self._judgments = judgments
        self._places = places

    def __len__(self) -> int:
        return len(self._judgments)

    def __getitem__(self, query: Any) -> Any:
        graded = enumerate(self._judgments[query].items(), 1)
        return {self._places.get(id_, -number): grade for number, (id_, grade) in graded}


def _query(query: Any, metric: Metric) -> Float32:
    """A query [n, D], at unit length for "cosine"."""
    found: Float32 = np.asarray(query, dtype=np.float32)
    return normalized(found) if metric == "cosine" else found


def _blocks(collection: Records, name: str, places: dict[Id, int]) -> Iterator[TokenSets]:
    """The tokens of the records that have the field, some records at a time."""
    sets: list[Float32] = []
    for record in collection.scroll(with_vectors=True, batch=BATCH):
        if name in record.vectors:
            places[record.id] = len(places)
            sets.append(record.vectors[name])
        if len(sets) == BATCH:
            yield _block(sets)
            sets = []
    if sets:
        yield _block(sets)


def _block(sets: Sequence[Float32]) -> TokenSets:
    return TokenSets(vectors=np.concatenate(sets), offsets=offsets_of([len(each) for each in sets]))
