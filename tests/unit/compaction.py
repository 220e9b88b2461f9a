"""What the tests of compaction share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import vecstore as vs
from vecstore.collection import Collection
from vecstore.types import Float32

DIM = 16
SCHEMA = vs.Schema(
    vectors=[vs.Vector("v", DIM, "dot", ["bits2", "float16"])], columns=[vs.Column("n", "int")]
)
TRAINED = vs.Schema(vectors=[vs.Vector("v", DIM, "dot", ["pca8/int8", "float16"])])
FOREGROUND = vs.Options(background=False, threads=1)


def rows(count: int, dim: int = DIM, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def fill(items: Collection, count: int, *, segments: int, dim: int = DIM) -> None:
    """Ids 0 to count - 1, in segments of one size."""
    vectors = rows(count, dim)
    for part in np.array_split(np.arange(count), segments):
        items.upsert(part, vectors[part], [{"n": int(number)} for number in part])
        items.flush()


def state_of_files(folder: Path) -> list[str]:
    """The folders of segments and the files of codecs."""
    return sorted(
        path.name for name in ("segments", "codecs") for path in folder.glob(f"db/{name}/*")
    )
