"""Where vectors themselves end: LIMIT-small, and recall against corpus size for each dimension.

LIMIT-small asks for every pair of its documents, which single vectors of few dimensions cannot
order so, however they are searched. The other tables show what grows with the corpus: each query
is a known item moved away from its place, and the more rows there are, the more lie between.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case, dense_case, nearest
from bench.data import BATCH, DIM, Dataset, Synthetic, synthetic
from bench.databases import MODES, over_rounds
from bench.measure import (
    INTERVALS,
    LIMIT,
    THREADS,
    Interval,
    Settings,
    Table,
    bar,
    bootstrap,
    error_row,
    first_hits,
    search_row,
    shares,
    worst_tenth,
)
from bench.peers import OURS, Entry, entries
from bench.peers.drive import BUILD_S_MAX, INSERT_ROWS, PeerFailedError, Worker, take_turns
from bench.suites.quality import ndcg, recall
from bench.tokens import TokenSet, load, ranking
from vecstore.types import Float32, Int64

SMALL = "limit-small"
AT = (2, 10, 20)
DENSE_EXACT, DENSE_OURS = "dense, exact float32", "vecstore, dense"

DIMS = (32, 64, 128, 256, DIM)
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
QUICK_DIMS, QUICK_SIZES = (32, 128, DIM), (1_000, 3_000, 10_000)
ITEMS = 1_000  # the known items are among so many first rows, and so in every corpus
QUERIES, QUICK_QUERIES = 500, 200
ROUNDS, SECONDS, QUICK_SECONDS = 3, 0.2, 0.1
EXACT = "exact float32"
PLAN = {"plan": "default"}
KNOWN = "recall@{} of known items"
LOST_MOST = 0.01  # by vecstore, of what exact search finds


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    data = load(settings.data, SMALL)
    bars: list[dict[str, Any]] = []
    if data is None:
        print(f"limits: skipped for want of its data: {SMALL}\n")
    else:
        rows = _small(data, settings.folder / "limits-small")
        title = f"{SMALL}: {len(data.documents)} documents, every pair of them asked for"
        yield Table("limits-small", title, rows)
        bars.append(_small_bar(rows))
    title = (
        f"Known items of {synthetic(settings.data).source}: recall against corpus size, by the "
        f"dimensions that a PCA keeps; recall: of exact float32's first {LIMIT}; "
        f"vecstore's corpus grows, build s is of all so far; {INTERVALS}"
    )
    curve: list[dict[str, Any]] = []
    for row in _curve(settings):
        curve.append(row)
        yield Table("limits-curve", title, curve)
    yield Table("limits-bars", "Bars", [*bars, *_bars(curve)])


def _small(data: TokenSet, folder: Path) -> list[dict[str, Any]]:
    """What one vector a document finds of the judged pairs, and what its tokens' vectors do."""
    dense = data.dense
    truth = nearest(dense.vectors, dense.queries, max(AT))
    case = dense_case(folder / "case", SMALL, [dense.vectors], len(dense.vectors), dense.queries)
    rows = [_judged(data, DENSE_EXACT, truth)]
    try:
        with Worker(_ours(), case, folder / OURS, THREADS) as worker:
            worker.build(case)
            found, _ = worker.find(PLAN, max(AT))
        rows.append(_judged(data, DENSE_OURS, found))
    except PeerFailedError as error:
        rows.append(dict.fromkeys(rows[0]) | {"method": DENSE_OURS, "error": str(error)})
    rows.append(_judged(data, "tokens, exact MaxSim", ranking(data, max(AT))))
    return rows


def _judged(data: TokenSet, method: str, found: Int64) -> dict[str, Any]:
    pairs = recall(found[:, : AT[0]], data.relevant)
    row: dict[str, Any] = {"method": method}
    row |= {f"recall@{at}": bootstrap(recall(found[:, :at], data.relevant)) for at in AT}
    row[f"worst tenth, @{AT[0]}"] = worst_tenth(pairs)
    row["both first"] = float((pairs == 1).mean())
    return row | {f"nDCG@{LIMIT}": bootstrap(ndcg(found[:, :LIMIT], data.relevant)), "error": ""}


def _ours() -> Entry:
    return next(entry for entry in entries("dense", [OURS]) if entry.known.name == OURS)


def _curve(settings: Settings) -> Iterator[dict[str, Any]]:
    """For each dimension and size, what exact search finds and what vecstore does."""
    source = synthetic(settings.data)
    quick = settings.quick
    sizes = [size for size in (QUICK_SIZES if quick else SIZES) if size <= settings.rows]
    sizes = sizes or [settings.rows]
    items = source.dataset(min(ITEMS, sizes[0]), QUICK_QUERIES if quick else QUERIES)
    axes = principal(source.base)
    for dim in QUICK_DIMS if quick else DIMS:
        folder = settings.folder / f"limits-{dim}"
        kept = axes[:, :dim]
        parts = (projected(part, kept) for part in corpus(source, items, sizes[-1]))
        queries = projected(items.queries, kept)
        case = dense_case(folder / "case", items.name, parts, sizes[-1], queries)
        yield from Dimension(case, items, folder, settings).rows(sizes)
        shutil.rmtree(folder)


