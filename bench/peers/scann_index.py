"""ScaNN: leaves of a tree, anisotropic codes, and reordering, as its guide configures it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from bench.peers.base import (
    Environment,
    Float32,
    Int64,
    Known,
    Setting,
    Shape,
    UnsupportedError,
    Vectors,
)
from bench.peers.kept import Saved

# The guide's: leaves about the root of the rows, two dimensions a code, this threshold of
# anisotropic quantization. With SOAR a row is in two leaves.
CODE_DIMS = 2
THRESHOLD = 0.2
SOAR = {"soar_lambda": 1.5, "overretrieve_factor": 2.0}
SAMPLE_ROWS_MAX = 250_000  # that the leaves are trained on
LEAVES = (5, 10, 20, 40, 80, 80, 160, 160, 320, 640)  # searched
REORDERED = (3, 3, 3, 3, 3, 6, 3, 6, 6, 12)  # for each hit asked

ENVIRONMENT = Environment("scann", ("scann==1.4.2",))
PEERS = (
    Known("scann", "Scann", options={"reorder": "FLOAT32"}),
    Known("scann-soar-bf16", "Scann", options={"reorder": "BFLOAT16", "leaves_of_row": 2}),
)


class Scann(Saved):
    """A tree over codes, reordered with float32 or bfloat16 originals of its own. No filters."""

    modules = ("scann",)

    def __init__(self, folder: Path, shape: Shape, reorder: str, leaves_of_row: int = 1) -> None:
        super().__init__(folder, shape)
        self.reorder = reorder
        self.soar = SOAR if leaves_of_row == 2 else {}
        self.leaves = max(1, round(math.sqrt(shape.rows)))

    def build(self, vectors: Float32) -> None:
        from scann import scann_ops_pybind
        from scann.scann_ops.py.scann_builder import ReorderType

        made = scann_ops_pybind.builder(vectors, 1, "dot_product")
        made.set_n_training_threads(self.shape.threads)
        made.tree(
            num_leaves=self.leaves,
            num_leaves_to_search=1,
            training_sample_size=min(len(vectors), SAMPLE_ROWS_MAX),
            **self.soar,
        )
        made.score_ah(CODE_DIMS, anisotropic_quantization_threshold=THRESHOLD)
        made.reorder(1, quantize=ReorderType[self.reorder])
        made.build().serialize(str(self.folder), relative_path=True)

    def open(self) -> None:
        from scann import scann_ops_pybind

        self.searcher = scann_ops_pybind.load_searcher(str(self.folder))

    def settings(self) -> list[Setting]:
        pairs = zip(LEAVES, REORDERED, strict=True)
        found = dict.fromkeys((min(leaves, self.leaves), times) for leaves, times in pairs)
        return [{"leaves": leaves, "reordered": times} for leaves, times in found]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads
        self.searcher.set_num_threads(threads)

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        if below is not None:
            raise UnsupportedError("no filters")
        values: Float32 = np.asarray(queries)
        asked = {
            "final_num_neighbors": limit,
            "pre_reorder_num_neighbors": limit * int(setting["reordered"]),
            "leaves_to_search": int(setting["leaves"]),
        }
        out = np.full((len(values), limit), -1, dtype=np.int64)
        if len(values) == 1:
            found, _ = self.searcher.search(values[0], **asked)
            out[0, : len(found)] = found
            return out
        if self.threads == 1:
            found, distances = self.searcher.search_batched(values, **asked)
        else:
            share = math.ceil(len(values) / self.threads)
            found, distances = self.searcher.search_batched_parallel(
                values, **asked, batch_size=share
            )
        there = ~np.isnan(distances)  # of those that were not found, the rows are zeros
        out[there] = found[there]
        return out
