"""Token states: what any transformer knows of each token, without training for late interaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from vecstore.encoders.parts import batches, joined, missing, to_numpy, unit
from vecstore.errors import RequestError
from vecstore.tokens import Tokens
from vecstore.types import Float32

Attention = Literal["first", "all"]


class TokenStates:
    """The last hidden states of a model, at unit length, without padding and special tokens.

    Args:
        model: the name or folder of a model of transformers, or one that is loaded.
        tokenizer: of a model that is loaded; it has a padding token.
        tokens_max: longer texts are cut; None: what the tokenizer says.
        specials: whether to keep the special tokens, too.
        mean: [D], taken off all states before they are brought to unit length; see `mean_of`.
        attention: salience is the attention of the last layer, averaged over its heads: what the
            "first" token pays to each (DocPruner, arXiv 2509.23883), or what "all" tokens of the
            text pay to each, on average; None: no salience. Needs a model that gives attentions:
            one loaded with attn_implementation="eager", as those loaded by name here are.

    Attributes:
        dim: dimensions D of its vectors.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        RequestError: the model cannot be loaded, or has no tokenizer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        tokens_max: int | None = None,
        specials: bool = False,
        mean: Float32 | None = None,
        attention: Attention | None = None,
    ) -> None:
        try:
            import torch
        except ModuleNotFoundError:
            raise missing("torch") from None
        if isinstance(model, str):
            model, tokenizer = _load(model, attentions=attention is not None)
        if tokenizer is None:
            raise RequestError("the model is loaded, expected its tokenizer, too")
        self._quiet = torch.inference_mode
        self._model, self._tokenizer = model.eval(), tokenizer
        self._tokens_max, self._specials = tokens_max, specials
        self._mean, self._attention = mean, attention
        self.dim = int(model.config.hidden_size)

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> Tokens:
        """The vectors of N texts, with salience where it was asked for.

        A text that has special tokens only keeps them.

        Raises:
            RequestError: the model gives no attentions, which salience is made of.
        """
        found = [each for batch in batches(texts, batch_size) for each in self._states(batch)]
        states = [unit(self._centred(own)) for own, _ in found]
        salience = [own for _, own in found if own is not None]
        return joined(states, self.dim, salience if self._attention else None)

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> list[Float32]:
        """The vectors [n, D] of each of Q queries."""
        found = self.encode_documents(texts, batch_size=batch_size)
        return [np.asarray(own) for own in np.split(found.vectors, found.offsets[1:-1])]

    def mean_of(self, texts: Sequence[str], *, batch_size: int = 32) -> Float32:
        """The mean [D] of all states of some texts, to be given as `mean` to another encoder.

        States of most models share a direction, which tells tokens apart no better than noise does.

        Raises:
            RequestError: there are no texts.
        """
        if not texts:
            raise RequestError("no texts, expected some to take the mean of")
        total, count = np.zeros(self.dim), 0
        for batch in batches(texts, batch_size):
            for own, _ in self._states(batch):
                total, count = total + own.sum(axis=0, dtype=np.float64), count + len(own)
        return np.asarray(total / count, dtype=np.float32)

    def _centred(self, states: Float32) -> Float32:
        return states if self._mean is None else states - self._mean

    def _states(self, texts: Sequence[str]) -> list[tuple[Float32, Float32 | None]]:
        """States [t, D] of the tokens that count of each text, and their salience [t]."""
        features = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._tokens_max,
            return_special_tokens_mask=True,
            return_tensors="pt",
        ).to(self._model.device)
        special = features.pop("special_tokens_mask").cpu().numpy() > 0
        with self._quiet():
            found = self._model(**features, output_attentions=self._attention is not None)
        states = to_numpy(found.last_hidden_state)
        real = features["attention_mask"].cpu().numpy() > 0
        masks = [
            own if self._specials else _without(own, no)
            for own, no in zip(real, special, strict=True)
        ]
        weights = self._salience(found, real)
        return [
            (own[mask], None if weights is None else weights[row][mask])
            for row, (own, mask) in enumerate(zip(states, masks, strict=True))
        ]

    def _salience(self, found: Any, real: Any) -> Float32 | None:
        """Of each token of each text of a batch, [N, t]."""
        if self._attention is None:
            return None
        attentions = getattr(found, "attentions", None)
        if not attentions or attentions[-1] is None:
            raise RequestError(
                "the model gives no attentions, which salience is made of; load it with "
                "attn_implementation='eager', or leave `attention` out"
            )
        heads = to_numpy(attentions[-1]).mean(axis=1)
        if self._attention == "first":
            first = real.argmax(axis=1)  # not 0 where padding comes first
            return np.take_along_axis(heads, first[:, None, None], axis=1)[:, 0]
        paid = heads * real[:, :, None]
        return np.asarray(paid.sum(axis=1) / real.sum(axis=1)[:, None], dtype=np.float32)


def _without(real: Any, special: Any) -> Any:
    """The tokens that are real and not special; the real ones where all are."""
    kept = real & ~special
    return kept if kept.any() else real


def _load(name: str, *, attentions: bool) -> tuple[Any, Any]:
    try:
        from transformers import AutoModel, AutoTokenizer
    except ModuleNotFoundError:
        raise missing("transformers") from None
    try:
        model = (
            AutoModel.from_pretrained(name, attn_implementation="eager")
            if attentions
            else AutoModel.from_pretrained(name)
        )
        return model, AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise RequestError(
            f"model {name!r} cannot be loaded ({error}); expected the name of a model of "
            "transformers, or the folder of one"
        ) from None
