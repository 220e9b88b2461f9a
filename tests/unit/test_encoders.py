"""Encoders, with tiny models of random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecstore.encoders import LateInteraction, Pages, TokenStates
from vecstore.errors import MissingExtraError, RequestError

WORDS = ["red", "green", "blue", "sky", "grass", "sea", "is", "the"]
TEXTS = ["the sky is blue", "grass", "the sea is the sea"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and its tokenizer, saved."""
    pytest.importorskip("torch", reason="encoders need torch")
    transformers = pytest.importorskip("transformers", reason="encoders need transformers")
    import torch

    path = tmp_path_factory.mktemp("model")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(path / "vocab.txt"))
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    torch.manual_seed(3)
    transformers.BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_states_are_of_each_word_at_unit_length(folder: Path) -> None:
    """A text has a unit vector for each of its words, whatever texts are beside it."""
    encoder = TokenStates(str(folder))
    tokens = encoder.encode_documents(TEXTS)
    assert np.diff(tokens.offsets).tolist() == [4, 1, 5]
    assert tokens.vectors.shape == (10, encoder.dim)
    assert tokens.salience is None
    np.testing.assert_allclose(np.linalg.norm(tokens.vectors, axis=1), 1, atol=1e-6)
    alone = encoder.encode_documents(TEXTS[1:2])
    np.testing.assert_allclose(alone.vectors, tokens.vectors[4:5], atol=1e-5)


def test_special_tokens_are_kept_on_demand(folder: Path) -> None:
    """With `specials` a text has two more vectors, and a text of no words has these only."""
    encoder = TokenStates(str(folder), specials=True, tokens_max=6)
    assert np.diff(encoder.encode_documents(TEXTS).offsets).tolist() == [6, 3, 6]
    assert np.diff(TokenStates(str(folder)).encode_documents(["", "sky"]).offsets).tolist() == [
        2,
        1,
    ]


def test_queries_are_encoded_like_documents(folder: Path) -> None:
    """A query has the vectors that the same text has as a document."""
    encoder = TokenStates(str(folder))
    tokens = encoder.encode_documents(TEXTS)
    queries = encoder.encode_queries(TEXTS, batch_size=2)
    assert [len(query) for query in queries] == [4, 1, 5]
    np.testing.assert_allclose(np.concatenate(queries), tokens.vectors, atol=1e-5)


def test_mean_is_taken_off(folder: Path) -> None:
    """The states of the texts that the mean was taken of sum to nothing before unit length."""
    plain = TokenStates(str(folder))
    mean = plain.mean_of(TEXTS)
    centred = TokenStates(str(folder), mean=mean)
    rows = centred.encode_documents(TEXTS).vectors
    assert mean.shape == (plain.dim,)
    assert np.linalg.norm(rows.mean(axis=0)) < 0.5
    with pytest.raises(RequestError, match="no texts"):
        plain.mean_of([])


@pytest.mark.parametrize("attention", ["first", "all"])
def test_attention_is_salience(folder: Path, attention: Any) -> None:
    """Salience is a share of attention: above 0, and with the special tokens 1 in all."""
    encoder = TokenStates(str(folder), attention=attention, specials=True)
    tokens = encoder.encode_documents(TEXTS)
    assert tokens.salience is not None
    assert (tokens.salience > 0).all()
    sums = np.add.reduceat(tokens.salience, tokens.offsets[:-1])
    np.testing.assert_allclose(sums, 1, atol=1e-5)


def test_model_without_attentions_is_refused(folder: Path) -> None:
    """A loaded model that gives no attentions cannot give salience, and the error says so."""
    import transformers

    class Silent:
        config = transformers.AutoConfig.from_pretrained(folder)
        device = "cpu"

        def __init__(self) -> None:
            self.model = transformers.AutoModel.from_pretrained(folder)

        def eval(self) -> Silent:
            return self

        def __call__(self, **features: Any) -> Any:
            return self.model(**{**features, "output_attentions": False})

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with pytest.raises(RequestError, match="eager"):
        TokenStates(Silent(), tokenizer, attention="first").encode_documents(TEXTS)
    with pytest.raises(RequestError, match="tokenizer"):
        TokenStates(Silent())


def test_late_interaction_models_are_used_as_they_are(folder: Path) -> None:
    """A MultiVectorEncoder gives the vectors that its own methods give."""
    library = pytest.importorskip("sentence_transformers", minversion="6", reason="needs 6")
    from sentence_transformers.base.modules import Transformer

    model = library.MultiVectorEncoder(modules=[Transformer(str(folder))], device="cpu")
    encoder = LateInteraction(model)
    tokens = encoder.encode_documents(TEXTS)
    own = model.encode_document(TEXTS, convert_to_numpy=True)
    assert encoder.dim == 16
    assert np.diff(tokens.offsets).tolist() == [len(vectors) for vectors in own]
    np.testing.assert_allclose(tokens.vectors, np.concatenate(own), atol=1e-5)
    queries = encoder.encode_queries(TEXTS[:1])
    np.testing.assert_allclose(
        queries[0], model.encode_query(TEXTS[0], convert_to_numpy=True), atol=1e-5
    )


def test_pages_lose_their_padding() -> None:
    """The vectors of an image or a query are those that its mask marks."""
    torch = pytest.importorskip("torch", reason="encoders need torch")
    features_of = pytest.importorskip("transformers", reason="needs transformers").BatchFeature

    class Processor:
        def process_images(self, images: list[int]) -> Any:
            return self._padded(images)

        def process_queries(self, texts: list[str]) -> Any:
            return self._padded([len(text) for text in texts])

        def _padded(self, lengths: list[int]) -> Any:
            mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
            return features_of({"attention_mask": mask.long().flip(1)})

    class Model:
        device = "cpu"

        def __call__(self, attention_mask: Any) -> Any:
            return attention_mask[:, :, None] * torch.ones(4, dtype=torch.bfloat16)

    pages = Pages(Model(), Processor())
    tokens = pages.encode_documents([3, 1, 2], batch_size=2)
    assert np.diff(tokens.offsets).tolist() == [3, 1, 2]
    np.testing.assert_array_equal(tokens.vectors, np.ones((6, 4)))
    assert [len(query) for query in pages.encode_queries(["sky", "blue"])] == [3, 4]
    assert len(pages.encode_documents([])) == 0


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library an encoder says which extra to install."""
    for package in ("torch", "transformers", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    for make in (lambda: TokenStates("a"), lambda: LateInteraction("a"), lambda: Pages(0, 0)):
        with pytest.raises(MissingExtraError, match=r"vecstore\[encoders\]"):
            make()


def test_unknown_model_is_refused(folder: Path, tmp_path: Path) -> None:
    """A folder without a model is refused, and so is a batch of nothing."""
    with pytest.raises(RequestError, match="cannot be loaded"):
        TokenStates(str(tmp_path))
    with pytest.raises(RequestError, match="batch_size"):
        TokenStates(str(folder)).encode_documents(TEXTS, batch_size=0)
