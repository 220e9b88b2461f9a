"""Searches with filters, by the runner of VectorDBBench itself: run by bench.harness.check.

    python -m vectordb_bench.backend.clients.vecstore.probe CASE DATABASE OUT.json

CASE holds vectors.npy, queries.npy and labels.npy. Its cases with filters are of data sets that it
downloads; here the rows are ours, the filters and the runner its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from vectordb_bench.backend.clients.api import MetricType
from vectordb_bench.backend.filter import LabelFilter, NewIntFilter, non_filter
from vectordb_bench.backend.runner import SerialSearchRunner

from .client import Vecstore
from .config import VecstoreCaseConfig, VecstoreConfig

K = 10
SHARE = 0.1  # of the rows that pass


def main() -> None:
    """Insert, search with each filter, and write the recall of each."""
    case, place, out = map(Path, sys.argv[1:4])
    vectors, queries = np.load(case / "vectors.npy"), np.load(case / "queries.npy")
    labels = np.load(case / "labels.npy")
    first = int(len(vectors) * (1 - SHARE))
    label = LabelFilter(label_percentage=SHARE)
    filters: dict[str, tuple[Any, Any]] = {
        "none": (non_filter, np.ones(len(vectors), dtype=np.bool_)),
        "id": (
            NewIntFilter(filter_rate=1 - SHARE, int_value=first),
            np.arange(len(vectors)) >= first,
        ),
        "label": (label, labels == label.label_value),
    }
    client = Vecstore(
        vectors.shape[1],
        VecstoreConfig(path=str(place)).to_dict(),
        VecstoreCaseConfig(metric_type=MetricType.COSINE),
        drop_old=True,
        with_scalar_labels=True,
    )
    with client.init():
        ids = list(range(len(vectors)))
        count, error = client.insert_embeddings(vectors.tolist(), ids, labels.tolist())
        assert (count, error) == (len(vectors), None), error
        client.optimize()
    found = {}
    for name, (chosen, passing) in filters.items():
        assert client.filter_supported(chosen), name
        scores = np.where(passing, queries @ vectors.T, -np.inf)
        truth = np.argsort(-scores, axis=1, kind="stable")[:, :K].tolist()
        runner = SerialSearchRunner(client, queries.tolist(), truth, k=K, filters=chosen)
        found[name] = float(runner.run()[0][0])
    out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
