"""What each codec keeps of vectors, in how many bytes, and how fast it encodes and scans.

Every representation of vecstore alone, beside codecs of FAISS of about as many bytes: flat scans,
no partition, nothing rescored. Then the ladder: how much a coarse rung must keep for the fine one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import vecstore as vs
from bench.cases import nearest
from bench.data import BATCH, Dataset, real, synthetic
from bench.databases import narrow, over_rounds
from bench.measure import (
    INTERVALS,
    Settings,
    Table,
    error_row,
    first_hits,
    search_row,
    shares,
    versions,
)
from bench.peers.worker import run_callers
from bench.suites.quality import best, filled, judged, judged_sets, rescored, trained
from vecstore.codec.affine import AffinePrepared
from vecstore.collection import Collection
from vecstore.types import Array, Float32, Hits, Int64

TOP = 10
SETS = ("scifact", "code-mini", "vaswani", "medquad", "wordnet")
QUICK_SETS = 2
QUERIES = 1_000
REPRESENTATIONS = (
    "prefix128/bits2",
    "pca128/bits2",
    "prefix128/bits4",
    "pca128/bits4",
    "pca256/bits2",
    "pca256/bits4",
    "prefix128/float16",
    "pca128/float16",
    "pq16",
    "pq16+balanced",
    "opq16",
    "rq16",
    "pq48",
    "pq96x4",
    "sign",
    "bits1",
    "bits2",
    "bebr2",
    "bits4",
    "lvq4",
    "bebr4",
    "int8",
    "bits8",
    "lvq8",
    "lvq4x8",
    "float16",
    "float32",
)
# By their bytes beside bits1, bits2, bits4, int8 and float16; as FAISS's index_factory names them.
FACTORIES = (
    "PQ96x4fs",
    "RR,RaBitQ",
    "RR,RaBitQfs",
    "PQ48",
    "PQ192x4fs",
    "RR,RaBitQfs2",
    "PQ96",
    "SQ4",
    "RR,RaBitQfs4",
    "SQ8",
    "SQfp16",
)
# What trains or encodes for minutes: on the first sets only.
SLOW, SLOW_SETS = ("PQ48", "PQ96", "opq16", "rq16"), 2
TRAIN_ROWS = 10_000
SPEED_ROWS, QUICK_SPEED_ROWS = 100_000, 20_000
SPEED_QUERIES = 200
ROUNDS, QUICK_ROUNDS = 5, 2
SECONDS = 0.1
ENCODE_ROWS = 5_000  # of one call

# The study that chooses the default ladder: Scan(coarse, keep), Rescore(FINE, limit).
FINE = "float16"
COARSE = ("bits1", "bits2")
LIMITS = (1, 10, 100)
KEEP_PER_TEN = (10, 20, 40, 80, 160, 320, 640)
STUDY_QUERIES = 300
STUDY_OVERLAP = 0.99
STUDY_SETS = 2

Rows = list[dict[str, Any]]


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    sets = judged_sets(settings, SETS[:QUICK_SETS] if settings.quick else SETS)
    rows: Rows = []
    title = f"Top {TOP} by each codec's scores alone; bytes of a code; {INTERVALS}"
    for place, data in enumerate(sets):
        rows += _qualities(_few(data, QUERIES), slow=place < SLOW_SETS and not settings.quick)
        yield Table("codecs", title, rows)
    source, vectors, queries = _speed_rows(settings)
    title = f"One query a call over {len(vectors):,} rows, {source}, by turns; {INTERVALS}"
    for speeds in _speeds(vectors, queries, settings):
        yield Table("codecs-speed", title, speeds)
    study: Rows = []
    for place, data in enumerate(sets[: 1 if settings.quick else STUDY_SETS]):
        study += _study(settings.folder / f"study-{place}", _few(data, STUDY_QUERIES))
        title = f"Least kept for {STUDY_OVERLAP} overlap, by coarse rung"
        yield Table("ladder", title, _chosen(study))
        title = (
            "Scan(coarse, keep), Rescore(float16, limit); by error bounds, and all that was kept"
        )
        yield Table("ladder-study", title, study)


def _few(data: Dataset, most: int) -> Dataset:
    return replace(data, queries=data.queries[:most], relevant=data.relevant[:most])


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """Rows in one library's codes.

    Attributes:
        name: the library, then its word for the codec.
        code_bytes: of one code.
        train_s: seconds of training.
        encode_s: seconds of encoding all rows and laying them out.
        disk: bytes of all codes as they are kept, with what was learned to make them.
        search: the best rows [Q, limit] of queries, on the thread that asks.
    """

    name: str
    code_bytes: float
    train_s: float
    encode_s: float
    disk: int
    search: Callable[[Float32, int], Int64]


def coded_by_vecstore(text: str, vectors: Float32) -> Coded:
    """Rows in a representation of vecstore, laid out as segments hold them."""
    begun = time.perf_counter()
    codec, learned = trained(text, _sample(vectors))
    ready = time.perf_counter()
    codes = np.empty((len(vectors), codec.code_bytes), dtype=np.uint8)
    for start in range(0, len(vectors), ENCODE_ROWS):
        part = np.array(vectors[start : start + ENCODE_ROWS])
        codes[start : start + len(part)] = codec.encode(part)
    parts = codec.pack(codes)
    return Coded(
        name=f"vecstore {text}",
        code_bytes=codec.code_bytes,
        train_s=ready - begun,
        encode_s=time.perf_counter() - ready,
        disk=sum(array.nbytes for array in parts.values()) + learned,
        search=lambda queries, limit: best(codec, parts, len(codes), queries, limit),
    )


def coded_by_faiss(factory: str, vectors: Float32) -> Coded:
    """Rows in a flat index of FAISS, on one thread; raises ImportError where there is no FAISS."""
    import faiss

    versions["faiss"] = faiss.__version__
    faiss.omp_set_num_threads(1)
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    begun = time.perf_counter()
    index.train(_sample(vectors))
    ready = time.perf_counter()
    index.add(vectors)

    def search(queries: Float32, limit: int) -> Int64:
        faiss.omp_set_num_threads(1)  # it holds for the thread that says it
        found: Int64 = index.search(queries, limit)[1]
        return found

    return Coded(
        name=f"faiss {factory}",
        code_bytes=index.sa_code_size(),
        train_s=ready - begun,
        encode_s=time.perf_counter() - ready,
        disk=faiss.serialize_index(index).nbytes,
        search=search,
    )


def _sample(vectors: Float32) -> Float32:
    """What codecs train on: rows drawn once, as files may be in an order of topics."""
    drawn = np.random.default_rng(4).permutation(len(vectors))[:TRAIN_ROWS]
    return vectors[np.sort(drawn)]


def _every(vectors: Float32, *, slow: bool) -> Iterator[Coded | tuple[str, str]]:
    """The rows in every codec; or its name, and why it is not there."""
    left_out = "left out: it takes minutes to train, or to encode so many rows"
    for text in REPRESENTATIONS:
        if text in SLOW and not slow:
            yield f"vecstore {text}", left_out
            continue
        yield coded_by_vecstore(text, vectors)
    for factory in FACTORIES:
        if factory in SLOW and not slow:
            yield f"faiss {factory}", left_out
            continue
        try:
            yield coded_by_faiss(factory, vectors)
        except (ImportError, RuntimeError) as error:  # what FAISS raises is a RuntimeError
            yield f"faiss {factory}", " ".join(str(error).split())[-200:]


def _qualities(data: Dataset, *, slow: bool) -> Rows:
    truth = nearest(data.vectors, data.queries, TOP)
    width = 4 * data.vectors.shape[1]
    known: Rows = [{"codec": "exact (NumPy)", "bytes": float(width), **judged(data, truth, truth)}]
    for coded in _every(data.vectors, slow=slow):
        if isinstance(coded, tuple):
            known.append({"codec": coded[0], "error": coded[1]})
            continue
        found = judged(data, truth, coded.search(data.queries, TOP))
        known.append(
            {"codec": coded.name, "bytes": float(coded.code_bytes), **found}
            | {"train s": coded.train_s, "encode rows/s": len(data.vectors) / coded.encode_s}
        )
    return [_with_all(row | {"set": data.name}, known) for row in known]


def _with_all(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row with every column of the others; the set first, the error last."""
    names = dict.fromkeys(("set", *(name for each in rows for name in each if name != "error")))
    return {name: row.get(name) for name in names} | {"error": row.get("error", "")}


