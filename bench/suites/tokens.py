"""Multivectors as they grow: how fast kernels read tokens; what building, adding and opening take.

The tokens of the kernels are random, which is hardest on caches. Documents are synthetic, made of
real tokens where there are some: see `bench.growth`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.growth import LIMIT, Source, alone, grown, nearest, searched
from bench.measure import Settings, Table, bar, bootstrap, shares
from bench.suites.kernels import by_rounds
from bench.tokens import TokenSet, load, synthetic
from vecstore.codec.centroid import CentroidCodec
from vecstore.kernels._kernels import MaxSim
from vecstore.types import Array, Float32, Uint8, Uint64

MIB = 2**20
CENTROIDS, DIM = 16_384, 128
VECTORS = 32  # of a query
DOCUMENT = 239  # tokens, as scifact's documents have in the mean
SCANNED = (1_240_000, 100_000_000)
SCAN_NS_MAX, RESCORE_NS_MAX = 1.0, 20.0
RESCORED = ("res1", "res2", "res4", "ternary")
CANDIDATES = 100
ANON = "peak anon MiB"
# MiB of memory beside 1.5 times the segments when they are built, and beside these in a search.
BUILDING, SEARCHING = 512, 64
BUILD_S_MAX = 60
SECONDS = 3.0
# Documents, tokens of each or None as the base has, those added afterwards, and queries.
TIMED, BULK, ADDED = "scifact-sized", "short", "short, added"
CASES = {
    TIMED: (5_183, None, 0, 100),
    "large": (42_000, None, 0, 30),
    BULK: (110_000, 11, 0, 100),
    ADDED: (100_000, 11, 10_000, 100),
}
ADDED_MAX = 1.5  # seconds of an added document, in those of one that was there
QUICK = 20  # times fewer


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    sizes = [size // QUICK for size in SCANNED] if settings.quick else SCANNED
    kernels = [*map(partial(_scan, settings), sizes), *_rescored(settings, sizes[0])]
    title = f"Tokens of {DIM} dimensions, {VECTORS} vectors a query, one core, random codes"
    yield Table("tokens-kernels", title, kernels)
    base = load(settings.data, "scifact") or load(settings.data, "cranfield")
    found = base or synthetic(2_000, 100)
    folder = settings.folder / "tokens-base"
    Source.save(folder, [each for each in found.documents if len(each)])
    rows: list[dict[str, Any]] = []
    for name, case in CASES.items():
        rows.append(_grown(settings, Source(folder=folder, piece=case[1]), found, name))
        title = f"Collections around the tokens of {found.name}, synthetic, the default ladder"
        yield Table("tokens", title, rows)
        yield Table("tokens-bars", "Bars", _bars(kernels, rows))


# Kernels


def _codec(spec: str) -> CentroidCodec:
    """One of random centroids: what it finds means nothing."""
    rng = np.random.default_rng(0)
    centroids = rng.integers(0, 256, (CENTROIDS, DIM), dtype=np.uint8)
    scale = 1 / (64 * DIM**0.5)
    if spec == "ids":
        return CentroidCodec(spec=spec, dim=DIM, metric="dot", centroids=centroids, scale=scale)
    return CentroidCodec(
        spec=spec,
        dim=DIM,
        metric="dot",
        centroids=centroids,
        scale=scale,
        levels=np.linspace(-40, 40, 16).astype(np.int8),
        inverses=np.linspace(0, 2, 256, dtype=np.float32),
    )


def _offsets(tokens: int) -> Uint64:
    return np.append(np.arange(0, tokens, DOCUMENT), tokens).astype(np.uint64)


def _queries(count: int) -> list[Float32]:
    rng = np.random.default_rng(1)
    made = rng.standard_normal((count, VECTORS, DIM), dtype=np.float32)
    return list(made / np.linalg.norm(made, axis=2, keepdims=True))


def _scan(settings: Settings, tokens: int) -> dict[str, Any]:
    """A scan of all ids, the whole collection over."""
    rng = np.random.default_rng(2)
    parts = {"ids": rng.integers(0, CENTROIDS, tokens, dtype=np.uint16)}
    offsets = _offsets(tokens)
    prepared = _codec("ids").prepare_tokens(_queries(1))
    documents = prepared.documents(parts, offsets, 0, None)
    calls = [lambda _: documents.scan(0, len(offsets) - 1, None, LIMIT)]
    spent = by_rounds(calls, settings, 1)[:, 0]
    return _kernel_row("ids", "scan", tokens, tokens, spent, SCAN_NS_MAX)


def _rescored(settings: Settings, tokens: int) -> Iterator[dict[str, Any]]:
    """Documents drawn anywhere, as candidates are; representations take turns."""
    offsets = _offsets(tokens)
    documents = len(offsets) - 2  # the last one may be short
    count = min(CANDIDATES, documents)
    calls = []
    for spec in RESCORED:
        codec, rng = _codec(spec), np.random.default_rng(3)
        drawn = [rng.choice(documents, count, replace=False) for _ in range(64)]
        parts = codec.pack(_codes(rng, tokens, codec.code_bytes))
        scored = codec.prepare_tokens(_queries(1)).documents(parts, offsets, 0, None)
        calls.append(partial(_score, scored, drawn))
    spent = by_rounds(calls, settings)
    for place, spec in enumerate(RESCORED):
        yield _kernel_row(
            spec, "rescore", tokens, count * DOCUMENT, spent[:, place], RESCORE_NS_MAX
        )


def _score(scored: MaxSim, drawn: Sequence[Array], run: int) -> object:
    return scored.score(0, drawn[run % len(drawn)])


def _codes(rng: np.random.Generator, tokens: int, size: int) -> Uint8:
    codes = rng.integers(0, 256, (tokens, size), dtype=np.uint8)
    codes[:, 1] %= CENTROIDS // 256  # the upper byte of the id
    return codes


def _kernel_row(
    spec: str, what: str, tokens: int, read: int, spent: Array, most: float
) -> dict[str, Any]:
    each = spent * 1e6 / read
    return {
        "representation": spec,
        "what": what,
        "tokens": tokens,
        "read": read,
        "ns a token": float(np.median(each)),
        "least": float(each.min()),
        "most": float(each.max()),
        "wanted": most,
    }


# Collections


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Of a case: documents at first, and all of them."""

    first: int
    every: int
    queries: int

    @classmethod
    def of(cls, name: str, settings: Settings) -> _Sizes:
        first, _, added, queries = CASES[name]
        part = QUICK if settings.quick else 1
        return cls(first // part, (first + added) // part, queries)


def _grown(settings: Settings, source: Source, found: TokenSet, name: str) -> dict[str, Any]:
    sizes = _Sizes.of(name, settings)
    queries = [np.asarray(query) for query in found.queries[: sizes.queries]]
    path = settings.folder / "tokens-database"
    steps = sorted({sizes.first, sizes.every})
    built = alone(grown, path, source, steps)
    seen = alone(searched, path, queries, SECONDS)
    shutil.rmtree(path)
    overlap = shares(seen["found"], nearest(source, sizes.every, queries), LIMIT)
    seconds = built["seconds"]
    return {
        "collection": name,
        "documents": sizes.every,
        "tokens": built["tokens"],
        "build s": seconds[0],
        "added s": seconds[1] if len(seconds) > 1 else None,
        "added x": _added(seconds, sizes),
        ANON: built["anon"] / MIB,
        "peak RSS MiB": built["rss"] / MIB,
        "segments MiB": seen["disk"] / MIB,
        "recall": bootstrap(overlap),
        "p50 ms": float(np.median(seen["ms"])),
        "p99 ms": float(np.quantile(seen["ms"], 0.99)),
        "q/s 1 thread": 1e3 / float(seen["ms"].mean()),
        "search anon MiB": seen["anon"] / MIB,
        "search RSS MiB": (seen["rss"] - seen["idle"]) / MIB,
    }


def _added(seconds: Sequence[float], sizes: _Sizes) -> float | None:
    """Seconds of a document that was added, in those of one that was there before."""
    if len(seconds) < 2:
        return None
    return seconds[1] / (sizes.every - sizes.first) / (seconds[0] / sizes.first)


def _bars(
    kernels: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    bars = []
    for row in kernels:
        what = f"{row['what']} of {row['representation']}, {row['tokens']:,} tokens, ns a token"
        bars.append(_at_most(what, row["ns a token"], row["wanted"]))
    for row in rows:
        name, disk = row["collection"], row["segments MiB"]
        bars += [
            _at_most(f"{name}: memory of building, MiB", row[ANON], 1.5 * disk + BUILDING),
            _at_most(f"{name}: RSS of searching, MiB", row["search RSS MiB"], disk + SEARCHING),
        ]
        if name == TIMED:
            bars.append(_at_most(f"{name}: build s", row["build s"], BUILD_S_MAX))
        if row["added x"] is not None:
            what = f"{name}: seconds of an added document, x of one before"
            bars.append(_at_most(what, row["added x"], ADDED_MAX))
    found = {row["collection"]: row["recall"] for row in rows}
    if len(found) == len(CASES):
        least, figure = found[BULK].low, found[ADDED].mean
        what = f"{ADDED}: recall, beside {BULK}'s {found[BULK]}"
        bars.append(bar(what, figure, f">= {least:.3f}", met=figure >= least))
    return bars


def _at_most(what: str, figure: float, most: float) -> dict[str, Any]:
    return bar(what, figure, f"<= {most:.4g}", met=figure <= most)
