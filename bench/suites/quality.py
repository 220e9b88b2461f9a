"""What compression costs in quality: overlap with exact float32, judged figures, bytes read.

Truth is NumPy's float32 product over all rows, so that nothing here is its own judge.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import vecstore as vs
from bench.data import SETS, Dataset, load, synthetic
from bench.measure import Interval, Settings, Table, bar, bootstrap
from vecstore.codec.affine import AffinePrepared
from vecstore.codec.ladder import DEFAULT_LADDER
from vecstore.collection import Collection
from vecstore.types import Array, Float64, Hits, Int64

TOP = 10
REPRESENTATIONS = (
    "prefix128/bits2",
    "pca128/bits2",
    "prefix128/bits4",
    "pca128/bits4",
    "prefix128/float16",
    "pca128/float16",
    "bits1",
    "bits2",
    "bits4",
    "int8",
    "bits8",
    "float16",
    "float32",
)
DEFAULT = "default plan"
SYNTHETIC_ROWS_MAX = 20_000
SYNTHETIC_QUERIES = 500

# The study that chooses the default ladder: Scan(coarse, keep), Rescore(FINE, limit).
FINE, FINE_BYTES = "float16", 2
COARSE = ("bits1", "bits2")
LIMITS = (1, 10, 100)
KEEP_PER_TEN = (10, 20, 40, 80, 160, 320, 640)
STUDY_QUERIES = 300
STUDY_OVERLAP = 0.99
STUDY_SETS = 2


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    sets = [found for name in SETS if (found := load(settings.data, name)) is not None]
    absent = [name for name in SETS if name not in [data.name for data in sets]]
    if absent:
        print(f"quality: skipped for want of embeddings: {', '.join(absent)}\n")
    if not sets:
        count = min(settings.rows, SYNTHETIC_ROWS_MAX)
        sets = [synthetic(None).dataset(count, SYNTHETIC_QUERIES)]
    rows: list[dict[str, Any]] = []
    study: list[dict[str, Any]] = []
    for place, data in enumerate(sets):
        rows += _representations(settings.folder / f"quality-{place}", data)
        if place < STUDY_SETS:
            study += _study(settings.folder / f"study-{place}", data)
    yield Table("quality", f"Top {TOP} of each representation alone and of the default plan", rows)
    yield Table("ladder", f"Least kept for {STUDY_OVERLAP} overlap, by coarse rung", _chosen(study))
    yield Table(
        "ladder-study",
        "Scan(coarse, keep), Rescore(float16, limit); by error bounds, and all that was kept",
        study,
    )
    yield Table("quality-bars", "Bars", _bars(rows))


def filled(database: Any, data: Dataset, representations: Sequence[str]) -> Collection:
    """A collection of the set in one segment; a record's id is its row."""
    schema = vs.Schema(
        vectors=[vs.Vector("text", data.vectors.shape[1], "cosine", representations)]
    )
    collection: Collection = database.create_collection("bench", schema)
    collection.upsert(range(len(data.vectors)), data.vectors)
    collection.flush()
    return collection


def exact(data: Dataset, top: int) -> Int64:
    """The true rows [Q, top]: score descending, then row ascending."""
    scores = data.queries @ data.vectors.T
    return np.argsort(-scores, axis=1, kind="stable")[:, :top]


def overlap(found: Sequence[Array], truth: Int64) -> Float64:
    """For each query, the share of the true rows that were found."""
    return np.array([np.isin(true, ids).mean() for ids, true in zip(found, truth, strict=True)])


def recall(found: Iterable[Array], relevant: Iterable[Mapping[int, float]]) -> Float64:
    """For each query, the share of the relevant rows that were found."""
    return np.array(
        [np.isin(list(rows), ids).mean() for ids, rows in zip(found, relevant, strict=True)]
    )


def ndcg(found: Iterable[Array], relevant: Iterable[Mapping[int, float]]) -> Float64:
    """For each query, nDCG of the found rows: grades, discounted by log2(rank + 1)."""
    discount = 1 / np.log2(np.arange(2, TOP + 2))
    values = []
    for ids, grades in zip(found, relevant, strict=True):
        gained = np.array([grades.get(int(row), 0.0) for row in ids])
        ideal = np.array(sorted(grades.values(), reverse=True)[:TOP])
        values.append(gained @ discount[: len(ids)] / (ideal @ discount[: len(ideal)]))
    return np.array(values)


def _representations(path: Path, data: Dataset) -> list[dict[str, Any]]:
    truth = exact(data, TOP)
    with vs.open(path / "alone") as database:
        collection = filled(database, data, REPRESENTATIONS)
        costs = {item.spec: item.bytes_per_vector for item in collection.stats().representations}
        rows = [_row(data, "exact (NumPy)", 4 * data.vectors.shape[1], list(truth), truth)]
        for spec in REPRESENTATIONS:
            plan = vs.Cascade([vs.Scan(spec, TOP)])
            hits = collection.search_batch(data.queries, limit=TOP, plan=plan, explain=True)
            rows.append(_row(data, spec, costs[spec], hits, truth))
    with vs.open(path / "default") as database:
        collection = filled(database, data, ())
        cost = sum(item.bytes_per_vector for item in collection.stats().representations)
        hits = collection.search_batch(data.queries, limit=TOP, explain=True)
        rows.append(_row(data, f"{DEFAULT}: {' > '.join(DEFAULT_LADDER)}", cost, hits, truth))
    return rows


