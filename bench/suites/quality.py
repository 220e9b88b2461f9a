"""What vectors are worth, and what compression leaves of it: judged sets, peers side by side.

Truth is NumPy's float32 product over all rows, so that nothing here is its own judge. Recall and
nDCG are against judgments, overlap is with the true hits. Every library answers with the first of
its settings, from fast to thorough, whose overlap is enough.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from bench.cases import Case, dense_case
from bench.data import SETS, Dataset, load, synthetic
from bench.databases import aligned, asked, first_enough, narrow, timed
from bench.measure import (
    INTERVALS,
    THREADS,
    Settings,
    Table,
    bar,
    bootstrap,
    error_row,
    first_hits,
    flips,
    search_row,
    shares,
    worst_tenth,
)
from bench.peers import OURS, Entry
from bench.peers.drive import PeerFailedError, Worker
from vecstore.codec import Codec, Parts, build_codec, parse_spec, train_codec
from vecstore.collection import Collection
from vecstore.types import Array, Float32, Float64, Int64

TOP, DEEP = 10, 100
ALONE = ("bits1", "bits2", "bits4")
BARRED = (("bits4", 0.94), ("bits8", 0.99))
VIEWED = ("bits2", "bits4", "float16")  # of fewer dimensions, where a PCA must be worth its while
DEFAULT, DEFAULT_LEAST = "default plan", 0.99
READS_LEAST = 14
ENOUGH = 0.95
EXACT = "exact (NumPy)"
# Beyond so many rows, peers that are not named are left to `ann`, where they take turns.
PEER_ROWS_MAX = 20_000
SYNTHETIC_ROWS_MAX = 20_000
SYNTHETIC_QUERIES = 500
QUICK_SETS = ("scifact", "code-mini", "vaswani")
TITLE = (
    f"Judged sets; each peer's first setting whose overlap with exact float32 is {ENOUGH}; sets of "
    f"more than {PEER_ROWS_MAX:,} rows without peers that are not named; "
    f"{INTERVALS}"
)
FINE_BYTES = 2  # a dimension of float16, with which the default plan ends

Rows = list[dict[str, Any]]


def tables(settings: Settings) -> Iterator[Table]:
    """Run the suite."""
    rows: Rows = []
    plans: Rows = []
    bars: Rows = []
    for place, data in enumerate(judged_sets(settings, QUICK_SETS if settings.quick else SETS)):
        folder = settings.folder / f"quality-{place}"
        case = dense_case(
            folder / "case", data.name, [data.vectors], len(data.vectors), data.queries
        )
        rows += _without_peers(data, case)
        for entry in _asked(settings, case.rows):
            rows.append(_peer(entry, case, data, folder / entry.known.name, settings))
            yield Table("quality", TITLE, aligned(rows))
        plans.append(_default_plan(folder / "plan", data, case))
        bars += _bars(data, case, plans[-1])
        yield Table("quality-plan", "What the default plan reads, a query", plans)
        yield Table("quality-bars", "Bars", bars)
        shutil.rmtree(folder)


def _asked(settings: Settings, rows: int) -> list[Entry]:
    """The peers of a set of so many rows."""
    found = asked(settings, "dense")
    if settings.peers is not None or rows <= PEER_ROWS_MAX:
        return found
    return [entry for entry in found if entry.known.name.startswith(OURS)]


def judged_sets(settings: Settings, names: Sequence[str]) -> list[Dataset]:
    """Those of the sets that have embeddings; a synthetic one of known items where none has."""
    every = [load(settings.data, name, settings.keep) for name in names]
    sets = [data for data in every if data is not None]
    absent = [name for name, data in zip(names, every, strict=True) if data is None]
    if absent:
        print(f"skipped for want of embeddings (python -m bench.embed): {', '.join(absent)}\n")
    if not sets:
        count = min(settings.rows, SYNTHETIC_ROWS_MAX)
        sets = [synthetic(None).dataset(count, SYNTHETIC_QUERIES)]
    return sets


def filled(database: Any, data: Dataset, representations: Sequence[str]) -> Collection:
    """A collection of the set in one segment; a record's id is its row."""
    schema = vs.Schema(
        vectors=[vs.Vector("text", data.vectors.shape[1], "cosine", representations)]
    )
    collection: Collection = database.create_collection("bench", schema)
    collection.upsert(range(len(data.vectors)), data.vectors)
    collection.flush()
    return collection


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


def judged(data: Dataset, truth: Int64, found: Int64) -> dict[str, Any]:
    """What the hits found of each query [Q, TOP or more] are worth, with intervals over queries."""
    shared = shares(found, truth, TOP)
    return {
        f"nDCG@{TOP}": bootstrap(ndcg(found[:, :TOP], data.relevant)),
        f"recall@{TOP}": bootstrap(recall(found[:, :TOP], data.relevant)),
        f"overlap@{TOP}": bootstrap(shared),
        "worst tenth": worst_tenth(shared),
        "flips": flips(first_hits(found, truth)),
    }


def trained(text: str, sample: Float32) -> tuple[Codec, int]:
    """The codec of a representation, trained on a sample where it trains; the bytes it learned."""
    dim = sample.shape[1]
    spec = parse_spec(text, dim)
    learned = train_codec(spec, dim, "cosine", sample, 0)
    return build_codec(spec, dim, "cosine", learned), sum(a.nbytes for a in learned.values())


