"""A task of mteb without a network: run in the environment of mteb by bench.harness.check.

    python -m bench.harness.mteb_run --data DIR --set scifact --out FILE.json

The corpus, the queries and the judgments are those of a folder in BEIR layout, and the encoder
looks up the embeddings that lie beside them. Every run is scored by mteb.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.harness.mteb_adapter import VecstoreIndex

SPLIT = "test"
# What is run: None is mteb's own exact search with torch.
RUNS: Mapping[str, dict[str, Any] | None] = {
    "mteb, exact": None,
    "vecstore, default": {},
    "vecstore, bits2 alone": {"ladder": ("bits2",)},
}
SCORES = ("ndcg_at_10", "recall_at_10", "recall_at_100")


def main() -> None:
    """Evaluate each run and write what mteb scored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", default="scifact")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()

    import mteb
    from mteb.models import SearchEncoderWrapper

    folder = asked.data / asked.set
    rows = []
    for name, options in RUNS.items():
        task = task_of(folder)
        encoder = encoder_of(folder)
        index = None if options is None else VecstoreIndex(**options)
        result = mteb.evaluate(
            SearchEncoderWrapper(encoder, index_backend=index),
            task,
            cache=None,
            co2_tracker=False,
            show_progress_bar=False,
        )
        scored = result.task_results[0].scores[SPLIT][0]
        rows.append({"run": name} | {each: scored[each] for each in SCORES})
    asked.out.write_text(json.dumps({"mteb": mteb.__version__, "rows": rows}), encoding="utf-8")


def task_of(folder: Path) -> Any:
    """A retrieval task of mteb from a folder in BEIR layout."""
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class Local(AbsTaskRetrieval):
        """Read from files, not fetched."""

        k_values = (1, 10, 100)  # more would be every document of a small set
        metadata = TaskMetadata(
            name=f"{folder.name.title().replace('-', '')}Local",
            dataset={"path": folder.name, "revision": "local"},
            description="A set in BEIR layout from a local folder.",
            reference=None,
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=[SPLIT],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )

        def load_data(self, *_: Any, **__: Any) -> None:
            if self.data_loaded:
                return
            self.dataset = {
                "default": {
                    SPLIT: {
                        "corpus": Dataset.from_list(_texts(folder / "corpus.jsonl.gz")),
                        "queries": Dataset.from_list(_texts(folder / "queries.jsonl.gz")),
                        "relevant_docs": _judgments(folder / "qrels.tsv"),
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return Local()


def encoder_of(folder: Path) -> Any:
    """An encoder of mteb that knows the embeddings of the texts of one folder, and no others."""
    from mteb.models.model_meta import ModelMeta, ScoringFunction

    class Ready:
        """Ready embeddings by the id of a text."""

        mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": "local/ready-embeddings",
                "revision": "local",
                "similarity_fn_name": ScoringFunction.COSINE,
            }
        )

        def __init__(self) -> None:
            self.known = {kind: _embeddings(folder, kind) for kind in ("corpus", "queries")}

        def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> Any:
            kind = "queries" if prompt_type == "query" else "corpus"
            rows, vectors = self.known[kind]
            return np.stack([vectors[rows[id_]] for batch in inputs for id_ in batch["id"]])

        def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
            return np.asarray(embeddings1) @ np.asarray(embeddings2).T

        def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
            return (np.asarray(embeddings1) * np.asarray(embeddings2)).sum(axis=1)

    return Ready()


def _embeddings(folder: Path, kind: str) -> tuple[dict[str, int], npt.NDArray[np.float32]]:
    texts = _texts(folder / f"{kind}.jsonl.gz")
    vectors = np.load(folder / f"minilm-{kind}.f16.npy").astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {text["id"]: row for row, text in enumerate(texts)}, vectors


def _texts(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [
        {"id": each["_id"], "text": each["text"]}
        | ({"title": each["title"]} if "title" in each else {})
        for each in found
    ]


def _judgments(path: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        found.setdefault(query, {})[document] = int(float(grade))
    return found


if __name__ == "__main__":
    main()
