"""What a field can be altered to: all that is left of its vectors can still make."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore as vs
from vecstore.codec.spec import parse_spec
from vecstore.collection import Collection
from vecstore.database import Database
from vecstore.errors import NotFoundError, SchemaError, VectorError
from vecstore.ingest.alter_plan import Order, check_derivable, source_errors
from vecstore.ingest.precision import check_fits, fit_rows
from vecstore.segment.block import Block
from vecstore.segment.snapshot import Snapshot
from vecstore.types import Float32, Metric

DIM = 64
VECTORS = np.random.default_rng(3).standard_normal((300, DIM)).astype(np.float32)


def made(
    db: Database, ladder: list[str], *, flush: bool = True, metric: Metric = "dot"
) -> Collection:
    """A collection of 300 records with that ladder."""
    items = db.create_collection("items", vs.Schema([vs.Vector("v", DIM, metric, ladder)]))
    items.upsert(range(300), VECTORS)
    if flush:
        items.flush()
    return items


def state(items: Collection) -> Snapshot:
    return items._store.snapshot()


def wanted(items: Collection, *ladder: str) -> vs.Vector:
    return Order("v", ladder).altered(items.schema).vector("v")


@pytest.mark.parametrize(
    ("source", "other", "expected"),
    [
        ("float32", "float32", True),
        ("float32", "bits1", True),
        ("float16", "float32", False),
        ("float16", "prefix8/float16", True),
        ("float16", "prefix8/float32", False),
        ("bits4", "pca8/bits4", True),
        ("bits4", "pca8/int8", False),
        ("bits8", "int8", True),
        ("int8", "bits8", False),
        ("prefix16/float32", "prefix8/float16", True),
        ("prefix16/float32", "prefix16/float16", True),
        ("prefix8/float32", "prefix16/bits1", False),
        ("prefix16/float32", "pca8/bits1", False),
        ("pca16/float32", "pca8/bits1", True),
        ("pca16/float32", "prefix8/bits1", False),
        ("prefix16/float32", "bits1", False),
        ("sign", f"pq{DIM}", False),
        ("bits1", f"pq{DIM // 2}", False),
        ("sign", "pq2", True),
        (f"pq{DIM}", "sign", True),
        ("float32", "rq1024", True),
        ("rq1024", "float16", False),
    ],
)
def test_a_source_makes_what_is_no_finer(source: str, other: str, expected: bool) -> None:
    """A representation makes those with neither more levels nor dimensions that it lacks."""
    assert parse_spec(source, DIM).makes(parse_spec(other, DIM)) == expected


def test_no_representation_makes_a_finer_one() -> None:
    """What a representation makes comes before it, or is it, in the order coarse to fine."""
    codecs = ["bits1", "bits2", "bits4", "int8", "bits8", "float16", "float32"]
    ways = ["", "prefix8/", "prefix16/", "pca8/", "pca16/"]
    specs = [parse_spec(way + codec, DIM) for way in ways for codec in codecs]
    for source in specs:
        for other in specs:
            assert not source.makes(other) or other.fineness <= source.fineness


def test_other_fields_keep_the_order_they_were_stored_in() -> None:
    """The ladder of a field that is not altered stays as it is, even if it is in an old order."""
    old = vs.Vector("w", DIM, "dot", (f"pq{DIM}", "sign"))
    schema = vs.Schema(vectors=(vs.Vector("v", DIM, "dot", ("float32",)), old))
    assert Order("v", ["float32", "bits1"]).altered(schema).vectors == (
        vs.Vector("v", DIM, "dot", ("bits1", "float32")),
        old,
    )


def test_altered_schema_is_spelled_out(database: Database) -> None:
    """A new ladder is put in order, as the one of a new collection is; an empty one is default."""
    schema = made(database, ["float32"]).schema
    assert Order("v", ["float32", "bits1"]).altered(schema).vectors[0].representations == (
        "bits1",
        "float32",
    )
    assert Order("v", []).altered(schema).vectors[0].representations == ("bits2", "float16")
    assert Order("v", ["float32"]).altered(schema) == schema


@pytest.mark.parametrize("ladder", [["bits3"], ["bits1", "bits1"], ["prefix64/bits1"], "bits1"])
def test_a_wrong_ladder_is_refused(database: Database, ladder: list[str]) -> None:
    """A ladder that no collection could have raises SchemaError, an unknown field NotFoundError."""
    schema = made(database, ["float32"]).schema
    with pytest.raises(SchemaError):
        Order("v", ladder).altered(schema)
    with pytest.raises(NotFoundError):
        Order("w", ["float32"]).altered(schema)


def test_finer_than_what_is_left_is_refused(database: Database) -> None:
    """The refusal names what is left, how good each is, and that the original is gone."""
    items = made(database, ["bits1", "bits4", "float16"])
    for fine in (("bits1", "bits8", "float16"), ("float16",), ("prefix8/bits1", "bits1")):
        check_derivable(state(items), wanted(items, *fine))
    with pytest.raises(SchemaError) as caught:
        check_derivable(state(items), wanted(items, "bits1", "float32"))
    text = str(caught.value)
    errors = source_errors(state(items).sources, items.schema.vectors[0])
    assert "'float32'" in text
    assert "original vectors are gone" in text
    assert "of 300 records there is left 'float16', the finest" in text
    assert list(errors) == ["float16", "bits4", "bits1"]
    for spec, error in errors.items():
        assert repr(spec) in text
        assert not error or f"{error:.2g}" in text


def test_errors_of_sources_are_measured(database: Database) -> None:
    """The error of a source is the mean relative distance of its vectors to the finest ones."""
    items = made(database, ["prefix32/float32", "bits4", "float32"])
    errors = source_errors(state(items).sources, items.schema.vectors[0])
    sample = VECTORS[::2]
    cut = sample.copy()
    cut[:, 32:] = 0
    expected = np.linalg.norm(sample - cut, axis=1) / np.linalg.norm(sample, axis=1)
    assert errors["float32"] == 0
    assert errors["prefix32/float32"] == pytest.approx(float(expected.mean()), rel=1e-5)
    assert 0 < errors["bits4"] < errors["prefix32/float32"]


def test_the_write_buffer_holds_floats(database: Database) -> None:
    """Rows that wait in the write buffer can make what its floats can, whatever the ladder."""
    items = made(database, ["bits1"], flush=False)
    check_derivable(state(items), wanted(items, "bits1", "float32"))
    items.flush()
    items.upsert(["new"], VECTORS[:1])
    with pytest.raises(SchemaError, match="of 300 records there is left 'bits1', the finest;"):
        check_derivable(state(items), wanted(items, "bits1", "float32"))
    database.drop_collection("items")
    items = made(database, ["float16"], flush=False)
    with pytest.raises(SchemaError, match="'float16'"):
        check_derivable(state(items), wanted(items, "float32"))


def test_deleted_records_are_not_asked(database: Database) -> None:
    """Only live records count: without any, a field can be altered to everything."""
    items = made(database, ["bits1"])
    items.delete(range(299))
    with pytest.raises(SchemaError):
        check_derivable(state(items), wanted(items, "float32"))
    items.delete([299])
    check_derivable(state(items), wanted(items, "float32"))
    assert source_errors(state(items).sources, items.schema.vectors[0]) == {}


def test_values_beyond_float16_are_refused(database: Database) -> None:
    """float16 becomes the finest only where it can hold every live value, as at an upsert."""
    items = made(database, ["float16", "float32"])
    huge: Float32 = np.full((1, DIM), 1e5, dtype=np.float32)
    items.upsert(["big"], huge)
    items.flush()
    for live in state(items).segments[:1]:
        check_fits(live, wanted(items, "float16"))
    [*_, last] = state(items).segments
    check_fits(last, wanted(items, "float16", "float32"))
    with pytest.raises(VectorError, match="'big'"):
        check_fits(last, wanted(items, "float16"))
    items.delete(["big"])
    check_fits(state(items).segments[-1], wanted(items, "float16"))


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_buffered_rows_are_fitted(database: Database, metric: Metric) -> None:
    """Rows of the write buffer are kept as the finest of the new ladder keeps them."""
    items = made(database, ["float32"], flush=False, metric=metric)
    [live] = state(items).blocks
    assert isinstance(live.source, Block)
    rows = live.source.content
    values = rows.vectors["v"].values
    had = items.schema
    assert fit_rows(rows, had, had) is rows
    half = fit_rows(rows, had, Order("v", ["bits1", "float16"]).altered(had))
    assert half.vectors["v"].values.dtype == np.float16
    np.testing.assert_array_equal(half.vectors["v"].values, values.astype(np.float16))
    wide = fit_rows(half, had, Order("v", ["bits1"]).altered(had))
    assert wide.vectors["v"].values.dtype == np.float32
    np.testing.assert_array_equal(wide.vectors["v"].values, half.vectors["v"].values)


def test_buffered_values_beyond_float16_are_refused(database: Database) -> None:
    """A buffered value that float16 cannot hold is refused with the id of its record."""
    items = database.create_collection(
        "items", vs.Schema([vs.Vector("v", 2, "dot", ["float32"]), vs.Vector("w", 2)])
    )
    items.upsert([7, 8], {"v": [None, [1e5, 0]]})
    [live] = state(items).blocks
    assert isinstance(live.source, Block)
    with pytest.raises(VectorError, match="id 8"):
        had = items.schema
        fit_rows(live.source.content, had, Order("v", ["float16"]).altered(had))
