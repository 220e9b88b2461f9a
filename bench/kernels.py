"""How fast the kernels scan, score and encode, and what the codes find: one table each.

    python bench/kernels.py

Speeds are of a million seeded random rows of 384 dimensions. What codes find is measured on real
embeddings, two files `minilm-{corpus,queries}.f16.npy` in the folder $VECSTORE_DATA/scifact, and
is left out where there are none. faiss-cpu is compared with if it is installed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vecstore.codec import Codec, Parts, Prepared, build_codec, parse_spec, train_codec
from vecstore.codec.base import normalized
from vecstore.types import Float32

DIM = 384
ROWS = 1_000_000
SPECS = ("bits1", "bits2", "bits4", "bits8", "int8", "float16")
CANDIDATES = (10, 20, 40, 80, 160, 320, 640)


def milliseconds(work: Callable[[], object], seconds: float = 0.5) -> float:
    """The wall time of the fastest run in some seconds: the one that neighbours disturbed least."""
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def gaussian(rows: int, seed: int) -> Float32:
    """Random vectors of unit length."""
    return normalized(np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32))


def built(text: str, sample: Float32) -> Codec:
    """The codec of a representation, trained on a sample where it trains."""
    spec = parse_spec(text, DIM)
    return build_codec(spec, DIM, "cosine", train_codec(spec, DIM, "cosine", sample, 0))


def million(codec: Codec, sample: Float32) -> Parts:
    """A million rows: the codes of a sample, again and again, as copying is faster."""
    codes = codec.encode(sample)
    return codec.pack(np.resize(codes, (ROWS, codes.shape[1])))


class Speeds(NamedTuple):
    """Milliseconds: scans of one query on one and two threads, of one of 64, and a score."""

    one: float
    two: float
    batch: float
    score: float


def speeds(codec: Codec, sample: Float32, queries: Float32, pool: ThreadPoolExecutor) -> Speeds:
    """How fast a million rows are scanned, and 1,000 random ones scored."""
    parts = million(codec, sample)
    one, many = codec.prepare(queries[:1]), codec.prepare(queries)
    rng = np.random.default_rng(2)
    spans = [(0, ROWS // 128 * 64), (ROWS // 128 * 64, ROWS)]
    return Speeds(
        milliseconds(lambda: one.scan(parts, (0, ROWS), None, 10)),
        milliseconds(lambda: list(pool.map(lambda span: one.scan(parts, span, None, 10), spans))),
        milliseconds(lambda: many.scan(parts, (0, ROWS), None, 10)) / len(queries),
        milliseconds(lambda: one.score(parts, 0, rng.integers(0, ROWS, 1000))),
    )


def faiss_binary(queries: int) -> float | None:
    """Milliseconds a query of faiss.IndexBinaryFlat, its best of one and two threads."""
    try:
        import faiss
    except ImportError:
        return None
    rng = np.random.default_rng(3)
    index = faiss.IndexBinaryFlat(DIM)
    index.add(rng.integers(0, 256, (ROWS, DIM // 8), dtype=np.uint8))
    asked = rng.integers(0, 256, (queries, DIM // 8), dtype=np.uint8)
    times = []
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        times.append(milliseconds(lambda: index.search(asked, 10)))
    return min(times) / queries


def print_speeds() -> None:
    """Print a line for each codec, and how bits1 compares with faiss."""
    print(f"{ROWS:,} rows x {DIM}; a scan's ms (GB/s), the ms to score 1,000 random rows")
    print("spec     bytes  one thread      two threads     a query of 64   score")
    sample, queries = gaussian(20_000, 0), gaussian(64, 1)
    found = {}
    with ThreadPoolExecutor(2) as pool:
        for text in SPECS:
            codec = built(text, sample)
            size = codec.code_bytes
            found[text] = speed = speeds(codec, sample, queries, pool)
            print(
                f"{text:8} {size:5} {speed.one:7.2f} ({size / speed.one:4.1f}) {speed.two:8.2f} "
                f"({size / speed.two:4.1f}) {speed.batch:13.2f} {speed.score:10.3f}"
            )
    single, batch = faiss_binary(1), faiss_binary(64)
    if single and batch:
        ours = found["bits1"]
        print(
            f"faiss IndexBinaryFlat: {single:.2f} ms, of 64 {batch:.2f}; bits1 is "
            f"{single / ours.two:.1f} and {batch / ours.batch:.1f} times as fast"
        )


def print_encoding() -> None:
    """Print how fast each codec encodes, and prepares one query."""
    print("\nspec             encoded rows/s   us to prepare a query")
    vectors = gaussian(20_000, 4)
    for text in (*SPECS, "pca128/float16", "prefix128/bits1"):
        codec = built(text, vectors)
        encoding = milliseconds(partial(codec.encode, vectors))
        preparing = milliseconds(partial(codec.prepare, vectors[:1]), 0.1)
        print(f"{text:16} {1e3 * len(vectors) / encoding:14,.0f} {1e3 * preparing:12.0f}")


def print_quality(folder: Path) -> None:
    """Print what each codec finds on real embeddings, and how tight its error bounds are."""
    corpus, queries = (
        normalized(np.load(folder / f"minilm-{name}.f16.npy").astype(np.float32))
        for name in ("corpus", "queries")
    )
    exact = queries @ corpus.T
    top = np.argsort(-exact, axis=1, kind="stable")[:, :10]
    print(f"\n{folder.name}: {len(corpus):,} rows; share of the exact top 10 in the best ...")
    print("spec             " + "".join(f"{n:7}" for n in CANDIDATES) + "   3-sigma bounds")
    for text in (*SPECS, "prefix128/float16", "pca128/float16", "pca128/bits4"):
        codec = built(text, corpus)
        parts = codec.pack(codec.encode(corpus))
        prepared = codec.prepare(queries)
        found = prepared.scan(parts, (0, len(corpus)), None, CANDIDATES[-1])
        shares = [
            np.mean([np.isin(best, rows[:n]) for best, (rows, _) in zip(top, found, strict=True)])
            for n in CANDIDATES
        ]
        line = f"{text:17}" + "".join(f"{share:7.3f}" for share in shares)
        print(f"{line}   {bounds(prepared, parts, exact[:100])}")


def bounds(prepared: Prepared, parts: Parts, exact: Float32) -> str:
    """How wide the error bounds of some queries' scores [Q, N] are, and how many hold."""
    every = np.arange(exact.shape[1])
    held, third, widths = [], [], []
    for query, scores in enumerate(exact):
        half = prepared.bound(parts, query, every)
        if half is None:
            return ""
        off = np.abs(prepared.score(parts, query, every) - scores)
        held.append(off <= half)
        third.append(off <= half / 3)
        widths.append(half)
    return f"+-{np.mean(widths):.5f}: {np.mean(held):.2%} hold, {np.mean(third):.2%} at a third"


if __name__ == "__main__":
    print_speeds()
    print_encoding()
    named = os.environ.get("VECSTORE_DATA")
    data = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if (data / "scifact").is_dir():
        print_quality(data / "scifact")
    else:
        print(f"\nno real embeddings in {data}: set VECSTORE_DATA to their folder")
