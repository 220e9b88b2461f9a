"""The calls that the runner of ann-benchmarks makes, on a few thousand rows.

    python -m bench.harness.ann_run --data DIR --rows N --out FILE.json

ann-benchmarks is no package that can be installed, so its base class is stood in for by one with
the same methods, and each definition of config.yml is built, tuned and asked as its runner does.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import synthetic
from vecstore.types import Array, Float32, Int64

HERE = Path(__file__).parent / "ann_benchmarks"
QUERIES, COUNT = 50, 10
BASE = '''"""Stands in for the base class of ann-benchmarks."""


class BaseANN:
    """The methods that the runner calls whether or not an algorithm has its own."""

    def get_memory_usage(self):
        return 0.0

    def get_additional(self):
        return {}

    def __str__(self):
        return self.name
'''


def main() -> None:
    """Run every definition and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()

    import yaml

    config = yaml.safe_load((HERE / "config.yml").read_text(encoding="utf-8"))
    source = synthetic(asked.data)
    lengths = np.random.default_rng(8).uniform(0.5, 1.5, size=(asked.rows, 1))
    vectors = (source.rows(0, asked.rows) * lengths).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="vecstore-ann-") as folder:
        sys.path.insert(0, str(lay_stand_in(Path(folder))))
        rows = [
            row
            for metric in ("angular", "euclidean")
            for row in ran(config["float"]["any"], metric, vectors, source.queries(QUERIES))
        ]
    asked.out.write_text(json.dumps({"rows": rows}), encoding="utf-8")


def lay_stand_in(folder: Path) -> Path:
    """A package of the shape of ann-benchmarks in a folder, with our algorithm in it."""
    algorithms = folder / "ann_benchmarks" / "algorithms"
    (algorithms / "base").mkdir(parents=True)
    (algorithms / "base" / "module.py").write_text(BASE, encoding="utf-8")
    shutil.copytree(HERE, algorithms / "vecstore")
    return folder


def ran(
    algorithms: list[Mapping[str, Any]], metric: str, vectors: Float32, queries: Float32
) -> list[dict[str, Any]]:
    """Recall of one query at a time and of a batch, for each definition and way to ask.

    Raises:
        AssertionError: an answer is not as the runner demands.
    """
    truth = nearest(metric, vectors, queries)
    rows = []
    for algorithm in algorithms:
        module = importlib.import_module(f"{algorithm['module']}.module")
        for group in algorithm["run_groups"].values():
            for arguments in product(*group["args"]):
                base = [metric if each == "@metric" else each for each in algorithm["base_args"]]
                made = getattr(module, algorithm["constructor"])(*base, *arguments)
                try:
                    rows += _asked(made, group["query_args"], vectors, queries, truth)
                finally:
                    made.done()
    return [{"metric": metric} | row for row in rows]


def _asked(
    algorithm: Any, ways: list[list[Any]], vectors: Float32, queries: Float32, truth: Int64
) -> list[dict[str, Any]]:
    before = algorithm.get_memory_usage()
    algorithm.fit(vectors)
    assert algorithm.get_memory_usage() > before
    rows = []
    for way in product(*ways):
        algorithm.set_query_arguments(*way)
        single = [algorithm.query(query, COUNT) for query in queries]
        algorithm.batch_query(queries, COUNT)
        batch = algorithm.get_batch_results()
        for found in (*single, *batch):
            assert len(found) == len(set(found)) == COUNT, f"{algorithm} found {found}"
        rows.append(
            {
                "ladder": " ".join(algorithm.ladder),
                "how": str(algorithm.how),
                "recall": recall(single, truth),
                "batch recall": recall(batch, truth),
            }
        )
    return rows


def nearest(metric: str, vectors: Float32, queries: Float32) -> Int64:
    """The rows [Q, COUNT] with the least distance."""
    products = queries @ vectors.T
    squares = (vectors**2).sum(axis=1)
    distances: Array = squares - 2 * products if metric == "euclidean" else -products / squares**0.5
    return np.argsort(distances, axis=1, kind="stable")[:, :COUNT]


def recall(found: list[Any], truth: Int64) -> float:
    """The mean share of the true rows among those found."""
    shares = [np.isin(true, rows).mean() for true, rows in zip(truth, found, strict=True)]
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