def _row(
    data: Dataset, name: str, cost: float, answers: Sequence[Hits | Array], truth: Int64
) -> dict[str, Any]:
    width = 4 * data.vectors.shape[1]
    found = [hits.ids if isinstance(hits, Hits) else hits for hits in answers]
    scans, scanned, rescored = _read(data, answers)
    flips = [ids[0] != true[0] for ids, true in zip(found, truth, strict=True)]
    return {
        "set": data.name,
        "representation": name,
        "bytes": round(cost, 1),
        "compression": round(width / cost, 2),
        f"overlap@{TOP}": bootstrap(overlap(found, truth)),
        f"recall@{TOP}": bootstrap(recall(found, data.relevant)),
        f"nDCG@{TOP}": bootstrap(ndcg(found, data.relevant)),
        "scans": round(scans, 3),
        "scan reads 1/": round(1 / scanned, 2),
        "rescored": round(rescored, 1),
        "first hit flips": float(np.mean(flips)),
    }


def _read(data: Dataset, answers: Sequence[Hits | Array]) -> tuple[float, float, float]:
    """Scans a query, the share of the float32 bytes that they read, and the rows it rescores.

    The default plan scans again where the first scan may have cut a hit off.
    """
    reports = [hits.explain for hits in answers if isinstance(hits, Hits) and hits.explain]
    if not reports:
        return 1.0, 1.0, 0.0
    scans = [[stage.bytes_read for stage in found if stage.stage == "scan"] for found in reports]
    scanned = np.mean([sum(sizes) for sizes in scans])
    rescored = np.mean([_rescored(data, stages) for stages in reports])
    each = float(np.mean([len(sizes) for sizes in scans]))
    return each, float(scanned / data.vectors.nbytes), float(rescored)


def _rescored(data: Dataset, stages: Sequence[vs.StageReport]) -> float:
    """Rows that the rescore of one query reads; bounds leave out some that were handed on."""
    read = sum(stage.bytes_read for stage in stages if stage.stage == "rescore")
    return float(read / (FINE_BYTES * data.vectors.shape[1]))


def _study(path: Path, data: Dataset) -> list[dict[str, Any]]:
    """For each coarse rung, limit and number kept, with and without error bounds."""
    data = Dataset(
        name=data.name,
        vectors=data.vectors,
        queries=data.queries[:STUDY_QUERIES],
        relevant=data.relevant[:STUDY_QUERIES],
    )
    truth = exact(data, max(LIMITS))
    rows = []
    with vs.open(path) as database:
        collection = filled(database, data, (*COARSE, FINE))
        for coarse, limit, per_ten in itertools.product(COARSE, LIMITS, KEEP_PER_TEN):
            keep = per_ten * limit // 10
            row = {"set": data.name, "coarse": coarse, "limit": limit, "keep": keep}
            plan = vs.Cascade([vs.Scan(coarse, keep), vs.Rescore(FINE, limit)])
            bounded, all_kept = _run_study(collection, data, plan)
            figures = _study_row(data, bounded, truth[:, :limit])
            others = _study_row(data, all_kept, truth[:, :limit])
            row |= figures | {f"{name}, all": value for name, value in others.items()}
            rows.append(row | {"x us": others["us"] / figures["us"]})
    return rows


def _run_study(
    collection: Collection, data: Dataset, plan: vs.Cascade
) -> tuple[list[tuple[Hits, float]], list[tuple[Hits, float]]]:
    """The hits and seconds of each query; with error bounds, then without, by turns."""

    def timed(query: Array) -> tuple[Hits, float]:
        begun = time.perf_counter()
        hits = collection.search(query, limit=plan.stages[-1].keep, plan=plan, explain=True)
        return hits, time.perf_counter() - begun

    # Without: a codec whose errors have no known bound, so that all that was kept is rescored.
    unknown = patch.object(AffinePrepared, "bound", lambda *_: None)
    bounded, all_kept = [], []
    for query in data.queries:
        bounded.append(timed(query))
        with unknown:
            all_kept.append(timed(query))
    return bounded, all_kept


def _study_row(
    data: Dataset, answers: Sequence[tuple[Hits, float]], truth: Int64
) -> dict[str, float]:
    reports = [hits.explain or () for hits, _ in answers]
    read = np.mean([sum(stage.bytes_read for stage in stages) for stages in reports])
    return {
        "overlap": float(overlap([hits.ids for hits, _ in answers], truth).mean()),
        "rescored": float(np.mean([_rescored(data, stages) for stages in reports])),
        "reads 1/": float(data.vectors.nbytes / read),
        "us": float(np.median([seconds for _, seconds in answers]) * 1e6),
    }


def _chosen(study: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first row of each series that overlaps enough; rows keep ever more."""
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in study:
        if row["overlap"] >= STUDY_OVERLAP:
            found.setdefault((row["set"], row["limit"], row["coarse"]), row)
    return list(found.values())


def _bars(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    bars = []
    figures = {(row["set"], row["representation"].partition(":")[0]): row for row in rows}
    for name in dict.fromkeys(row["set"] for row in rows):

        def overlaps(spec: str, name: str = name) -> float:
            value = figures[name, spec][f"overlap@{TOP}"]
            assert isinstance(value, Interval)
            return value.mean

        read = figures[name, DEFAULT]["scan reads 1/"]
        for spec, least in ((DEFAULT, 0.99), ("bits4", 0.94), ("bits8", 0.99)):
            value = overlaps(spec)
            bars.append(bar(f"{name}: {spec}, overlap", value, f">= {least}", met=value >= least))
        bars.append(bar(f"{name}: {DEFAULT}, scan reads 1/", read, ">= 14", met=read >= 14))
        for codec in ("bits2", "bits4", "float16"):
            gain = overlaps(f"pca128/{codec}") - overlaps(f"prefix128/{codec}")
            what = f"{name}: pca128/{codec} - prefix128/{codec}, overlap"
            bars.append(bar(what, gain, "> 0", met=gain > 0))
    return bars
