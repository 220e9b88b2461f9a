"""Whether the benchmarks of others can run vecstore: each small, on data that is here.

    python -m bench.harness.check [NAME ...] [--data DIR] [--rows N]

NAME is ann_benchmarks, vectordbbench or mteb. Each is installed, once, in an environment of its own
(bench.peers.envs), where a copy of this vecstore is put before it; from then on no network is used.
Prints what each measured, and ends with 1 where one fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import nearest
from bench.data import synthetic
from bench.harness.tree import lay_tree, needed
from bench.harness.vectordbbench.drop_in import drop_in
from bench.measure import ROOT
from bench.peers.base import Environment
from bench.peers.envs import EnvironmentFailedError, python_of

PACKAGES = {
    "ann_benchmarks": ("pyyaml==6.0.3",),
    "vectordbbench": ("vectordb-bench==2.0.0",),
    "mteb": ("mteb==2.26.24", "torch==2.13.0"),
}
ROWS, QUERIES, NEIGHBOURS, K = 3_000, 100, 100, 10
RECALL_MIN = 0.95
EXACT_MIN = 0.99
NDCG_LOSS_MAX = 0.005  # of the default plan below mteb's own exact search
RUN_S_MAX = 1_200
SAID_LINES = 8
LABELS = ("label_10p", "other")  # the first on a tenth of the rows
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class HarnessFailedError(Exception):
    """A harness did not run, or what it measured is not what it should be."""


def main() -> int:
    """Check the harnesses asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.harness.check", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PACKAGES))
    parser.add_argument("--data", type=Path, default=_data())
    parser.add_argument("--rows", type=int, default=ROWS)
    asked = parser.parse_args()
    unknown = set(asked.names) - set(PACKAGES)
    if unknown:
        parser.error(f"no harness {', '.join(sorted(unknown))}; there are {', '.join(PACKAGES)}")
    failed = 0
    for name in asked.names or PACKAGES:
        print(name, flush=True)
        with tempfile.TemporaryDirectory(prefix="vecstore-harness-") as folder:
            try:
                for line in CHECKS[name](Path(folder), asked.data, asked.rows):
                    print(f"  {line}", flush=True)
            except (HarnessFailedError, EnvironmentFailedError) as error:
                failed += 1
                print(f"  FAILED: {error}", flush=True)
    return 1 if failed else 0


def ann_benchmarks(folder: Path, data: Path | None, rows: int) -> Iterator[str]:
    """Every definition of our config.yml, built and asked as its runner does."""
    out = folder / "out.json"
    arguments = ["--rows", str(rows), "--out", str(out)]
    if data is not None:
        arguments += ["--data", str(data)]
    run("ann_benchmarks", ["-m", "bench.harness.ann_run", *arguments], folder)
    yield "not a package: its base class is stood in for, its runner's calls are made"
    found: dict[tuple[str, str], list[str]] = {}
    for row in json.loads(out.read_text(encoding="utf-8"))["rows"]:
        least = min(row["recall"], row["batch recall"])
        wanted = {"default": RECALL_MIN, "exact": EXACT_MIN}.get(row["how"], 0.0)
        if least < wanted:
            raise HarnessFailedError(f"{row} is less than {wanted}")
        found.setdefault((row["metric"], row["ladder"]), []).append(f"{row['how']} {least:.3f}")
    for (metric, ladder), recalls in found.items():
        yield f"{metric}, {ladder}: recall {', '.join(recalls)}"


