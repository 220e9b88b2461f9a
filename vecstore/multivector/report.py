"""What is lost where tokens are pruned, pooled, or not all read.

Shapes  N records, Q queries of n vectors each, T tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from vecstore.kernels import _kernels
from vecstore.multivector.policy import Policy, parse
from vecstore.multivector.prune import by_importance
from vecstore.multivector.reduce import apply
from vecstore.multivector.sets import TokenSets
from vecstore.types import Float32, Float64, Int64, Metric

LIMIT = 10
Judgments = Sequence[Mapping[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """What a search finds with fewer tokens.

    Attributes:
        pruning, pooling: the policies; "" is none.
        budget: how many tokens of each record were read, the most important first; None: all.
        kept: the share of all tokens that were read.
        overlap: the share of the first 10 records of the full sets that are among the first 10.
        ndcg: nDCG@10, the mean of the judged queries; None where none is.
        mrr: MRR@10, likewise.
    """

    pruning: str
    pooling: str
    budget: int | None
    kept: float
    overlap: float
    ndcg: float | None
    mrr: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReport:
    """Rows for every policy and budget, that of the full sets first.

    Attributes:
        rows: in the order of the policies, then of the budgets.
        records: N that have tokens.
        tokens: T.
        queries: Q.
    """

    rows: tuple[ReportRow, ...]
    records: int
    tokens: int
    queries: int


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to have fewer tokens."""

    pruning: Policy | None
    pooling: Policy | None
    budget: int | None

    def row(self, kept: float, overlap: float, ndcg: float | None, mrr: float | None) -> ReportRow:
        return ReportRow(
            pruning=self.pruning.text if self.pruning else "",
            pooling=self.pooling.text if self.pooling else "",
            budget=self.budget,
            kept=kept,
            overlap=overlap,
            ndcg=ndcg,
            mrr=mrr,
        )


def token_report(
    blocks: Iterable[TokenSets],
    queries: Sequence[Float32],
    metric: Metric,
    *,
    policies: Sequence[tuple[str, str]] = (),
    budgets: Sequence[int] = (),
    judgments: Judgments | None = None,
) -> TokenReport:
    """Score all records exactly with the tokens that each policy and budget leaves.

    Reads the blocks once, one at a time.

    Args:
        blocks: the records, numbered from 0 over all blocks.
        queries: Q of [n, D].
        metric: of the field.
        policies: (pruning, pooling), done in this order; no policy at all is always reported.
        budgets: tokens of each record that are read; reading all is always reported.
        judgments: of each query, record -> grade, bigger is better, above 0.

    Raises:
        SchemaError: a policy is unknown.
        VectorError: a policy needs salience, and it is not known.
    """
    reduced = [(None, None)] + [
        (parse(pruning, "pruning"), parse(pooling, "pooling")) for pruning, pooling in policies
    ]
    ways = [_Way(*own, budget) for own, budget in product(reduced, (None, *budgets))]
    best = [_Best.none(len(queries)) for _ in ways]
    kept = np.zeros(len(ways), dtype=np.int64)
    records = first = 0
    for block in blocks:
        for number, (pruning, pooling) in enumerate(reduced):
            sets = apply(pooling, apply(pruning, block, metric), metric)
            if not pruning and not pooling:
                sets = by_importance(sets)
            for way in range(number * (1 + len(budgets)), (number + 1) * (1 + len(budgets))):
                budget = ways[way].budget
                kept[way] += np.minimum(sets.lengths, budget or len(sets.vectors)).sum()
                best[way] = best[way].merged(_search(sets, queries, budget), first)
        records += int((block.lengths > 0).sum())
        first += len(block)
    return TokenReport(
        rows=tuple(
            way.row(
                float(kept[i] / max(1, kept[0])),
                _overlap(best[i].records, best[0].records),
                _mean(ndcg, best[i].records, judgments),
                _mean(reciprocal_rank, best[i].records, judgments),
            )
            for i, way in enumerate(ways)
        ),
        records=records,
        tokens=int(kept[0]),
        queries=len(queries),
    )


def ndcg(found: Int64, grades: Mapping[int, float]) -> float:
    """nDCG@10 of one query: gain = grade, discount log2(rank + 1)."""
    discounts = 1 / np.log2(np.arange(2, LIMIT + 2))
    gains = np.array([grades.get(int(record), 0.0) for record in found[:LIMIT]])
    ideal = np.array(sorted(grades.values(), reverse=True)[:LIMIT])
    return float(gains @ discounts[: len(gains)] / (ideal @ discounts[: len(ideal)]))


def reciprocal_rank(found: Int64, grades: Mapping[int, float]) -> float:
    """1 / rank of the first relevant record among the first 10, or 0."""
    ranks = [
        rank for rank, record in enumerate(found[:LIMIT], 1) if grades.get(int(record), 0.0) > 0
    ]
    return 1 / ranks[0] if ranks else 0.0


@dataclass(frozen=True, slots=True)
class _Best:
    """The best records of each query so far, and their scores; best first."""

    records: list[Int64]
    scores: list[Float32]

    @classmethod
    def none(cls, queries: int) -> _Best:
        return cls(
            [np.empty(0, dtype=np.int64)] * queries, [np.empty(0, dtype=np.float32)] * queries
        )

    def merged(self, found: Sequence[tuple[Int64, Float32]], first: int) -> _Best:
        """With what was found in a block whose records are numbered from `first`."""
        records, scores = [], []
        for own, mine, (new, theirs) in zip(self.records, self.scores, found, strict=True):
            all_records = np.concatenate([own, new + first])
            all_scores = np.concatenate([mine, theirs])
            ranked = np.argsort(-all_scores, kind="stable")[:LIMIT]
            records.append(all_records[ranked])
            scores.append(all_scores[ranked])
        return _Best(records, scores)


def _search(
    sets: TokenSets, queries: Sequence[Float32], budget: int | None
) -> list[tuple[Int64, Float32]]:
    """The best records of each query and their scores."""
    values = np.ascontiguousarray(sets.vectors)
    found = []
    for query in queries:
        scorer = _kernels.flat(values, np.ascontiguousarray(query, dtype=np.float32), l2=False)
        documents = _kernels.maxsim_rows(sets.offsets, budget, scorer)
        found += documents.scan(0, len(sets), None, LIMIT)
    return found


def _overlap(found: Sequence[Int64], truth: Sequence[Int64]) -> float:
    shares: list[Float64] = [
        np.isin(full, own).mean() for own, full in zip(found, truth, strict=True) if len(full)
    ]
    return float(np.mean(shares)) if shares else 1.0


def _mean(
    measure: Callable[[Int64, Mapping[int, float]], float],
    found: Sequence[Int64],
    judgments: Judgments | None,
) -> float | None:
    """Of the queries that have a relevant record."""
    if judgments is None:
        return None
    relevant = [
        {record: grade for record, grade in grades.items() if grade > 0} for grades in judgments
    ]
    values = [measure(own, grades) for own, grades in zip(found, relevant, strict=True) if grades]
    return float(np.mean(values)) if values else None