# Speed


def _speed_rows(settings: Settings) -> tuple[str, Float32, Float32]:
    """Where the rows are from, the rows, and queries: real where there are as many."""
    count = min(settings.rows, QUICK_SPEED_ROWS if settings.quick else SPEED_ROWS)
    found = real(settings.data, settings.keep)
    if found is not None and len(found.vectors) >= count:
        return f"real, {found.name}", found.vectors[:count], found.queries[:SPEED_QUERIES]
    source = synthetic(settings.data)
    spans = range(0, count, BATCH)
    parts = [source.rows(start // BATCH, min(BATCH, count - start)) for start in spans]
    return source.source, np.concatenate(parts), source.queries(SPEED_QUERIES)


def _speeds(vectors: Float32, queries: Float32, settings: Settings) -> Iterator[Rows]:
    """After each round a row for each codec: its scans from one thread and from two."""
    made: list[Coded] = []
    errors: Rows = []
    for coded in _every(vectors, slow=not settings.quick):
        if isinstance(coded, tuple):
            errors.append(error_row(*coded))
        else:
            made.append(coded)
    rounds = QUICK_ROUNDS if settings.quick else ROUNDS
    modes = {"single": 1, "single2": 2}
    spent: dict[tuple[int, str], list[dict[str, Any]]] = {}
    truth = nearest(vectors, queries, TOP)
    for _ in range(rounds):
        for place, (mode, callers) in itertools.product(range(len(made)), modes.items()):
            answer = _timed(made[place], queries, callers, SECONDS)
            spent.setdefault((place, mode), []).append(answer)
        rows = []
        for place, coded in enumerate(made):
            times = {mode: over_rounds(spent[place, mode]) for mode in modes}
            rows.append(_speed_row(coded, vectors, queries, truth, times))
        yield [_speed_columns(row) for row in rows + errors]


def _timed(coded: Coded, queries: Float32, callers: int, seconds: float) -> dict[str, Any]:
    def call(turn: int) -> int:
        at = turn % len(queries)
        coded.search(queries[at : at + 1], TOP)
        return 1

    call(0)
    done, each, elapsed = run_callers(call, callers, seconds)
    return {"qps": done / elapsed, "ms": each}


def _speed_row(
    coded: Coded, vectors: Float32, queries: Float32, truth: Int64, times: Mapping[str, Any]
) -> dict[str, Any]:
    found = coded.search(queries, TOP)
    row = search_row(
        coded.name,
        {},
        shares=shares(found, truth, TOP),
        first=first_hits(found, truth),
        built={"disk": coded.disk, "build_s": coded.train_s + coded.encode_s},
        rows=len(vectors),
        times=times,
    )
    return row | {"encode rows/s": len(vectors) / coded.encode_s}


def _speed_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """The codec, and no column of what a scan in this process does not have."""
    absent = ("peer", "setting", "RSS B/vector", "RSS of", "error")
    kept = {name: value for name, value in narrow(row).items() if name not in absent}
    encoded = {"encode rows/s": row.get("encode rows/s"), "error": row["error"]}
    return {"codec": row["peer"]} | kept | encoded


# The ladder


def _study(path: Path, data: Dataset) -> Rows:
    """For each coarse rung, limit and number kept, with and without error bounds."""
    truth = nearest(data.vectors, data.queries, max(LIMITS))
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
    found = np.array([hits.ids for hits, _ in answers])
    return {
        "overlap": float(shares(found, truth, truth.shape[1]).mean()),
        "rescored": float(np.mean([rescored(data, stages) for stages in reports])),
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
