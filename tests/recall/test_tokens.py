"""What codes of tokens find, where there are real ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.suites.quality import ndcg
from bench.tokens import TokenSet, load
from vecstore.codec import build_codec, centroid_training, parse_spec, train_codec
from vecstore.codec.base import TokenCodec
from vecstore.types import Float32, Int8, Int64, Uint8

TOP, FIRST = 10, 100


class Ranked:
    """Rankings of all documents of a set, by representation, each made once."""

    def __init__(self, tokens: TokenSet) -> None:
        lengths = [len(document) for document in tokens.documents]
        self.tokens = tokens
        self.vectors: Float32 = np.concatenate(tokens.documents)
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
        self.found: dict[str, list[Int64]] = {}

    def by(self, text: str) -> list[Int64]:
        """The first documents for each query."""
        if text not in self.found:
            spec = parse_spec(text, self.vectors.shape[1])
            params = train_codec(spec, self.vectors.shape[1], "cosine", self.vectors, 0)
            codec = build_codec(spec, self.vectors.shape[1], "cosine", params)
            assert isinstance(codec, TokenCodec)
            parts = codec.pack(codec.encode(self.vectors))
            prepared = codec.prepare_tokens(self.tokens.queries)
            scans = (
                prepared.documents(parts, self.offsets, query, None).scan(
                    0, len(self.offsets) - 1, None, FIRST
                )
                for query in range(len(self.tokens.queries))
            )
            self.found[text] = [rows for ((rows, _),) in scans]
        return self.found[text]

    def overlap(self, text: str, first: int) -> float:
        """The share of the exact top 10 among the first documents of a representation."""
        pairs = zip(self.by("float16"), self.by(text), strict=True)
        shared = [len(np.intersect1d(exact[:TOP], got[:first])) for exact, got in pairs]
        return float(np.mean(shared)) / TOP

    def ndcg(self, text: str) -> float:
        """nDCG@10 of the judged queries."""
        return float(np.mean(ndcg([rows[:TOP] for rows in self.by(text)], self.tokens.relevant)))


@pytest.fixture(scope="module")
def cranfield(data: Path) -> Iterator[Ranked]:
    """The tokens of all documents and queries; what several codecs cluster is clustered once."""
    found = load(data, "cranfield")
    if found is None:
        pytest.skip(f"needs the tokens of cranfield; none in {data}")
    kmeans, known = centroid_training.kmeans, dict[tuple[int, int], Uint8]()

    def once(integers: Int8, count: int, *rest: centroid_training.Rest) -> Uint8:
        key = (zlib.crc32(integers), count)
        if key not in known:
            known[key] = kmeans(integers, count, *rest)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centroid_training, "kmeans", once)
        yield Ranked(found)


def test_exact_scores_are_those_of_others(cranfield: Ranked) -> None:
    """MaxSim over float16 has the nDCG@10 that the set's own description says, to a thousandth."""
    assert abs(cranfield.ndcg("float16") - 0.5190) < 0.001


@pytest.mark.parametrize(("text", "share"), [("res2", 0.93), ("res4", 0.97)])
def test_codes_rank_nearly_as_tokens_do(cranfield: Ranked, text: str, share: float) -> None:
    """The top 10 of codes is nearly the exact one, and as good to a hundredth of nDCG@10."""
    assert cranfield.overlap(text, TOP) > share
    assert cranfield.ndcg(text) > cranfield.ndcg("float16") - 0.01


def test_ids_find_candidates(cranfield: Ranked) -> None:
    """Nearly all of the exact top 10 is among the first 100 documents by ids."""
    assert cranfield.overlap("ids", FIRST) > 0.99
