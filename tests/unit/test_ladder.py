"""Which representations a field can have, and in what order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vecstore.codec.centroid_training import (
    centroids_for,
    sample_of_tokens,
    tokens_max,
    tokens_min,
)
from vecstore.codec.ladder import DEFAULT_TOKENS, resolve_schema, spelled_out
from vecstore.codec.spec import CODECS, TABLES, TOKENS, parse_spec, possible
from vecstore.errors import SchemaError
from vecstore.schema import MultiVector, Schema, Vector

TEXT = Vector("text", 128)
PAGES = MultiVector("text", 128)


def ladder(*representations: str) -> tuple[str, ...]:
    """Of a multivector field."""
    return spelled_out(replace(PAGES, representations=representations))


def test_multivector_fields_are_ordered_coarse_to_fine() -> None:
    """Codecs of tokens stand between those that both kinds of fields may have."""
    given = ("float16", "ids256", "res4", "int8", "ternary", "sign", "res1", "res2", "float32")
    assert ladder(*given) == (
        *("ids256", "sign", "res1", "ternary", "res2", "res4", "int8", "float16"),
        "float32",
    )
    assert ladder("ids", "ids256") == ("ids256", "ids")
    assert ladder("res2", "pca64/res4") == ("pca64/res4", "res2")
    assert ladder() == DEFAULT_TOKENS


def test_what_a_finer_one_contains_is_not_kept_twice() -> None:
    """The ids of a codec with digits stand for those of `ids` of the same dimensions alone."""
    assert ladder("ids", "res2") == ("res2",)
    assert ladder("pca64/ids", "res2") == ("pca64/ids", "res2")
    assert ladder("pca64/ids", "pca64/res1") == ("pca64/res1",)
    assert ladder("ids256", "res2") == ("ids256", "res2")


def test_fields_have_codecs_of_their_kind() -> None:
    """A codec of the other kind of field is refused, and those that are possible are named."""
    for text in TOKENS:
        with pytest.raises(SchemaError, match=rf"vector field 'text' .*'{text}', .*bits2, .*pqM"):
            resolve_schema(Schema(vectors=[replace(TEXT, representations=(text,))]))
    for text in ("bits2", "pq8", "lvq4", "bebr2", "prefix64/bits1"):
        with pytest.raises(SchemaError, match=rf"multivector field .*'{text}', .*res2, .*float16"):
            ladder(text)
    for multi in (False, True):
        for name in possible(multi=multi):
            assert parse_spec(name.replace("M", "8"), 128).suits(multi=multi)
    assert set(possible(multi=False)) == {*CODECS, *TABLES}


def test_tokens_have_up_to_4096_dimensions() -> None:
    """More dimensions are refused, unless fewer of them are coded."""
    with pytest.raises(SchemaError, match="expected at most 4,096: write 'pca128/res2'"):
        parse_spec("res2", 4097)
    assert str(parse_spec("pca128/res2", 4097)) == "pca128/res2"
    assert parse_spec("ids", 4096).trained
    assert parse_spec("ids", 4096).query_bytes(4096) > parse_spec("res2", 4096).query_bytes(4096)


def test_unknown_names_are_answered_with_all() -> None:
    """What is no representation raises SchemaError with those of both kinds of fields."""
    with pytest.raises(SchemaError, match=r"'res3', expected one of sign.*pqM.*ids256.*float32"):
        parse_spec("res3", 128)


def test_finer_makes_coarser() -> None:
    """Codecs of more digits can make those of fewer, none makes a finer one."""
    res2, res1, ids, half = (parse_spec(text, 128) for text in ("res2", "res1", "ids", "float16"))
    assert res2.makes(res1)
    assert res1.makes(ids)
    assert half.makes(res2)
    assert not res1.makes(res2)
    assert not ids.makes(res1)


def test_tokens_to_train_with() -> None:
    """Centroids are a power of two, of 16 tokens each, and roomy codes learn from a fourth."""
    res2, small = parse_spec("res2", 8), parse_spec("ids256", 8)
    assert (tokens_min(res2), tokens_max(res2)) == (16_384, 262_144)
    assert (tokens_min(small), tokens_max(small)) == (4_096, 65_536)
    for tokens, centroids in ((1, 1), (16, 1), (1_000, 64), (65_536, 4_096), (10**8, 16_384)):
        assert centroids_for("res2", tokens) == centroids
    assert centroids_for("ids256", 10**8) == 256
    res4 = parse_spec("res4", 8)
    for tokens, all_of_res2, some in (
        (1_000, 1_000, 1_000),
        (250_000, 250_000, 65_536),
        (600_000, 262_144, 150_000),
        (10**8, 262_144, 262_144),
    ):
        assert sample_of_tokens(res2, tokens) == all_of_res2
        assert sample_of_tokens(res4, tokens) == some
        assert sample_of_tokens(res4, tokens, growing=True) == all_of_res2
