"""How fast the kernels scan, score and encode, beside FAISS, and what the codes find.

Speeds are of random rows, all distinct. What shares a table took turns, in rounds, as the memory
bandwidth of a shared machine drifts; so it is measured beside each scan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from mmap import mmap
from typing import Any

import numpy as np

from bench.data import DIM, Dataset, load
from bench.measure import Settings, Table, bar, versions
from vecstore.codec import Codec, Parts, Prepared, build_codec, parse_spec, train_codec
from vecstore.codec.base import normalized
from vecstore.options import Options
from vecstore.search.parallel import Workers
from vecstore.types import Array, Float32, Float64, Uint8

ROWS = 1_000_000
SAMPLE_ROWS = 20_000
SPECS = ("bits1", "bits2", "bits4", "bits8", "int8", "float16")
RESCORED = ("bits1", "bits4", "bits8", "int8", "float16")
SCORED_ROWS = 1_000
SCORE_MS_MAX = 0.2
FAISS_TIMES_MIN = 2
QUERIES = 64
TOP = 10
CANDIDATES = (10, 20, 40, 80, 160, 320, 640)
READ_BYTES = 256 << 20

ROUNDS = 9
RUNS = 3  # of each call in a round, after one that is not timed
SCORE_RUNS = 30
# Long enough for the threads of FAISS, which spin after a search, to fall asleep.
PAUSE_S = 0.02


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    rows = min(settings.rows, ROWS)
    workers = Workers(Options().thread_count())
    bits1 = _filled("bits1", rows)
    versus = _faiss(bits1, workers, settings)
    size = f"{rows:,} x {DIM}"
    if versus:
        title = (
            f"bits1 beside faiss IndexBinaryFlat, {size} random, the same bits; ratios of rounds"
        )
        yield Table("faiss", title, versus)
    else:
        print("no faiss to compare with; install it with: pip install 'vecstore[cpu]'\n")
    speeds = [_speed(spec, rows, workers, settings) for spec in SPECS]
    workers.close()
    title = f"Scan of {size} random, one query unless told; read: a plain sum of memory, by turns"
    yield Table("scan", title, [scan for scan, _ in speeds])
    scores = [score for _, score in speeds]
    yield Table("score", f"Score of {SCORED_ROWS:,} random rows of {size}, one query", scores)
    yield Table("encode", "Encode random rows, one thread", _encoding(settings))
    data = load(settings.data, "scifact")
    if data is None:
        print("kernels: what codes find is left out for want of embeddings: scifact\n")
    else:
        title = f"{data.name}, {len(data.vectors):,} rows: share of the exact top {TOP} in the best"
        yield Table("codes", title, _quality(data))
    yield Table("kernels-bars", "Bars", _bars(size, versus, scores))


def _bars(
    size: str, versus: Sequence[dict[str, Any]], scores: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    # The last row of a single query is that with all threads.
    times = [row["x faiss"] for row in versus if row["queries"] == 1][-1] if versus else None
    what = f"bits1 scan of {size}, one query, all cores, x faiss IndexBinaryFlat"
    met = None if times is None else times >= FAISS_TIMES_MIN
    bars = [bar(what, times, f">= {FAISS_TIMES_MIN}", met=met)]
    spent = {row["representation"]: row["p50 ms"] for row in scores}
    for spec in RESCORED:
        what = f"{spec}: score of {SCORED_ROWS:,} rows of {size}, ms"
        met = spent[spec] <= SCORE_MS_MAX
        bars.append(bar(what, spent[spec], f"<= {SCORE_MS_MAX}", met=met))
    return bars


def by_rounds(
    calls: Sequence[Callable[[int], object]], settings: Settings, runs: int = RUNS
) -> Float64:
    """Milliseconds [rounds, calls]: the median of some runs of each call, in every round.

    Each is given the number of the run.
    """
    spent = np.empty((min(ROUNDS, settings.calls), len(calls), runs))
    for turn, place in np.ndindex(spent.shape[:2]):
        time.sleep(PAUSE_S)
        calls[place](turn)
        for run in range(runs):
            begun = time.perf_counter()
            calls[place](turn * runs + run)
            spent[turn, place, run] = (time.perf_counter() - begun) * 1e3
    median: Float64 = np.median(spent, axis=2)
    return median


def _ignoring(call: Callable[[], object]) -> Callable[[int], object]:
    """The call, for which the number of the run makes no difference."""
    return lambda _: call()


# Rows


def _random(seed: int, count: int) -> Float32:
    """Random rows [count, D] of unit length."""
    values = np.random.default_rng(seed).integers(0, 256, (count, DIM), dtype=np.uint8)
    return normalized(values.astype(np.float32) - np.float32(127.5))


def _aligned(parts: Parts) -> Parts:
    """The parts where a mapped segment has them: at the start of a page."""
    pages: dict[str, Array] = {}
    for name, array in parts.items():
        memory = np.frombuffer(mmap(-1, max(array.nbytes, 1)), dtype=array.dtype, count=array.size)
        pages[name] = memory.reshape(array.shape)
        pages[name][...] = array
    return pages


def _built(text: str, sample: Float32) -> Codec:
    """The codec of a representation, trained on a sample where it trains."""
    spec = parse_spec(text, DIM)
    return build_codec(spec, DIM, "cosine", train_codec(spec, DIM, "cosine", sample, 0))


def _filled(text: str, rows: int) -> tuple[Codec, Uint8]:
    """A codec, and the codes of distinct rows."""
    codec = _built(text, _random(0, SAMPLE_ROWS))
    codes = np.empty((rows, codec.code_bytes), dtype=np.uint8)
    for seed, start in enumerate(range(0, rows, SAMPLE_ROWS)):
        part = codes[start : start + SAMPLE_ROWS]
        part[:] = codec.encode(_random(seed, len(part)))
    return codec, codes


# Scans and scores


def _scan(prepared: Prepared, parts: Parts, spans: Sequence[tuple[int, int]]) -> list[Any]:
    """The work of a scan: a call for each span."""
    return [partial(prepared.scan, parts, span, None, TOP) for span in spans]


def _read(values: Array, workers: Workers) -> list[Any]:
    return [part.sum for part in np.array_split(values, workers.count)]


def _scanned_bytes(parts: Parts) -> int:
    return sum(array.nbytes for name, array in parts.items() if name != "error")


def _speed(
    text: str, rows: int, workers: Workers, settings: Settings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of one representation: its row of scans, and its row of scores."""
    codec, codes = _filled(text, rows)
    parts = _aligned(codec.pack(codes))
    del codes
    queries = _random(rows, QUERIES)
    one, many = codec.prepare(queries[:1]), codec.prepare(queries)
    scanned = _scanned_bytes(parts)
    spans = workers.spans(rows, scanned)
    memory = np.ones(READ_BYTES // 8, dtype=np.uint64)
    calls: list[Callable[[int], object]] = [
        lambda _: one.scan(parts, (0, rows), None, TOP),
        lambda _: memory.sum(),
        lambda _: workers.run(_scan(one, parts, spans)),
        lambda _: workers.run(_read(memory, workers)),
    ]
    alone, read, every, read_every = np.median(by_rounds(calls, settings), axis=0).tolist()
    batch = [lambda _: workers.run(_scan(many, parts, spans))]
    few = Settings(data=None, rows=rows, calls=min(3, settings.calls), folder=settings.folder)
    scan = {
        "representation": text,
        "bytes": codec.code_bytes,
        "ms, 1 thread": alone,
        "GB/s": scanned / alone / 1e6,
        "read GB/s": READ_BYTES / read / 1e6,
        f"ms, {workers.count} threads": every,
        "GB/s, all": scanned / every / 1e6,
        "read GB/s, all": READ_BYTES / read_every / 1e6,
        f"ms a query, {QUERIES} at once": float(np.median(by_rounds(batch, few))) / QUERIES,
    }
    drawn = np.random.default_rng(2).integers(0, rows, (ROUNDS * SCORE_RUNS, SCORED_ROWS))
    spent = by_rounds([lambda run: one.score(parts, 0, drawn[run])], settings, SCORE_RUNS)
    score = {
        "representation": text,
        "p50 ms": float(np.median(spent)),
        "least ms": float(spent.min()),
        "most ms": float(spent.max()),
    }
    return scan, score


def _faiss(
    filled: tuple[Codec, Uint8], workers: Workers, settings: Settings
) -> list[dict[str, Any]]:
    """The scan of bits1 beside that of IndexBinaryFlat over the same bits; none without faiss."""
    # Threads of FAISS that spin after a search would take the cores of the one that follows.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import faiss
    except ImportError:
        return []
    versions["faiss"] = faiss.__version__
    codec, codes = filled
    index = faiss.IndexBinaryFlat(DIM)
    index.add(np.ascontiguousarray(codes[:, : DIM // 8]))
    parts, rows = _aligned(codec.pack(codes)), len(codes)
    queries = _random(rows, QUERIES)
    asked = np.ascontiguousarray(codec.encode(queries)[:, : DIM // 8])

    def theirs(threads: int, count: int) -> Callable[[int], object]:
        def search(_: int) -> object:
            faiss.omp_set_num_threads(threads)
            return index.search(asked[:count], TOP)

        return search

    found = []
    for count, threads in ((1, 1), (1, workers.count), (QUERIES, workers.count)):
        spans = [(0, rows)] if threads == 1 else workers.spans(rows, _scanned_bytes(parts))
        work = _scan(codec.prepare(queries[:count]), parts, spans)
        rivals = [theirs(each, count) for each in sorted({1, threads})]
        calls = [_ignoring(partial(workers.run, work)), *rivals]
        found.append(_faiss_row(threads, count, by_rounds(calls, settings)))
    return found


def _faiss_row(threads: int, count: int, spent: Float64) -> dict[str, Any]:
    """Of milliseconds [rounds, 1 + r]: bits1, then faiss with each number of threads it may use."""
    ours, rival = spent[:, 0], spent[:, 1:].min(axis=1)
    ratios = rival / ours
    return {
        "threads": threads,
        "queries": count,
        "bits1 ms": float(np.median(ours)),
        "faiss ms": float(np.median(rival)),
        "x faiss": float(np.median(ratios)),
        "least": float(ratios.min()),
        "most": float(ratios.max()),
    }


# Encoding, and what codes find


def _encoding(settings: Settings) -> list[dict[str, Any]]:
    vectors = _random(0, min(settings.rows, SAMPLE_ROWS))
    rows = []
    for text in (*SPECS, "pca128/float16", "prefix128/bits1"):
        codec = _built(text, _random(0, SAMPLE_ROWS))
        calls = (partial(codec.encode, vectors), partial(codec.prepare, vectors[:1]))
        spent = by_rounds([_ignoring(call) for call in calls], settings)
        encoding, preparing = np.median(spent, axis=0).tolist()
        row = {"representation": text, "rows/s": 1e3 * len(vectors) / encoding}
        rows.append(row | {"us to prepare a query": 1e3 * preparing})
    return rows


def _quality(data: Dataset) -> list[dict[str, Any]]:
    """What each codec finds alone, and how wide its error bounds are."""
    exact = data.queries @ data.vectors.T
    top = np.argsort(-exact, axis=1, kind="stable")[:, :TOP]
    rows = []
    for text in (*SPECS, "prefix128/float16", "pca128/float16", "pca128/bits4"):
        codec = _built(text, data.vectors)
        parts = codec.pack(codec.encode(data.vectors))
        prepared = codec.prepare(data.queries)
        found = prepared.scan(parts, (0, len(data.vectors)), None, CANDIDATES[-1])
        row: dict[str, Any] = {"representation": text}
        for n in CANDIDATES:
            shares = [np.isin(best, kept[:n]) for best, (kept, _) in zip(top, found, strict=True)]
            row[str(n)] = float(np.mean(shares))
        rows.append(row | _bounds(prepared, parts, exact[:100]))
    return rows


def _bounds(prepared: Prepared, parts: Parts, exact: Float32) -> dict[str, float | None]:
    """The error bounds of some queries' scores [Q, N]: half their width, the shares that hold."""
    every = np.arange(exact.shape[1])
    held, third, widths = [], [], []
    for query, scores in enumerate(exact):
        half = prepared.bound(parts, query, every)
        if half is None or not half.any():
            return {"bound +-": None, "hold": None, "hold at a third": None}
        off = np.abs(prepared.score(parts, query, every) - scores)
        held.append(off <= half)
        third.append(off <= half / 3)
        widths.append(half)
    values = (np.mean(widths), np.mean(held), np.mean(third))
    names = ("bound +-", "hold", "hold at a third")
    return {name: float(value) for name, value in zip(names, values, strict=True)}
