"""xtr-warp-rs: WARP in Rust over libtorch, tokens stored by centroid with residuals of 2 or 4 bits.

A query's vector that finds no token of a document gets an estimate instead, so that thorough
settings, too, differ from exact MaxSim.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, local
from typing import Any

from bench.peers.base import Environment, Float32, Int64, Known, Setting, Shape, Vectors, padded
from bench.peers.exact_maxsim import Documents
from bench.peers.fast_plaid_index import tensors

# Its wheels are linked against one release of torch each, one built for CUDA.
ENVIRONMENT = Environment("xtr-warp", ("xtr-warp-rs==2.1.0.2110", "torch==2.11.0"))
PEERS = (
    Known("xtr-warp-4bit", "XtrWarp", ("late",), {"nbits": 4}),
    Known("xtr-warp-2bit", "XtrWarp", ("late",), {"nbits": 2}),
)
# nprobe and centroid_score_threshold; a threshold of 0 prunes no centroid.
SEARCHES = ((2, 0.5), (4, 0.5), (8, 0.5), (16, 0.5), (32, 0.5), (32, 0.0), (64, 0.0), (128, 0.0))
BOUND_PROBES = 8  # centroids considered for each probe, as the library's own choice has it


class XtrWarp(Documents):
    """Built at once with the library's defaults, on the CPU, and mapped.

    What the library loads answers only the thread that loaded it, so threads of its own load it
    once each, and every search is handed to one of them.
    """

    modules = (
        "torch",
        "xtr_warp.search",
    )

    def __init__(self, folder: Path, shape: Shape, nbits: int = 4) -> None:
        super().__init__(folder, shape)
        self.nbits = nbits
        self.threads = shape.threads

    def build(self, documents: list[Float32]) -> None:
        made = self._made()
        made.create(tensors(documents), device="cpu", nbits=self.nbits, show_progress=False)
        self.open()

    def open(self) -> None:
        self.loaded = local()
        together = Barrier(self.shape.threads)
        self.pool = ThreadPoolExecutor(self.shape.threads, initializer=self._load)
        for each in [self.pool.submit(together.wait) for _ in range(self.shape.threads)]:
            each.result()
        about = json.loads((self.folder / "index" / "metadata.json").read_text(encoding="utf-8"))
        self.centroids = int(about["num_partitions"])

    def _load(self) -> None:
        self.loaded.index = self._made()
        self.loaded.index.load("cpu")

    def _made(self) -> Any:
        from xtr_warp.search import XTRWarp

        return XTRWarp(str(self.folder / "index"))

    def settings(self) -> list[Setting]:
        return [{"nprobe": probe, "threshold": threshold} for probe, threshold in SEARCHES]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads

    def ranked(self, queries: Vectors, limit: int, setting: Setting) -> Int64:
        return self.pool.submit(self._ranked, queries, limit, setting).result()

    def _ranked(self, queries: Vectors, limit: int, setting: Setting) -> Int64:
        probes = int(setting["nprobe"])
        found = self.loaded.index.search(
            tensors(queries),
            top_k=limit,
            num_threads=self.threads,
            nprobe=probes,
            bound=min(BOUND_PROBES * probes, self.centroids),
            centroid_score_threshold=float(setting["threshold"]),
            show_progress=False,
        )
        return padded([[row for row, _ in hits] for hits in found], limit)

    def close(self) -> None:
        self.pool.shutdown()
