"""Models of colpali-engine, tiny and with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecstore.encoders import Pages
from vecstore.multivector.heat import matches

PATCHES, SIDE = 4, 28
WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "Describe", "the", "image", ".", "sky", "red"]


def processor_of(library: Any) -> Any:
    """A processor whose words are WORDS, and whose images have PATCHES."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, SiglipImageProcessor

    numbers = {word: number for number, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
    )
    images = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    images.image_seq_length = PATCHES
    return library.ColPaliProcessor(image_processor=images, tokenizer=tokenizer)


def model_of(library: Any, processor: Any) -> Any:
    """A ColPali of two layers."""
    import torch
    from transformers import PaliGemmaConfig

    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = PaliGemmaConfig(
        vision_config={
            **shape,
            "model_type": "siglip_vision_model",
            "num_hidden_layers": 1,
            "image_size": SIDE,
            "patch_size": SIDE // 2,
            "projection_dim": 16,
            "vision_use_head": False,
        },
        text_config={
            **shape,
            "model_type": "gemma",
            "num_hidden_layers": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "vocab_size": len(processor.tokenizer),
        },
        image_token_id=processor.image_token_id,
        projection_dim=16,
        pad_token_id=0,
    )
    torch.manual_seed(1)
    return library.ColPali(config).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of transformers with NumPy 2
def test_pages_score_as_their_library_scores() -> None:
    """MaxSim of the vectors of images and queries is what colpali-engine gives them."""
    library = pytest.importorskip("colpali_engine", reason="needs colpali-engine")
    import torch
    from PIL import Image

    processor = processor_of(library)
    model = model_of(library, processor)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (40, 30 + row, 3), "uint8")) for row in range(3)]
    texts = ["red sky", "sky"]
    pages = Pages(model, processor)
    tokens = pages.encode_documents(images, batch_size=2)
    queries = pages.encode_queries(texts)
    sets = np.split(tokens.vectors, tokens.offsets[1:-1])
    assert min(map(len, sets)) > PATCHES
    assert len(queries[0]) == len(queries[1]) + 1
    found = [[matches(query, own).scores.sum() for own in sets] for query in queries]
    with torch.inference_mode():
        theirs = processor.score(
            list(model(**processor.process_queries(texts))),
            list(model(**processor.process_images(images))),
        )
    np.testing.assert_allclose(found, theirs.numpy(), atol=1e-4)
