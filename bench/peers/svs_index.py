"""SVS: a Vamana graph over float32, LVQ or LeanVec; the last two on Intel's processors only.

On others the library ends the process with a line that says so, which becomes the row's error.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

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
from bench.peers.kept import Saved, whole

LINKS, BUILD_WINDOW = 32, 128
WINDOWS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256)
ALIGNMENT = 32  # bytes that a compressed vector begins at a multiple of
LVQ_BITS, LVQ_RESIDUAL_BITS = 4, 8
CONFIG, GRAPH, DATA = "config", "graph", "data"

ENVIRONMENT = Environment("svs", ("scalable-vs==0.5.0",))
PEERS = (
    Known("svs-f32", "Svs", options={"kind": "f32"}, slow=True),
    Known("svs-lvq4x8", "Svs", options={"kind": "lvq"}),
    Known("svs-leanvec", "Svs", options={"kind": "leanvec"}),
)


class Svs(Saved):
    """A static Vamana graph of at most 32 links. No filters.

    LVQ: 4 bits a dimension, and 8 of what they leave. LeanVec: half the dimensions at 4 bits, by
    its own PCA, then all of them at 8.
    """

    modules = ("svs",)

    def __init__(self, folder: Path, shape: Shape, kind: str) -> None:
        super().__init__(folder, shape)
        self.kind = kind
        self.half = whole(shape.dim, 2)
        self.lock = Lock()
        self.tuned = (0, 0)  # the window and the threads that the index is set to

    def _parts(self) -> list[str]:
        return [str(self.folder / part) for part in (CONFIG, GRAPH, DATA)]

    def build(self, vectors: Float32) -> None:
        import svs

        parameters = svs.VamanaBuildParameters(graph_max_degree=LINKS, window_size=BUILD_WINDOW)
        source = self.folder / "originals.fvecs"
        data: Any = vectors
        if self.kind != "f32":
            svs.write_vecs(vectors, str(source))
            data = self._compressed(svs.VectorDataLoader(str(source), svs.float32))
        index = svs.Vamana.build(
            parameters, data, svs.DistanceType.MIP, num_threads=self.shape.threads
        )
        index.save(*self._parts())
        source.unlink(missing_ok=True)

    def _compressed(self, data: Any) -> Any:
        import svs

        if self.kind == "lvq":
            return svs.LVQLoader(
                data, primary=LVQ_BITS, residual=LVQ_RESIDUAL_BITS, padding=ALIGNMENT
            )
        return svs.LeanVecLoader(
            data,
            leanvec_dims=self.half,
            primary_kind=svs.LeanVecKind.lvq4,
            secondary_kind=svs.LeanVecKind.lvq8,
            alignment=ALIGNMENT,
        )

    def open(self) -> None:
        import svs

        config, graph, data = self._parts()
        if self.kind == "lvq":
            loader = svs.LVQLoader(data, padding=ALIGNMENT)
        elif self.kind == "leanvec":
            loader = svs.LeanVecLoader(data, alignment=ALIGNMENT)
        else:
            loader = svs.VectorDataLoader(data, svs.DataType.float32)
        self.index = svs.Vamana(config, svs.GraphLoader(graph), loader, svs.DistanceType.MIP)

    def settings(self) -> list[Setting]:
        return [{"window": window} for window in WINDOWS]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        if below is not None:
            raise UnsupportedError("no filters")
        self._tune(max(int(setting["window"]), limit), self.threads_for(queries))
        found, _ = self.index.search(queries, limit)
        return np.asarray(found, dtype=np.int64)

    def _tune(self, window: int, threads: int) -> None:
        """Set what is not an argument of its search, once for all callers of a setting."""
        if self.tuned == (window, threads):
            return
        with self.lock:
            if self.tuned != (window, threads):
                self.index.search_window_size = window
                self.index.num_threads = threads
                self.tuned = (window, threads)
