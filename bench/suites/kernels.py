"""How fast the kernels scan, score and encode, beside FAISS, and what the codes find.

Speeds are of random rows, all distinct. What shares a table took turns, in rounds, as the memory
bandwidth of a shared machine drifts; so it is measured beside each scan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from mmap import ACCESS_READ, mmap
from tempfile import TemporaryFile
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
SPECS = ("bits1", "bits2", "bits4", "bits8", "int8", "pq48", "pq96x4", "float16")
FAISS_ROUNDS = 2  # of its k-means: how good its codebooks are makes no difference here
RESCORED = ("bits1", "bits4", "bits8", "int8", "float16")
SCORED_ROWS = 1_000
SCORE_MS_MAX = 0.2
# Flat indexes of FAISS, named as its factories do, of as many bytes as a representation of ours.
RIVALS = {
    "bits1": ("BFlat", "RaBitQ", "RaBitQfs"),
    "bits4": ("SQ4",),
    "bits8": ("SQ8",),
    "int8": ("SQ8",),
    "pq48": ("PQ48",),
    "pq96x4": ("PQ96x4fs",),
    "float16": ("SQfp16",),
}
FAISS_TIMES_MIN = 1.0
FAISS_TIMES_MIN_BITS1 = 2.0  # of a single query
QUERIES = 64
TOP = 10
CANDIDATES = (10, 20, 40, 80, 160, 320, 640)
READ_BYTES = 256 << 20

ROUNDS = 9
RUNS = 3  # of each call in a round, after one that is not timed
SCORE_RUNS = 30
# Calls of more scores than this are slow: they are made once in each of a few rounds.
SLOW_SCORES = 2_000_000
SLOW_ROUNDS = 3
# Long enough for the threads of FAISS, which spin after a search, to fall asleep.
PAUSE_S = 0.02


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    rows = min(settings.rows, ROWS)
    workers = Workers(Options().thread_count())
    size = f"{rows:,} x {DIM}"
    if _faiss() is None:
        print("no faiss to compare with; install it with: pip install 'vecstore[cpu]'\n")
    versus: list[dict[str, Any]] = []
    speeds = []
    for spec in SPECS:
        filled = _filled(spec, rows)
        versus += _versus(spec, filled, workers, settings)
        speeds.append(_speed(spec, filled, workers, settings))
    workers.close()
    if versus:
        title = f"Beside the fastest flat index of faiss of as many bytes, {size} random, by turns"
        yield Table("faiss", title, versus)
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
    bars = [_faiss_bar(size, row) for row in versus]
    if not versus:
        bars = [bar("scans x faiss", None, f">= {FAISS_TIMES_MIN}", met=None)]
    spent = {row["representation"]: row["p50 ms"] for row in scores}
    for spec in RESCORED:
        what = f"{spec}: score of {SCORED_ROWS:,} rows of {size}, ms"
        met = spent[spec] <= SCORE_MS_MAX
        bars.append(bar(what, spent[spec], f"<= {SCORE_MS_MAX}", met=met))
    return bars


def _faiss_bar(size: str, row: dict[str, Any]) -> dict[str, Any]:
    single = row["representation"] == "bits1" and row["queries"] == 1
    least = FAISS_TIMES_MIN_BITS1 if single else FAISS_TIMES_MIN
    what = (
        f"{row['representation']}: scan of {size}, queries {row['queries']}, "
        f"threads {row['threads']}, x faiss {row['faiss']}"
    )
    return bar(what, row["x faiss"], f">= {least}", met=row["x faiss"] >= least)


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


def _mapped(parts: Parts) -> Parts:
    """The parts as a segment has them: mapped from files, whose pages are in memory."""
    pages: dict[str, Array] = {}
    for name, array in parts.items():
        with TemporaryFile() as file:
            array.tofile(file)
            file.flush()
            memory = mmap(file.fileno(), 0, access=ACCESS_READ)
        pages[name] = np.frombuffer(memory, dtype=array.dtype).reshape(array.shape)
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
    text: str, filled: tuple[Codec, Uint8], workers: Workers, settings: Settings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of one representation: its row of scans, and its row of scores."""
    codec, codes = filled
    parts, rows = _mapped(codec.pack(codes)), len(codes)
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
    few = _fewer(settings)
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


