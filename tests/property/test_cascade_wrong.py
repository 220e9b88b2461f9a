"""What a cascade of the kernels refuses, before anything is read."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from vecstore.kernels import _kernels


def test_no_query_and_numbers_beyond_memory_are_refused() -> None:
    """A cascade wants a query, and so many candidates and probes as there can be rows."""
    values, none = np.zeros((100, 8), np.float32), np.zeros((0, 8), np.float32)
    asked = _kernels.flat(values, none, False)
    empty = _kernels.Reading(asked, None, None)
    offsets, order = np.array([0, 100], np.uint64), np.arange(100, dtype=np.uint32)
    lists = _kernels.Listed(empty, offsets, order)
    target = _kernels.Target(empty, None, 100, None, lists)
    with pytest.raises(ValueError, match="expected a query"):
        _kernels.cascade([target], _kernels.Plan(5, 0, 0, 0, 0, 1), [asked], [None], None)
    scorer = _kernels.flat(values, values[:1], False)
    for wrong in (2**32, 2**62, 2**63 - 1):
        for call in (
            partial(_kernels.Plan, wrong, 0, 0, 0, 0),
            partial(_kernels.Plan, 5, 0, 0, 0, 0, wrong),
            partial(scorer.scan, 0, 100, None, wrong),
            partial(scorer.scan_lists, offsets, order, np.zeros((1, 1), np.int64), None, wrong),
        ):
            with pytest.raises(ValueError, match="expected"):
                call()
    assert len(scorer.scan(0, 100, None, 2**32 - 1)[0][0]) == 100


def test_wrong_arguments_of_a_cascade_are_refused() -> None:
    """Shapes, rows and numbers that do not fit each other raise before anything is read."""
    flat = _kernels.flat(np.zeros((100, 8), np.float32), np.zeros((2, 8), np.float32), False)
    fewer = _kernels.flat(np.zeros((99, 8), np.float32), np.zeros((2, 8), np.float32), False)
    one = _kernels.flat(np.zeros((100, 8), np.float32), np.zeros((1, 8), np.float32), False)
    affine = _kernels.octets(
        np.zeros((100, 8), np.uint8), np.zeros((2, 2, 8), np.int8), np.zeros((2, 4)), None, None
    )
    error = np.zeros(100, np.uint16)
    reading, plain = _kernels.Reading(affine, 3, error), _kernels.Reading(one, None, None)
    target = _kernels.Target(reading, None, 100, None)
    both = _kernels.Target(reading, plain, 100, None, None, (0, 1))
    plan, rescoring = _kernels.Plan(5, 0, 0, 0, 0.5), _kernels.Plan(5, 5, 5, 0, 0.5)
    rows, scores = np.arange(3), np.zeros(3, np.float32)

    def run(
        targets: Any = (target,), scanned: Any = None, asked: Any = (affine,), touches: Any = None
    ) -> object:
        touches = [None] * len(targets) if touches is None else touches
        return _kernels.cascade(list(targets), plan, list(asked), touches, scanned)

    for wrong in (
        lambda: _kernels.Reading(affine, 3, error[:99]),
        lambda: _kernels.Reading(affine, None, error),
        lambda: _kernels.Target(reading, _kernels.Reading(fewer, None, None), 100, None),
        lambda: _kernels.Target(reading, None, 100, np.zeros(1, np.uint64)),
        lambda: _kernels.Target(reading, None, 101, None),
        lambda: _kernels.Target(reading, None, -1, None),
        lambda: _kernels.Target(reading, None, 100, None, None, (-1, 0)),
        lambda: _kernels.Target(reading.at(error[:99].astype(np.uint32)), None, 100, None),
        lambda: reading.at(np.zeros(101, np.uint32)),
        lambda: _kernels.Plan(0, 0, 0, 0, 0.5),
        lambda: _kernels.Plan(5, 6, 9, 0, 0.5),
        lambda: _kernels.Plan(5, 5, 4, 0, 0.5),
        lambda: _kernels.Plan(5, -1, 4, 0, 0.5),
        lambda: run([]),
        lambda: run([None]),
        lambda: run([target, 5]),
        lambda: run([both]),
        lambda: run(asked=[]),
        lambda: run(asked=[5]),
        lambda: run(asked=[flat]),
        lambda: run([_kernels.Target(reading, None, 100, None, None, (1, 0))]),
        lambda: run(touches=[]),
        lambda: _kernels.cascade([target], rescoring, [affine], [None], None),
        lambda: _kernels.cascade([both], rescoring, [affine, one], [None], None),
        lambda: run(scanned=[(1, [(rows, scores)] * 2)]),
        lambda: run(scanned=[(0, [(rows, scores)])]),
        lambda: run(scanned=[(0, [(rows, scores[:2])] * 2)]),
        lambda: run(scanned=[(0, [(rows + 98, scores)] * 2)]),
        lambda: run(scanned=[(0, [(rows - 1, scores)] * 2)]),
    ):
        with pytest.raises(ValueError, match="expected"):
            wrong()
    with pytest.raises(TypeError):
        _kernels.Reading("scorer", None, None)  # type: ignore[arg-type]


def octets(width: int, queries: int = 1) -> _kernels.Scorer:
    digits = np.zeros((queries, 2, width), np.int8)
    factors = np.zeros((queries, 4))
    return _kernels.octets(np.zeros((16, width), np.uint8), digits, factors, None, None)


def scorers(width: int) -> list[_kernels.Scorer]:
    """One of each kind, with 16 rows and codes, or values, of that many bytes."""
    factors, rows = np.zeros((1, 4)), np.zeros((16, width), np.uint8)
    ones, table = np.zeros(1, np.float32), np.zeros(8 * width + 1, np.float32)
    floats = np.zeros((16, width), np.float32)
    return [
        _kernels.flat(floats, floats[:1], False),
        _kernels.packed(
            np.zeros((1, width, 16), np.uint8),
            np.zeros((1, 2 * width, 16), np.uint8),
            factors,
            None,
            None,
        ),
        octets(width),
        _kernels.nibbles(rows, np.zeros((1, 2, width), np.int8), factors, None, None),
        _kernels.looked_up(
            np.zeros((1, width, 64), np.uint8),
            np.zeros((1, width, 256), np.uint8),
            factors,
            None,
            None,
        ),
        _kernels.signs(rows, rows[:1], ones, table, None, False),
        _kernels.total([octets(8)] * (width // 8), [None] * (width // 8), None, None),
    ]


def test_queries_of_another_codec_are_refused() -> None:
    """Rows are joined only with queries of their kind, whose tables or values are as long."""
    plan = _kernels.Plan(5, 0, 0, 0, 0.5)
    for place, scorer in enumerate(scorers(8)):
        target = _kernels.Target(_kernels.Reading(scorer, None, None), None, 16, None)
        for other, asked in enumerate((*scorers(8), *scorers(16))):
            if other == place:
                assert len(_kernels.cascade([target], plan, [asked], [None], None)[1]) == 5
                continue
            with pytest.raises(ValueError, match="expected"):
                _kernels.cascade([target], plan, [asked], [None], None)


def test_lengths_of_queries_are_wanted_where_rows_have_them() -> None:
    """A total of squared distances is refused queries without their squared lengths."""
    norm = np.zeros(16, np.float32)
    rows = _kernels.total([octets(8)], [None], norm, norm[:1])
    target = _kernels.Target(_kernels.Reading(rows, None, None), None, 16, None)
    asked = _kernels.total([octets(8)], [None], None, None)
    with pytest.raises(ValueError, match="lengths"):
        _kernels.cascade([target], _kernels.Plan(5, 0, 0, 0, 0.5), [asked], [None], None)
