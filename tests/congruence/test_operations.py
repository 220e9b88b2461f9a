"""Any order of operations gives the same results, embedded and remote."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vecstore as vs
from tests.congruence.pair import Pair

SCHEMA = vs.Schema(
    vectors=[
        vs.Vector("text", 8, representations=["prefix4/bits4", "bits2", "int8", "float32"]),
        vs.Vector("pic", 3, "l2"),
        vs.Vector("tone", 5, "dot", representations=["bits8", "float16"]),
    ],
    columns=[
        vs.Column("year", "int"),
        vs.Column("price", "float"),
        vs.Column("lang", "keyword"),
        vs.Column("tags", "list[keyword]"),
        vs.Column("seen", "timestamp"),
    ],
)
DTYPES = ["float16", "float32", "float64", ">f4", "int16", "uint8"]
FILTERS = [
    None,
    "year >= 3",
    "year IN (1, 2, 5) AND NOT lang = 'en'",
    "lang IS NULL OR price BETWEEN 0.5 AND 2",
    "tags CONTAINS 'a' AND seen < '2021-06-01'",
    "year > 1000",
]
PLANS = [
    None,
    vs.Cascade([vs.Scan("bits2", keep=8), vs.Rescore("float32", keep=4)]),
    vs.Cascade([vs.Scan("prefix4/bits4", keep=9), vs.Rescore("int8", keep=5)]),
    vs.Cascade([vs.Scan("int8", keep=20)]),
    vs.Cascade([vs.Probe("bits2", nprobe=2, keep=8), vs.Rescore("float32", keep=4)]),
]

# So long that no test sees them end, or so short that they have ended when the write returns.
LIVES = st.sampled_from([None, 1e-6, 1_000, 86_400.5])
LADDERS = st.lists(
    st.sampled_from(["prefix4/bits4", "pca2/int8", "bits1", "bits2", "int8", "float16", "float32"]),
    max_size=3,
)

_names = itertools.count()

ids = st.lists(
    st.one_of(st.integers(-3, 6), st.sampled_from(["a", "é", "6", "漢字", str("x" * 255)])),
    max_size=12,
)
payloads = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "year": st.one_of(st.none(), st.integers(0, 6), st.just(-(2**63))),
            "price": st.one_of(st.floats(-1, 3, width=32), st.integers(0, 2)),
            "lang": st.sampled_from(["en", "fr", "", "漢"]),
            "tags": st.lists(st.sampled_from(["a", "b"]), max_size=2),
            "seen": st.sampled_from(["2020-01-01", "2021-12-31T23:59:59.5+02:00", 0]),
            "other": st.recursive(
                st.one_of(st.none(), st.booleans(), st.text(max_size=4), st.floats(-1e9, 1e9)),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(st.text(max_size=3), inner, max_size=2)
                ),
                max_leaves=4,
            ),
        },
    ),
)


@st.composite
def upserts(draw: st.DrawFn) -> tuple[Any, ...]:
    """A batch of records: some fields, some without some of their vectors."""
    chosen = draw(ids)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    vectors: dict[str, Any] = {}
    for field in SCHEMA.vectors:
        kind = draw(st.sampled_from(["none", "array", "list", "some", "zero"]))
        rows: Any = (rng.standard_normal((len(chosen), field.dim)) * 9).round(2)
        if kind in ("none", "zero") or not chosen:
            rows = np.zeros_like(rows)
        if kind == "array":
            rows = np.abs(rows).astype(draw(st.sampled_from(DTYPES)))
        elif kind == "list":
            rows = rows.tolist()
        elif kind == "some":
            rows = [None if rng.random() < 0.4 else row for row in rows]
        if kind != "none":
            vectors[field.name] = rows
    given_payloads = draw(st.one_of(st.none(), st.just("each")))
    made = None if given_payloads is None else [draw(payloads) for _ in chosen]
    lives = draw(st.one_of(LIVES, st.just("each")))
    ttl_s = [draw(LIVES) for _ in chosen] if lives == "each" else lives
    return "upsert", (chosen, vectors, made), {"ttl_s": ttl_s}


@st.composite
def searches(draw: st.DrawFn) -> tuple[Any, ...]:
    """One query or some, with any options."""
    plan = draw(st.sampled_from(PLANS))
    field = SCHEMA.vectors[0] if plan else draw(st.sampled_from(SCHEMA.vectors))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    queries = rng.standard_normal((draw(st.integers(1, 4)), field.dim)).astype("float32")
    many = draw(st.booleans())
    options = {
        "limit": draw(st.integers(1, 4)),
        "where": draw(st.sampled_from(FILTERS)),
        "plan": plan,
        "exact": plan is None and draw(st.booleans()),
        "with_payload": draw(st.booleans()),
        "with_vectors": draw(st.booleans()),
        "explain": draw(st.booleans()),
    }
    vectors = {field.name: queries if many else queries[0]}
    return "search_batch" if many else "search", (vectors,), options


filters = st.sampled_from(FILTERS)
operations = st.one_of(
    upserts(),
    upserts(),
    searches(),
    searches(),
    st.builds(lambda chosen: ("delete", (chosen,), {}), ids),
    st.builds(lambda where: ("delete", (), {"where": where or "year = 4"}), filters),
    st.builds(lambda chosen, v: ("get", (chosen,), {"with_vectors": v}), ids, st.booleans()),
    st.builds(
        lambda where, v, n: ("scroll", (), {"where": where, "with_vectors": v, "batch": n}),
        filters,
        st.booleans(),
        st.integers(1, 5),
    ),
    st.builds(lambda where: ("count", (where,), {}), filters),
    st.just(("stats", (), {})),
    st.just(("flush", (), {})),
    st.just(("flush", (), {})),
    st.just(("compact", (), {})),
    st.builds(
        lambda field, ladder: ("alter", (field, ladder), {}),
        st.sampled_from([field.name for field in SCHEMA.vectors]),
        LADDERS,
    ),
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(operations, min_size=3, max_size=14), ttl_s=LIVES)
def test_any_operations(pair: Pair, steps: list[tuple[Any, ...]], ttl_s: float | None) -> None:
    """Whatever was written, deleted, altered and compacted, both give the same answers, bit for
    bit.
    """
    name = f"any{next(_names)}"
    schema = dataclasses.replace(SCHEMA, ttl_s=ttl_s)
    collection = pair.collection("create_collection", name, schema)
    for method, arguments, keywords in steps:
        collection(method, *arguments, **keywords)
        collection.run(lambda item: item.schema)
    collection("scroll", with_vectors=True)
    collection("stats")
    pair("drop_collection", name)
