"""FAISS: flat, inverted lists, compressed tables with refinement, graphs, bits.

Compressed candidates are refined with float16 originals, in FAISS itself where it can: those are
in the index's file and in memory.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

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
from bench.peers.kept import Marked, Originals, whole

Bits: TypeAlias = npt.NDArray[np.uint8]

# Its matrix products are made by the BLAS it carries, which would else use one thread.
ENVIRONMENT = Environment("faiss", ("faiss-cpu==1.15.1",), {"OPENBLAS_NUM_THREADS": "2"})
REFINED = "Refine(SQfp16)"
ROTATED = "RR,"  # a random rotation, which RaBitQ wants and FAISS leaves to this transform
HNSW_BUILD, HNSW_BUILD_MORE = 128, 200  # candidates while building
_FILTERED = ("dense", "filter")
# FastScan tables without lists take no selector of ids, so these do not filter.
PEERS = (
    Known("faiss-flat", "Faiss", _FILTERED, {"factory": "Flat"}),
    Known(
        "faiss-ivfpqfs+refine",
        "Faiss",
        _FILTERED,
        {"factory": f"IVF{{lists}},PQ{{pairs}}x4fs,{REFINED}"},
    ),
    Known(
        "faiss-ivfrabitqfs+refine",
        "Faiss",
        _FILTERED,
        {"factory": f"IVF{{lists}},RaBitQfs,{REFINED}"},
    ),
    *(
        Known(
            f"faiss-ivfrabitqfs{bits}+refine",
            "Faiss",
            _FILTERED,
            {"factory": f"{ROTATED}IVF{{lists}},RaBitQfs{bits},{REFINED}"},
        )
        for bits in (2, 4)
    ),
    Known("faiss-pqfs+refine", "Faiss", ("dense",), {"factory": f"PQ{{pairs}}x4fs,{REFINED}"}),
    Known("faiss-rabitqfs+refine", "Faiss", ("dense",), {"factory": f"RaBitQfs,{REFINED}"}),
    Known("faiss-ivf-sq8", "Faiss", _FILTERED, {"factory": "IVF{lists},SQ8"}),
    Known("faiss-hnswsq8", "Faiss", _FILTERED, {"factory": "HNSW16,SQ8"}),
    Known(
        "faiss-hnswsq8-m32",
        "Faiss",
        options={"factory": "HNSW32,SQ8", "hnsw_build": HNSW_BUILD_MORE},
        slow=True,
    ),
    Known("faiss-hnswflat", "Faiss", _FILTERED, {"factory": "HNSW16,Flat"}, slow=True),
    Known("faiss-binary+rescore", "FaissBinary", _FILTERED),
)

LISTS_PER_ROOT = 4  # the guide advises 4 to 16 lists x the root of the rows
HNSW_EF = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
PROBES = (4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 512)
# Probes, and candidates refined for each hit asked. A PQ of 4 bits a pair of dimensions orders
# better than one bit a dimension, which wants more candidates.
PROBES_PQ = (
    *((8, 4), (16, 4), (16, 8), (32, 4), (32, 8)),
    *((32, 16), (48, 8), (64, 8), (96, 8), (128, 8), (192, 8), (256, 8), (512, 8)),
)
PROBES_RABITQ = (
    *((8, 8), (16, 8), (32, 8), (32, 32), (48, 32), (64, 32), (96, 32)),
    *((128, 16), (128, 32), (192, 16), (256, 16), (256, 32), (512, 16), (512, 32)),
)
# Of several bits a dimension, which want fewer.
PROBES_RABITQ_MORE = (
    *((8, 2), (16, 1), (16, 2), (32, 1), (32, 2), (64, 1)),
    *((48, 2), (64, 2), (64, 4), (96, 4), (128, 2), (128, 4), (192, 4), (256, 4), (512, 8)),
)
TIMES = (1, 2, 4, 8, 16, 32, 64)
TIMES_BINARY = (2, 4, 8, 16, 32, 64, 128, 256)


class Faiss(Marked):
    """An index made by FAISS's factory; vectors at unit length, so inner product is cosine.

    RaBitQ of one bit is used without a random rotation before it: on embeddings the recall was the
    same, and a rotation of each query takes time. That of more bits is rotated, as RaBitQ is
    described. HNSW has twice the links at the lowest level: 32 of 16.
    """

    modules = ("faiss",)

    def __init__(
        self, folder: Path, shape: Shape, factory: str, hnsw_build: int = HNSW_BUILD
    ) -> None:
        super().__init__(folder, shape)
        self.hnsw_build = hnsw_build
        self.lists = 2 ** round(math.log2(LISTS_PER_ROOT * math.sqrt(shape.rows)))
        pairs = whole(shape.dim, 2) if "{pairs}" in factory else 0
        self.factory = factory.format(lists=self.lists, pairs=pairs)
        self.made: dict[Any, Any] = {}  # parameters of a search, by setting and filter

    @property
    def path(self) -> str:
        """The index's file."""
        return str(self.folder / "index.faiss")

    def build(self, vectors: Float32) -> None:
        import faiss

        faiss.omp_set_num_threads(self.shape.threads)
        index = faiss.index_factory(self.shape.dim, self.factory, faiss.METRIC_INNER_PRODUCT)
        if self.factory.startswith("HNSW"):
            index.hnsw.efConstruction = self.hnsw_build
        index.train(vectors)
        index.add(vectors)
        faiss.write_index(index, self.path)

    def open(self) -> None:
        import faiss

        super().open()
        self.index = faiss.read_index(self.path)

    def settings(self) -> list[Setting]:
        refined = self.factory.endswith(REFINED)
        if self.factory.startswith("HNSW"):
            return [{"efSearch": ef} for ef in HNSW_EF]
        if "IVF" in self.factory and refined:
            kinds = {ROTATED: PROBES_RABITQ_MORE, "RaBitQ": PROBES_RABITQ, "": PROBES_PQ}
            pairs = next(pairs for word, pairs in kinds.items() if word in self.factory)
            found = dict.fromkeys((min(probes, self.lists), times) for probes, times in pairs)
            return [{"nprobe": probes, "k_factor": times} for probes, times in found]
        if self.factory.startswith("IVF"):
            return [{"nprobe": probes} for probes in PROBES if probes <= self.lists]
        return [{"k_factor": times} for times in TIMES] if refined else [{}]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        import faiss

        faiss.omp_set_num_threads(self.threads_for(queries))  # of the thread that calls
        params = self._params(setting, below)
        found: Int64 = self.index.search(queries, limit, params=params)[1]
        return found

    def _params(self, setting: Setting, below: int | None) -> Any:
        key = (*setting.items(), below)
        if key not in self.made:
            self.made[key] = self._new_params(setting, below)
        return self.made[key]

    def _new_params(self, setting: Setting, below: int | None) -> Any:
        import faiss

        only = {} if below is None else {"sel": self._selector(below)}
        params = None
        if "efSearch" in setting:
            params = faiss.SearchParametersHNSW(efSearch=setting["efSearch"], **only)
        elif "nprobe" in setting:
            params = faiss.SearchParametersIVF(nprobe=setting["nprobe"], **only)
        elif only and "k_factor" in setting:
            raise UnsupportedError("FastScan without lists takes no filter")
        elif only:
            params = faiss.SearchParameters(**only)
        if "k_factor" not in setting:
            return params
        if self.factory.startswith(ROTATED):
            params = faiss.SearchParametersPreTransform(index_params=params)
        base = {} if params is None else {"base_index_params": params}
        return faiss.IndexRefineSearchParameters(k_factor=setting["k_factor"], **base)

    def _selector(self, below: int) -> Any:
        import faiss

        return faiss.IDSelectorBitmap(np.packbits(self.allowed(below), bitorder="little"))