def vectordbbench(folder: Path, data: Path | None, rows: int) -> Iterator[str]:
    """A custom data set through the command line of VectorDBBench, then searches with filters."""
    package = installed("vectordbbench", "vectordb_bench")
    tree = folder / "tree"
    shutil.copytree(package, tree / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    client = tree / package.name / "backend/clients/vecstore"
    drop_in(tree / package.name)
    shutil.copy(Path(__file__).parent / "vectordbbench" / "probe.py", client)
    case = lay_custom_case(folder / "case", data, rows)
    run("vectordbbench", _command_line(case, folder / "database", rows), folder)
    results = list((folder / "results").rglob("*.json"))
    if len(results) != 1:
        raise HarnessFailedError(f"{len(results)} files of results")
    result = json.loads(results[0].read_text(encoding="utf-8"))["results"][0]
    metrics = result["metrics"]
    yield (
        f"{metrics['inserted_count']:,} rows, recall {metrics['recall']:.3f}, "
        f"p99 {metrics['serial_latency_p99'] * 1e3:.1f} ms, q/s of "
        f"{metrics['conc_num_list']} processes {metrics['conc_qps_list']}"
    )
    if metrics["inserted_count"] != rows or metrics["recall"] < RECALL_MIN:
        raise HarnessFailedError(f"label {result['label']}, recall {metrics['recall']}")
    out = folder / "filters.json"
    probe = f"vectordb_bench.backend.clients.{client.name}.probe"
    run("vectordbbench", ["-m", probe, str(case), str(folder / "filtered"), str(out)], folder)
    recalls = json.loads(out.read_text(encoding="utf-8"))
    yield "filters: " + ", ".join(f"{name} {value:.3f}" for name, value in recalls.items())
    if min(recalls.values()) < RECALL_MIN:
        raise HarnessFailedError(f"recall with filters {recalls}")


def mteb(folder: Path, data: Path | None, rows: int) -> Iterator[str]:
    """A retrieval task from files, searched by mteb itself and by vecstore."""
    if data is None:
        raise HarnessFailedError("--data is needed: a folder with scifact")
    out = folder / "out.json"
    arguments = ["--data", str(data), "--set", "scifact", "--out", str(out)]
    run("mteb", ["-m", "bench.harness.mteb_run", *arguments], folder)
    found = json.loads(out.read_text(encoding="utf-8"))
    yield f"mteb {found['mteb']}, scifact, ready MiniLM embeddings"
    for row in found["rows"]:
        scores = ", ".join(f"{name} {row[name]:.4f}" for name in row if name != "run")
        yield f"{row['run']:<24} {scores}"
    scored = {row["run"]: row["ndcg_at_10"] for row in found["rows"]}
    exact = scored["mteb, exact"]
    if scored["vecstore, default"] < exact - NDCG_LOSS_MAX:
        raise HarnessFailedError(f"nDCG@10 {scored['vecstore, default']:.4f}, exact {exact:.4f}")


CHECKS: Mapping[str, Callable[[Path, Path | None, int], Iterator[str]]] = {
    "ann_benchmarks": ann_benchmarks,
    "vectordbbench": vectordbbench,
    "mteb": mteb,
}


def lay_custom_case(folder: Path, data: Path | None, rows: int) -> Path:
    """A custom data set as VectorDBBench reads it, and the same as arrays."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise HarnessFailedError("pyarrow is needed: install vecstore[arrow]") from None
    source = synthetic(data)
    vectors, queries = source.rows(0, rows), source.queries(QUERIES)
    labels = np.where(np.random.default_rng(9).random(rows) < 0.1, *LABELS)
    truth = nearest(vectors, queries, NEIGHBOURS)
    folder.mkdir()
    for name, values in (("vectors", vectors), ("queries", queries), ("labels", labels)):
        np.save(folder / f"{name}.npy", values)
    numbers, asked = np.arange(rows), np.arange(QUERIES)
    tables: Mapping[str, Mapping[str, Any]] = {
        "train": {"id": numbers, "emb": list(vectors)},
        "test": {"id": asked, "emb": list(queries)},
        "neighbors": {"id": asked, "neighbors_id": list(truth)},
        "scalar_labels": {"id": numbers, "labels": labels.tolist()},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(dict(columns)), folder / f"{name}.parquet")
    return folder


def _command_line(case: Path, database: Path, rows: int) -> list[str]:
    options = {
        "path": database,
        "case-type": "PerformanceCustomDataset",
        "custom-case-name": "check",
        "custom-dataset-name": "check",
        "custom-dataset-dir": case,
        "custom-dataset-size": rows,
        "custom-dataset-dim": np.load(case / "queries.npy").shape[1],
        "custom-dataset-metric-type": "COSINE",
        "custom-dataset-file-count": 1,
        "k": K,
        "num-concurrency": "1,2",
        "concurrency-duration": 2,
        "task-label": "check",
        "insert-batch-size": 500,
    }
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    flag = "--skip-custom-dataset-use-shuffled"
    return ["-m", "vectordb_bench.cli.vectordbbench", "vecstore", *given, flag]


def environment(name: str) -> Environment:
    """What a harness is installed in: it, and what vecstore needs."""
    return Environment(f"harness-{name}", (*PACKAGES[name], *needed()))


def installed(name: str, package: str) -> Path:
    """Where a package lies in the environment of a harness."""
    where = (
        f"import importlib.util as u; print(u.find_spec({package!r}).submodule_search_locations[0])"
    )
    done = subprocess.run(
        [python_of(environment(name)), "-c", where], capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def run(name: str, arguments: Sequence[str], folder: Path) -> None:
    """Run Python in the environment of a harness, with FOLDER/tree and this project on its path.

    Raises:
        HarnessFailedError: it ended with an error, or took too long; the text is what it said last.
    """
    tree = folder / "tree"
    if not (tree / "vecstore").exists():
        lay_tree(tree)
    places = {
        "PYTHONPATH": os.pathsep.join((str(tree), str(ROOT))),
        "HF_HOME": str(folder / "hub"),
        "RESULTS_LOCAL_DIR": str(folder / "results"),
        "LOG_FILE": str(folder / "logs" / "log.txt"),
    }
    command = [python_of(environment(name)), *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | OFFLINE | places,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=RUN_S_MAX,
        )
    except subprocess.TimeoutExpired:
        raise HarnessFailedError(f"stopped after {RUN_S_MAX} s") from None
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-SAID_LINES:])
        raise HarnessFailedError(f"ended with {done.returncode}:\n{said}")


def _data() -> Path | None:
    """The folder of real embeddings, as bench.run finds it."""
    found = Path(os.environ.get("VECSTORE_DATA", ROOT.parent / "shared" / "data"))
    return found if found.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
