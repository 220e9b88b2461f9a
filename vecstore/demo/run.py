"""The demo from beginning to end: read, embed, store, measure, ask, plot."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vecstore
from vecstore.demo.embed import Embedder, load_embedder
from vecstore.demo.functions import (
    Function,
    distinct,
    read_functions,
    source_files,
    standard_library,
)
from vecstore.demo.measure import (
    Latency,
    Quality,
    Way,
    measure_latency,
    measure_quality,
    search_all,
)
from vecstore.demo.plot import Point, plot
from vecstore.demo.remote import served
from vecstore.demo.store import COLLECTION, FIELD, Progress, store, ways_to_search
from vecstore.errors import RequestError
from vecstore.types import Float32, Hit

QUESTIONS = (
    "how do I copy a whole directory tree?",
    "how do I shuffle a list in place?",
    "how do I parse a date from an ISO 8601 string?",
)
ANSWERS = 3
QUALITY_QUERIES_MAX = 2_000
LATENCY_QUERIES_MAX = 300
EMBED_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What is stored and what is asked.

    Attributes:
        functions: N of them.
        vectors: float32 [N, D], of their code.
        queries: float32 [Q, D], of the docstrings of some of them, evenly spaced.
        right: Q ids: which function each query should find.
    """

    functions: list[Function]
    vectors: Float32
    queries: Float32
    right: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row of the table: a way to search, in this process and over gRPC."""

    way: Way
    quality: Quality
    embedded: Latency
    remote: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the demo found.

    Attributes:
        functions: how many it searched.
        model: what made the vectors.
        dim: dimensions D of the vectors.
        queries: how many queries overlap and recall were measured with.
        timed: how many queries the milliseconds were measured with.
        rows: the table: each representation alone by bytes, the default plan, exact search.
        questions: what was asked, and the functions found.
        plot: the picture.
        database: where the database was kept; None where it was not.
    """

    functions: int
    model: str
    dim: int
    queries: int
    timed: int
    rows: tuple[Measured, ...]
    questions: tuple[tuple[str, tuple[Hit, ...]], ...]
    plot: Path
    database: Path | None


def run_demo(
    out: Path,
    *,
    embedder: Embedder | None = None,
    keep: bool = False,
    root: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Report:
    """Search the functions of Python's standard library in every representation.

    Args:
        out: the folder for the picture; made if there is none.
        embedder: makes vectors of code and questions; by default the model of wordllama.
        keep: whether to keep the database, in `out`/database.
        root: another source tree.
        progress: is told how far each step is.

    Raises:
        RequestError: there are no functions to search, or `out` cannot be a folder to write to.
        MissingExtraError: something that `vecstore[demo]` brings is not installed.
    """
    _make_folder(out)
    embedder = embedder or load_embedder()
    corpus = _corpus(root or standard_library(), embedder, progress)
    ways = ways_to_search(embedder.dim)
    timed = corpus.queries[:: -(-len(corpus.queries) // LATENCY_QUERIES_MAX)]
    with _folder(out, keep=keep) as path:
        with vecstore.open(path) as db:
            collection = store(db, corpus.functions, corpus.vectors, progress)
            qualities = _qualities(collection, ways, corpus, progress)
            questions = tuple((text, _answer(collection, embedder, text)) for text in QUESTIONS)
            embedded = _latencies(collection, ways, timed, "searching, embedded", progress)
        with served(path) as server:
            there = server.collection(COLLECTION)
            remote = _latencies(there, ways, timed, "searching, over gRPC", progress)
    rows = [
        Measured(way=way, quality=quality, embedded=here, remote=away)
        for way, quality, here, away in zip(ways, qualities, embedded, remote, strict=True)
    ]
    rows[:-2] = sorted(rows[:-2], key=lambda row: row.quality.bytes_per_vector)
    title = f"{len(corpus.functions):,} functions of Python, {embedder.name}, {embedder.dim} dims"
    return Report(
        functions=len(corpus.functions),
        model=embedder.name,
        dim=embedder.dim,
        queries=len(corpus.queries),
        timed=len(timed),
        rows=tuple(rows),
        questions=questions,
        plot=plot([_point(row) for row in rows[:-1]], title, out / "recall-bytes.png"),
        database=path if keep else None,
    )


def _corpus(root: Path, embedder: Embedder, progress: Progress) -> Corpus:
    files = source_files(root)
    read: list[Function] = []
    for done, path in enumerate(files):
        progress("reading functions", done, len(files))
        read += read_functions(root, path)
    progress("reading functions", len(files), len(files))
    functions = distinct(read)
    if not functions:
        raise RequestError(f"{root} has no functions with docstrings, expected Python sources")
    rows = np.linspace(0, len(functions) - 1, min(len(functions), QUALITY_QUERIES_MAX))
    asked = [functions[row] for row in rows.astype(int)]
    return Corpus(
        functions=functions,
        vectors=_embed(embedder, [item.code for item in functions], "embedding code", progress),
        queries=_embed(embedder, [item.query for item in asked], "embedding docstrings", progress),
        right=[item.id for item in asked],
    )


def _embed(embedder: Embedder, texts: list[str], step: str, progress: Progress) -> Float32:
    parts = []
    for start in range(0, len(texts), EMBED_ROWS):
        progress(step, start, len(texts))
        parts.append(embedder.embed(texts[start : start + EMBED_ROWS]))
    progress(step, len(texts), len(texts))
    return np.concatenate(parts)


def _make_folder(out: Path) -> None:
    """Make sure, before the work begins, that its results can be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise RequestError(
            f"{out} cannot be written to ({error.strerror}), expected a folder for the picture"
        ) from None


@contextmanager
def _folder(out: Path, *, keep: bool) -> Iterator[Path]:
    """Where the database lives: in `out` where it is kept, else in a temporary folder."""
    if keep:
        yield out / "database"
        return
    with tempfile.TemporaryDirectory(prefix="vecstore-demo-") as folder:
        yield Path(folder)


def _qualities(
    collection: Any, ways: Sequence[Way], corpus: Corpus, progress: Progress
) -> list[Quality]:
    exact = [hits.ids.tolist() for hits in search_all(collection, ways[-1], corpus.queries)]
    found = []
    for done, way in enumerate(ways):
        progress("measuring recall", done, len(ways))
        found.append(
            measure_quality(collection, way, corpus.queries, exact=exact, right=corpus.right)
        )
    progress("measuring recall", len(ways), len(ways))
    return found


def _latencies(
    collection: Any, ways: Sequence[Way], queries: Float32, step: str, progress: Progress
) -> list[Latency]:
    found = []
    for done, way in enumerate(ways):
        progress(step, done, len(ways))
        found.append(measure_latency(collection, way, queries))
    progress(step, len(ways), len(ways))
    return found


def _answer(collection: Any, embedder: Embedder, question: str) -> tuple[Hit, ...]:
    return tuple(collection.search({FIELD: embedder.embed([question])[0]}, limit=ANSWERS))


def _point(row: Measured) -> Point:
    return Point(
        label=row.way.label,
        bytes_per_vector=row.quality.bytes_per_vector,
        overlap=row.quality.overlap,
        recall=row.quality.recall,
    )