class FaissBinary(Marked):
    """Signs, scanned by Hamming distance; the best are rescored by NumPy with float16 originals.

    The originals are in the folder and in memory.
    """

    modules = ("faiss",)

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        self.bytes = whole(shape.dim, 8)
        self.selectors: dict[int, Any] = {}

    @property
    def path(self) -> str:
        """The index's file."""
        return str(self.folder / "index.faiss")

    def build(self, vectors: Float32) -> None:
        import faiss

        index = faiss.IndexBinaryFlat(self.shape.dim)
        index.add(signs(vectors))
        faiss.write_index_binary(index, self.path)
        Originals.save(self.folder, vectors)

    def open(self) -> None:
        import faiss

        super().open()
        self.index = faiss.read_index_binary(self.path)
        self.originals = Originals(self.folder, self.shape.threads)

    def settings(self) -> list[Setting]:
        return [{"rescored": times} for times in TIMES_BINARY]

    def prepare(self, setting: Setting, threads: int) -> None:
        self.threads = threads

    def search(
        self, queries: Vectors, limit: int, setting: Setting, below: int | None = None
    ) -> Int64:
        import faiss

        values: Float32 = np.asarray(queries)
        threads = self.threads_for(values)
        faiss.omp_set_num_threads(threads)
        keep = min(limit * int(setting["rescored"]), self.shape.rows)
        params = None if below is None else self._params(below)
        found = self.index.search(signs(values), keep, params=params)[1]
        assert self.originals is not None
        return self.originals.best(values, found, limit, threads)

    def _params(self, below: int) -> Any:
        import faiss

        if below not in self.selectors:
            bits = np.packbits(self.allowed(below), bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            self.selectors[below] = faiss.SearchParameters(sel=selector)
        return self.selectors[below]


def signs(vectors: Float32) -> Bits:
    """One bit a dimension, uint8 [N, D / 8]."""
    return np.packbits(vectors > 0, axis=1)