def corpus(source: Synthetic, items: Dataset, rows: int) -> Iterator[Float32]:
    """The known items, then as many others as are missing, in batches."""
    yield items.vectors
    for start in range(len(items.vectors), rows, BATCH):
        yield source.rows(start // BATCH, min(BATCH, rows - start))


def principal(vectors: Float32) -> Float32:
    """Axes [D, D] in columns, by the share of the products that they keep: a PCA, not centred."""
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    return np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)


def projected(vectors: Float32, axes: Float32) -> Float32:
    """Coordinates [N, d] on some axes [D, d], at unit length."""
    values: Float32 = vectors @ axes
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


class Dimension:
    """One dimension: a corpus that grows from size to size, searched exactly and by vecstore."""

    def __init__(self, case: Case, items: Dataset, folder: Path, settings: Settings) -> None:
        self.case = case
        self.items = items
        self.folder = folder / OURS
        self.seconds = QUICK_SECONDS if settings.quick else SECONDS

    def rows(self, sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Two rows for each size."""
        truths = {
            size: nearest(self.case.vectors[:size], self.case.queries, LIMIT) for size in sizes
        }
        for size, truth in truths.items():
            yield self._row(size, EXACT, truth, truth, {}, {})
        done: list[int] = []
        try:
            with Worker(_ours(), self.case, self.folder, THREADS) as worker:
                worker.ask("create")
                taken = 0.0
                for before, size in zip((0, *sizes), sizes, strict=False):
                    taken += self._grown(worker, before, size)
                    built = worker.ask("measure") | {"build_s": taken}
                    found, _ = worker.find(PLAN, LIMIT)
                    times = {mode: self._time(worker, how) for mode, how in MODES.items()}
                    built = worker.searched(built)
                    yield self._row(size, OURS, truths[size], found, built, times)
                    done.append(size)
        except PeerFailedError as error:
            for size in sizes[len(done) :]:
                yield self._placed(size, error_row(OURS, str(error)), {})

    def _grown(self, worker: Worker, start: int, stop: int) -> float:
        """Insert and index rows; the seconds it took."""
        span = {"source": "vectors", "start": start, "stop": stop, "batch": INSERT_ROWS}
        inserted = worker.ask("insert", **span, new=True, limit_s=BUILD_S_MAX)
        finished = worker.ask("finish", limit_s=BUILD_S_MAX)
        return float(inserted["seconds"] + finished["seconds"])

    def _time(self, worker: Worker, how: dict[str, Any]) -> dict[str, Any]:
        asked: dict[str, Any] = {"setting": PLAN, "limit": LIMIT, "seconds": self.seconds}
        return over_rounds(take_turns([(worker, asked | how)], ROUNDS)[0])

    def _row(
        self,
        size: int,
        peer: str,
        truth: Int64,
        found: Int64,
        built: Mapping[str, Any],
        times: Mapping[str, Any],
    ) -> dict[str, Any]:
        row = search_row(
            peer,
            {} if peer == EXACT else PLAN,
            shares=shares(found, truth, LIMIT),
            first=first_hits(found, truth),
            built=built,
            rows=size,
            times=times,
        )
        known = {
            KNOWN.format(at): bootstrap(recall(found[:, :at], self.items.relevant))
            for at in (1, LIMIT)
        }
        return self._placed(size, row, known)

    def _placed(
        self, size: int, row: Mapping[str, Any], known: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A row with where on the curve it is."""
        columns = {KNOWN.format(at): known.get(KNOWN.format(at)) for at in (1, LIMIT)}
        return (
            {"dimensions": self.case.dim, "rows": size, "peer": row["peer"]} | columns | dict(row)
        )


def _small_bar(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    name = f"recall@{AT[0]}"
    found: dict[str, Any] = {row["method"]: row.get(name) for row in rows}
    return _lost(f"{name} that vecstore loses, {SMALL}", found[DENSE_EXACT], found[DENSE_OURS])


def _bars(curve: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What vecstore's default plan loses of the known items in the largest corpus."""
    most = max(row["rows"] for row in curve)
    found = {
        row["peer"]: row[KNOWN.format(LIMIT)]
        for row in curve
        if (row["rows"], row["dimensions"]) == (most, DIM)
    }
    what = f"known items that vecstore loses, {most:,} x {DIM}"
    return [_lost(what, found[EXACT], found[OURS])]


def _lost(what: str, exact: Interval, ours: Interval | None) -> dict[str, Any]:
    wanted = f"<= {LOST_MOST}"
    if ours is None:
        return bar(what, None, wanted, met=None)
    lost = exact.mean - ours.mean
    return bar(what, lost, wanted, met=lost <= LOST_MOST)
