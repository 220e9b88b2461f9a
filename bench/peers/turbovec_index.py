"""turbovec: a table of random rotations quantized to 2 or 4 bits a dimension, scanned whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.peers.base import Environment, Float32, Int64, Known, Setting, Shape, Vectors
from bench.peers.kept import Marked, Originals, whole

SAMPLE_ROWS = 1_024  # to calibrate with, as its guide says
TIMES = (1, 2, 4, 8, 16, 32)

ENVIRONMENT = Environment("turbovec", ("turbovec==1.1.2",))
PEERS = (
    Known("turbovec-2", "Turbovec", ("dense", "filter"), {"bits": 2}),
    Known("turbovec-4", "Turbovec", ("dense", "filter"), {"bits": 4}),
)


class Turbovec(Marked):
    """A calibrated index; its best are rescored by NumPy with float16 originals.

    The originals are in the folder and in memory. A filter is a mask of rows.
    """

    modules = ("turbovec",)

    def __init__(self, folder: Path, shape: Shape, bits: int) -> None:
        super().__init__(folder, shape)
        self.bits = bits
        whole(shape.dim, 8)

    @property
    def path(self) -> str:
        """The index's file."""
        return str(self.folder / "index.tv")

    def build(self, vectors: Float32) -> None:
        from turbovec import TurboQuantIndex

        index = TurboQuantIndex(dim=self.shape.dim, bit_width=self.bits)
        drawn = np.random.default_rng(0).permutation(len(vectors))[:SAMPLE_ROWS]
        index.calibrate(vectors[drawn])
        index.add(vectors)
        index.write(self.path)
        Originals.save(self.folder, vectors)

    def open(self) -> None:
        from turbovec import TurboQuantIndex

        super().open()
        self.index = TurboQuantIndex.load(self.path)
        self.index.prepare()
        self.originals = Originals(self.folder, self.shape.threads)

    def settings(self) -> list[Setting]:
        return [{"rescored": times} for times in TIMES]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        assert self.originals is not None
        values: Float32 = np.ascontiguousarray(queries)
        keep = min(limit * int(setting["rescored"]), self.shape.rows)
        mask = None if below is None else self.allowed(below)
        _, found = self.index.search(values, keep, mask=mask)
        return self.originals.best(values, found, limit, self.threads_for(values))