def best(codec: Codec, parts: Parts, rows: int, queries: Float32, top: int) -> Int64:
    """The best rows [Q, top] by a codec's scores alone; -1 where there are no more."""
    out = np.full((len(queries), top), -1, dtype=np.int64)
    scanned = codec.prepare(queries).scan(parts, (0, rows), None, top)
    for to, (found, _) in zip(out, scanned, strict=True):
        to[: len(found)] = found
    return out


def found_alone(text: str, data: Dataset, top: int) -> tuple[Codec, Int64]:
    """A representation trained on a set, and what its codes alone find."""
    codec, _ = trained(text, data.vectors)
    parts = codec.pack(codec.encode(data.vectors))
    return codec, best(codec, parts, len(data.vectors), data.queries, top)


def _without_peers(data: Dataset, case: Case) -> Rows:
    """Exact search, and single representations: quality and bytes, no times."""
    answers: list[tuple[str, float, Int64]] = [(EXACT, 4.0 * case.dim, case.truth)]
    for text in ALONE:
        codec, found = found_alone(text, data, DEEP)
        answers.append((f"vecstore, {text} alone", float(codec.code_bytes), found))
    return [
        _row(data, case, name, {}, found, found, {"disk": cost * case.rows}, {})
        for name, cost, found in answers
    ]


def _peer(
    entry: Entry, case: Case, data: Dataset, folder: Path, settings: Settings
) -> dict[str, Any]:
    try:
        with Worker(entry, case, folder, THREADS) as worker:
            built = worker.build(case)
            tried = first_enough(worker, case.truth, ENOUGH)
            # More hits are asked of the same setting: those of ten are judged as they came.
            deep, _ = worker.find(tried.setting, DEEP)
            times = timed(worker, tried.setting, settings)
            built = worker.searched(built)
            return _row(data, case, worker.name, tried.setting, tried.found, deep, built, times)
    except PeerFailedError as error:
        return {"set": data.name} | narrow(error_row(entry.known.name, str(error)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _row(  # noqa: PLR0913, PLR0917 - a row has as many parts
    data: Dataset,
    case: Case,
    name: str,
    setting: Mapping[str, Any],
    found: Int64,
    deep: Int64,
    built: Mapping[str, Any],
    times: Mapping[str, Any],
) -> dict[str, Any]:
    row = narrow(
        search_row(
            name,
            setting,
            shares=shares(found, case.truth, TOP),
            first=first_hits(found, case.truth),
            built=built,
            rows=case.rows,
            times=times,
        )
    )
    del row["recall"]  # it is the overlap here: recall is against judgments
    known = judged(data, case.truth, found)
    known[f"recall@{DEEP}"] = bootstrap(recall(deep, data.relevant))
    named = {"set": data.name, "peer": name, "setting": row["setting"]}
    return named | known | {column: row[column] for column in row if column not in known}


def _default_plan(path: Path, data: Dataset, case: Case) -> dict[str, Any]:
    """What the default plan finds and reads; it scans again where a hit may have been cut off."""
    with vs.open(path) as database:
        collection = filled(database, data, ())
        hits = collection.search_batch(data.queries, limit=TOP, explain=True)
        cost = sum(item.bytes_per_vector for item in collection.stats().representations)
        ladder = " > ".join(item.spec for item in collection.stats().representations)
    reports = [each.explain or () for each in hits]
    scans = [[stage.bytes_read for stage in found if stage.stage == "scan"] for found in reports]
    read = np.mean([sum(sizes) for sizes in scans])
    found = np.array([each.ids for each in hits])
    return {
        "set": data.name,
        "plan": f"{DEFAULT}: {ladder}",
        "bytes": round(cost, 1),
        f"overlap@{TOP}": bootstrap(shares(found, case.truth, TOP)),
        "scans": float(np.mean([len(sizes) for sizes in scans])),
        "scan reads 1/": float(data.vectors.nbytes / read),
        "rescored": float(np.mean([rescored(data, stages) for stages in reports])),
    }


def rescored(data: Dataset, stages: Sequence[vs.StageReport]) -> float:
    """Rows that the rescore of one query reads; bounds leave out some that were handed on."""
    read = sum(stage.bytes_read for stage in stages if stage.stage == "rescore")
    return float(read / (FINE_BYTES * data.vectors.shape[1]))


def _bars(data: Dataset, case: Case, plan: Mapping[str, Any]) -> Rows:
    def overlap(text: str) -> float:
        return float(shares(found_alone(text, data, TOP)[1], case.truth, TOP).mean())

    bars = []
    known = [(DEFAULT, plan[f"overlap@{TOP}"].mean, DEFAULT_LEAST)]
    for spec, value, least in known + [(text, overlap(text), least) for text, least in BARRED]:
        what = f"{data.name}: {spec}, overlap"
        bars.append(bar(what, value, f">= {least}", met=value >= least))
    read = plan["scan reads 1/"]
    what = f"{data.name}: {DEFAULT}, scan reads 1/"
    bars.append(bar(what, read, f">= {READS_LEAST}", met=read >= READS_LEAST))
    for codec in VIEWED:
        gain = overlap(f"pca128/{codec}") - overlap(f"prefix128/{codec}")
        what = f"{data.name}: pca128/{codec} - prefix128/{codec}, overlap"
        bars.append(bar(what, gain, "> 0", met=gain > 0))
    return bars
