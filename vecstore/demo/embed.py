"""Text to vectors, on this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vecstore.errors import MissingExtraError, RequestError
from vecstore.types import Float32

WORDLLAMA_DIMS = (64, 128, 256)


class Embedder(Protocol):
    """Makes a vector of each text."""

    @property
    def name(self) -> str:
        """Of the model."""
        ...

    @property
    def dim(self) -> int:
        """Dimensions D of its vectors."""
        ...

    def embed(self, texts: Sequence[str]) -> Float32:
        """The vectors of N texts [N, D], not normalised."""
        ...


def load_embedder(model: str | None = None, *, dim: int = WORDLLAMA_DIMS[-1]) -> Embedder:
    """Load a model.

    Args:
        model: what sentence-transformers calls it, or the folder that it is in; None for the
            model that is part of the package wordllama, which needs no network.
        dim: dimensions wanted of the model of wordllama, one of WORDLLAMA_DIMS.

    Raises:
        MissingExtraError: the package is not installed.
        RequestError: the model has no such dim, or cannot be loaded.
    """
    return _WordLlama(dim) if model is None else _SentenceTransformer(model)


class _WordLlama:
    """Static embeddings, trained so that their first dimensions are useful alone."""

    name = "wordllama"

    def __init__(self, dim: int) -> None:
        if dim not in WORDLLAMA_DIMS:
            raise RequestError(
                f"wordllama has no vectors of {dim} dimensions, expected one of "
                f"{', '.join(map(str, WORDLLAMA_DIMS))}"
            )
        root = logging.getLogger()
        before = (list(root.handlers), root.level)
        try:
            import wordllama
        except ModuleNotFoundError:
            raise _missing("wordllama", "demo") from None
        root.handlers, root.level = before  # it sets up logging when it is imported
        # The weights lie in the package; without its folder as cache they would be fetched.
        folder = Path(wordllama.__file__).parent
        self.dim = dim
        self._model: Any = wordllama.WordLlama.load(
            cache_dir=folder,
            trunc_dim=None if dim == WORDLLAMA_DIMS[-1] else dim,
            disable_download=True,
        )

    def embed(self, texts: Sequence[str]) -> Float32:
        return np.asarray(self._model.embed(list(texts)), dtype=np.float32)


class _SentenceTransformer:
    def __init__(self, model: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError:
            raise _missing("sentence-transformers", "encoders") from None
        try:
            self._model: Any = SentenceTransformer(model)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"model {model!r} cannot be loaded ({error}); expected the name of a model of "
                "sentence-transformers, or the folder of one"
            ) from None
        self.name = model
        self.dim = len(self.embed(["a text"])[0])

    def embed(self, texts: Sequence[str]) -> Float32:
        vectors = self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def _missing(package: str, extra: str) -> MissingExtraError:
    return MissingExtraError(
        f"embedding text needs {package}, which is not installed; "
        f"install it with: pip install 'vecstore[{extra}]'"
    )
