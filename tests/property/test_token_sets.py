"""Where tokens lie, against lists of lists; and sets of vectors, in and out again."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vecstore import Tokens
from vecstore.ingest.tokens import owners_of, to_tokens
from vecstore.schema import MultiVector
from vecstore.segment.format import pack_arrays, unpack_arrays
from vecstore.segment.rows import FieldVectors
from vecstore.segment.tokens import TokenBounds

DIM = 2
FIELD = MultiVector("pages", DIM, "dot", ["float32"])
FLOAT32 = np.dtype(np.float32)
# A record: the place and the salience of each of its tokens.
RECORD = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        st.permutations(range(count)),
        st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=count, max_size=count),
    )
)
RECORDS = st.lists(RECORD, max_size=6)
KINDS = st.tuples(st.booleans(), st.booleans())  # whether there are places, and salience


def bounds_of(records: list, kinds: tuple[bool, bool]) -> TokenBounds:
    """Records as the class under test has them."""
    placed, weighed = kinds
    places = [place for record in records for place in record[0]]
    salience = [weight for record in records for weight in record[1]]
    return TokenBounds(
        offsets=np.cumsum([0, *(len(record[0]) for record in records)]).astype(np.uint64),
        places=np.array(places, dtype=np.uint16) if placed else None,
        salience=np.array(salience, dtype=np.float16) if weighed else None,
    )


def lists_of(bounds: TokenBounds) -> list:
    """The other way: lengths, places and salience of each record."""
    ends = bounds.offsets.astype(int).tolist()
    places, salience = bounds.all_places().tolist(), bounds.all_salience().tolist()
    spans = [slice(*pair) for pair in pairwise(ends)]
    return [(places[span], salience[span]) for span in spans]


def expected(records: list, kinds: tuple[bool, bool]) -> list:
    """What `lists_of` gives for records; places are as they come, salience 0 where left out."""
    return [
        (
            list(places) if kinds[0] else list(range(len(places))),
            salience if kinds[1] else [0.0] * len(salience),
        )
        for places, salience in records
    ]


@given(records=RECORDS, kinds=KINDS, data=st.data())
def test_some_records(records: list, kinds: tuple[bool, bool], data: st.DataObject) -> None:
    """Some records, in any order and again, have the tokens that they had among all."""
    bounds = bounds_of(records, kinds)
    assert lists_of(bounds) == expected(records, kinds)
    assert len(bounds) == len(records)
    picks = st.lists(st.integers(0, len(records) - 1), max_size=8) if records else st.just([])
    picked = data.draw(picks)
    numbers = np.array(picked, dtype=np.int64)
    assert lists_of(bounds.take(numbers)) == [expected(records, kinds)[pick] for pick in picked]
    every = [list(range(*map(int, pair))) for pair in pairwise(bounds.offsets)]
    rows = [token for pick in picked for token in every[pick]]
    assert bounds.rows(numbers).tolist() == rows
    assert bounds.count_of(numbers) == bounds.take(numbers).count == len(rows)
    assert bounds.lengths(numbers).tolist() == [len(every[pick]) for pick in picked]
    owners = owners_of(bounds, list(range(len(records))))
    assert [owners[token] for token in range(len(owners))] == [
        number for number, tokens in enumerate(every) for _ in tokens
    ]


@given(parts=st.lists(st.tuples(RECORDS, KINDS), min_size=1, max_size=4))
def test_end_to_end(parts: list) -> None:
    """Parts with and without places and salience are one after the other, as they were."""
    whole = TokenBounds.concat([bounds_of(*part) for part in parts])
    assert lists_of(whole) == [record for part in parts for record in expected(*part)]


@given(records=RECORDS, kinds=KINDS)
def test_order_given(records: list, kinds: tuple[bool, bool]) -> None:
    """In the order in which they were given, the places of each record ascend."""
    bounds = bounds_of(records, kinds)
    order = bounds.as_given()
    assert (order is None) == (not kinds[0])
    if order is not None:
        ordered = replace(bounds, places=bounds.all_places()[order])
        assert [places for places, _ in lists_of(ordered)] == [
            list(range(len(places))) for places, _ in records
        ]


@given(records=RECORDS, kinds=KINDS)
def test_stored(records: list, kinds: tuple[bool, bool]) -> None:
    """What was stored comes back, with no array that was not there."""
    bounds = bounds_of(records, kinds)
    arrays = unpack_arrays(pack_arrays(bounds.to_arrays("x/")))
    assert len(arrays) == 1 + sum(kinds)
    found = TokenBounds.from_arrays(arrays, "x/")
    assert lists_of(found) == lists_of(bounds)
    assert (found.places is None, found.salience is None) == (not kinds[0], not kinds[1])


SETS = st.lists(st.none() | RECORD, max_size=6)


def given_back(found: FieldVectors, count: int) -> list:
    """The vectors of each of `count` rows as they were given, None for those without."""
    assert found.tokens is not None
    order = found.tokens.as_given()
    values = found.values if order is None else found.values[order]
    sets = np.split(values, found.tokens.offsets[1:-1].astype(np.int64))[: len(found)]
    rows = range(count) if found.rows is None else found.rows.tolist()
    owned = dict(zip(rows, sets, strict=True))
    return [owned[row].tolist() if row in owned else None for row in range(count)]


@given(sets=SETS, weighed=st.booleans())
def test_sets_of_vectors(sets: list, weighed: bool) -> None:
    """Lists of arrays and tokens end to end say the same; what counts most comes first."""
    rng = np.random.default_rng(len(sets))
    arrays = [
        None if record is None else rng.integers(-9, 9, (len(record[0]), DIM)) for record in sets
    ]
    ids = [f"id {row}" for row in range(len(sets))]
    vectors = np.concatenate([np.empty((0, DIM)), *(item for item in arrays if item is not None)])
    offsets = np.cumsum([0, *(0 if item is None else len(item) for item in arrays)])
    weights = [weight for record in sets if record is not None for weight in record[1]]
    tokens = Tokens(vectors, offsets, weights if weighed else None)
    wanted = [None if item is None else item.tolist() for item in arrays]
    listed, ended = (to_tokens(FIELD, item, ids, FLOAT32) for item in (arrays, tokens))
    assert given_back(listed, len(sets)) == given_back(ended, len(sets)) == wanted
    assert ended.tokens is not None
    assert (ended.tokens.salience is None) == (not weighed)
    for _, salience in lists_of(ended.tokens) if weighed else ():
        assert salience == sorted(salience, reverse=True)
    half = np.arange(0, len(sets), 2)
    assert given_back(ended.take(half), len(half)) == wanted[::2]
    both = FieldVectors.concat([listed, ended], [len(sets)] * 2)
    assert given_back(both, 2 * len(sets)) == wanted * 2
