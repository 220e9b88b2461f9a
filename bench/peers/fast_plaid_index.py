"""fast-plaid: PLAID in Rust over libtorch, centroids and residuals of 2 or 4 bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.peers.base import Environment, Float32, Int64, Known, Setting, Shape, Vectors, padded
from bench.peers.exact_maxsim import Documents

if TYPE_CHECKING:
    from torch import Tensor

# Its wheels are linked against one release of torch each: with any other they crash.
ENVIRONMENT = Environment("fast-plaid", ("fast-plaid==1.7.0.2110", "torch==2.11.0"))
PEERS = (
    Known("fast-plaid-4bit", "FastPlaid", ("late",), {"nbits": 4}),
    Known("fast-plaid-2bit", "FastPlaid", ("late",), {"nbits": 2}),
)
# n_ivf_probe and n_full_scores; its defaults are 8 and 4,096.
SEARCHES = ((2, 128), (4, 256), (8, 256), (4, 1024), (8, 1024), (8, 4096), (16, 4096), (32, 8192))
FULL_SCORES_MAX = 4  # times the documents


class FastPlaid(Documents):
    """Built at once with the library's defaults, on the CPU.

    `start_from_scratch=0`: float originals, which it keeps beside an index of at most 1,000
    documents for later updates, are not written.
    """

    modules = (
        "torch",
        "fast_plaid.search",
    )

    def __init__(self, folder: Path, shape: Shape, nbits: int = 4) -> None:
        super().__init__(folder, shape)
        self.nbits = nbits

    def build(self, documents: list[Float32]) -> None:
        self.open()
        self.index.create(tensors(documents), nbits=self.nbits, start_from_scratch=0)

    def open(self) -> None:
        from fast_plaid.search import FastPlaid as Library

        self.index: Any = Library(index=str(self.folder / "index"), device="cpu")

    def settings(self) -> list[Setting]:
        # To score many more documents than there are finds nothing more.
        tried = [found for found in SEARCHES if found[1] <= FULL_SCORES_MAX * self.shape.rows]
        return [{"n_ivf_probe": probe, "n_full_scores": scores} for probe, scores in tried]

    def prepare(self, setting: Setting, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)

    def ranked(self, queries: Vectors, limit: int, setting: Setting) -> Int64:
        found = self.index.search(
            tensors(queries),
            top_k=limit,
            n_ivf_probe=int(setting["n_ivf_probe"]),
            n_full_scores=int(setting["n_full_scores"]),
            show_progress=False,
        )
        return padded([[row for row, _ in hits] for hits in found], limit)

    def close(self) -> None:
        self.index.close()


def tensors(vectors: Vectors) -> list[Tensor]:
    """Copies as tensors: what is mapped is read-only, which torch does not know."""
    import torch

    return [torch.tensor(each) for each in vectors]
