"""Models that were trained for late interaction on images of pages: ColPali and its like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vecstore.encoders.parts import batches, joined, missing, to_numpy
from vecstore.tokens import Tokens
from vecstore.types import Float32


class Pages:
    """A model of colpali-engine and its processor, both loaded: ColPali, ColQwen2, ColSmol ...

        model = ColQwen2.from_pretrained(name).eval()
        pages = Pages(model, ColQwen2Processor.from_pretrained(name))

    Padding is left out. A page's vectors are of its patches, row after row, and of the words of the
    prompt around them, as the processor has it; a heat map needs the patches only.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        try:
            import torch
        except ModuleNotFoundError:
            raise missing("torch") from None
        self._quiet: Callable[[], Any] = torch.inference_mode
        self._model: Any = model
        self._processor: Any = processor

    def encode_documents(self, images: Sequence[Any], *, batch_size: int = 4) -> Tokens:
        """The vectors of N images (of PIL)."""
        found = self._encoded(images, self._processor.process_images, batch_size)
        return joined(found, found[0].shape[1] if found else 0)

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> list[Float32]:
        """The vectors [n, D] of each of Q queries."""
        return self._encoded(texts, self._processor.process_queries, batch_size)

    def _encoded(
        self, inputs: Sequence[Any], process: Callable[[list[Any]], Any], batch_size: int
    ) -> list[Float32]:
        found = []
        for batch in batches(inputs, batch_size):
            features = process(list(batch)).to(self._model.device)
            with self._quiet():
                vectors = to_numpy(self._model(**features))
            masks = features["attention_mask"].cpu().numpy() > 0
            found += [own[mask] for own, mask in zip(vectors, masks, strict=True)]
        return found