def _fewer(settings: Settings) -> Settings:
    """For calls that take long."""
    return replace(settings, calls=min(SLOW_ROUNDS, settings.calls))


def _faiss() -> Any:
    """The module, or None."""
    # Threads of FAISS that spin after a search would take the cores of the one that follows.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def _rival(name: str, codec: Codec, codes: Uint8) -> tuple[Any, Callable[[Float32], Array]]:
    """A flat index of the rows that `_filled` encoded, and what it wants of queries."""
    faiss = _faiss()
    if name == "BFlat":
        index = faiss.index_binary_factory(DIM, name)
        bits = DIM // 8
        index.add(np.ascontiguousarray(codes[:, :bits]))
        return index, lambda queries: np.ascontiguousarray(codec.encode(queries)[:, :bits])
    index = faiss.index_factory(DIM, name, faiss.METRIC_INNER_PRODUCT)
    if hasattr(index, "pq"):
        index.pq.cp.niter = FAISS_ROUNDS
        index.pq.cp.min_points_per_centroid = 1
    if hasattr(index, "do_polysemous_training"):
        index.do_polysemous_training = False  # slow, and for Hamming distances only
    index.train(_random(0, SAMPLE_ROWS))
    for seed, start in enumerate(range(0, len(codes), SAMPLE_ROWS)):
        index.add(_random(seed, min(SAMPLE_ROWS, len(codes) - start)))
    return index, lambda queries: queries


def _versus(
    text: str, filled: tuple[Codec, Uint8], workers: Workers, settings: Settings
) -> list[dict[str, Any]]:
    """The scan of a representation beside its rivals; nothing without faiss, or a rival."""
    faiss, names = _faiss(), RIVALS.get(text, ())
    if faiss is None or not names:
        return []
    versions["faiss"] = faiss.__version__
    codec, codes = filled
    parts, rows = _mapped(codec.pack(codes)), len(codes)
    queries = _random(rows, QUERIES)
    rivals = []
    for name in names:
        index, wanted = _rival(name, codec, codes)
        rivals.append((name, index, wanted(queries)))

    def theirs(index: Any, asked: Array, threads: int) -> Callable[[int], object]:
        def search(_: int) -> object:
            faiss.omp_set_num_threads(threads)
            return index.search(asked, TOP)

        return search

    memory = np.ones(READ_BYTES // 8, dtype=np.uint64)
    found = []
    for count, threads in sorted({(n, t) for n in (1, QUERIES) for t in (1, workers.count)}):
        spans = [(0, rows)] if threads == 1 else workers.spans(rows, _scanned_bytes(parts))
        work = _scan(codec.prepare(queries[:count]), parts, spans)
        reads = [memory.sum] if threads == 1 else _read(memory, workers)
        calls = [_ignoring(partial(workers.run, each)) for each in (work, reads)]
        tried = [(rival, n) for rival in rivals for n in sorted({1, threads})]
        calls += [theirs(index, asked[:count], n) for (_, index, asked), n in tried]
        slow = rows * count > SLOW_SCORES
        spent = by_rounds(calls, _fewer(settings) if slow else settings, 1 if slow else RUNS)
        row = _versus_row([name for (name, *_), _ in tried], spent, _scanned_bytes(parts))
        found.append({"representation": text, "queries": count, "threads": threads} | row)
    return found


def _versus_row(names: Sequence[str], spent: Float64, scanned: int) -> dict[str, Any]:
    """Of milliseconds [rounds, 2 + r]: ours, a read of memory, then each rival's of those names."""
    ours, read, rivals = spent[:, 0], spent[:, 1], spent[:, 2:]
    ratios = rivals.min(axis=1) / ours
    fastest = int(np.median(rivals, axis=0).argmin())
    return {
        "ms": float(np.median(ours)),
        "faiss": names[fastest],
        "faiss ms": float(np.median(rivals[:, fastest])),
        "x faiss": float(np.median(ratios)),
        "least": float(ratios.min()),
        "most": float(ratios.max()),
        "GB/s": scanned / float(np.median(ours)) / 1e6,
        "read GB/s": READ_BYTES / float(np.median(read)) / 1e6,
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
    for text in (*SPECS, "pq16", "prefix128/float16", "pca128/float16", "pca128/bits4"):
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
