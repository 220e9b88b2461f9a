"""Models that were trained for late interaction on text: ColBERT and its like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vecstore.encoders.parts import joined, missing
from vecstore.errors import RequestError
from vecstore.tokens import Tokens
from vecstore.types import Float32


class LateInteraction:
    """A MultiVectorEncoder of sentence-transformers, 6 or newer.

    Prompts, lengths, query expansion and left-out tokens are what the model says.

    Args:
        model: what sentence-transformers calls it, its folder, or one that is loaded.

    Attributes:
        dim: dimensions D of its vectors.

    Raises:
        MissingExtraError: the package is not installed, or is too old.
        RequestError: the model cannot be loaded.
    """

    def __init__(self, model: Any) -> None:
        self._model: Any = _load(model) if isinstance(model, str) else model
        self.dim = int(self._model.get_embedding_dimension())

    def encode_documents(self, texts: Sequence[Any], *, batch_size: int = 32) -> Tokens:
        """The vectors of N texts, or of what else the model takes."""
        found = self._model.encode_document(
            list(texts), batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False
        )
        return joined([np.asarray(own, dtype=np.float32) for own in found], self.dim)

    def encode_queries(self, texts: Sequence[Any], *, batch_size: int = 32) -> list[Float32]:
        """The vectors [n, D] of each of Q queries."""
        found = self._model.encode_query(
            list(texts), batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False
        )
        return [np.asarray(own, dtype=np.float32) for own in found]


def _load(name: str) -> Any:
    try:
        from sentence_transformers import MultiVectorEncoder
    except ImportError:  # not there, or older than MultiVectorEncoder
        raise missing("sentence-transformers>=6") from None
    try:
        return MultiVectorEncoder(name)
    except (OSError, ValueError) as error:
        raise RequestError(
            f"model {name!r} cannot be loaded ({error}); expected the name of a model of "
            "sentence-transformers, or the folder of one"
        ) from None
