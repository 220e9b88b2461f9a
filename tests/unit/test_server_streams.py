"""Batches that come in parts hold no more of a server than a batch may, whatever the parts are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

import vecstore as vs
from tests.unit.fake_database import Starter
from tests.unit.test_server import _part, _stream
from vecstore_proto.tensors import tensor_to_wire
from vecstore_proto.v1 import collection_pb2, collection_pb2_grpc
from vecstore_server import receiving


def tokens(ids: list[int], vectors: Any, lengths: list[int], salience: Any) -> Any:
    """A part with vectors of a multivector field."""
    part = _part(ids)
    field = part.records.vectors.add(field="v")
    tensor_to_wire(np.asarray(vectors, dtype=np.float32), field.vectors)
    field.tokens.lengths.extend(lengths)
    if salience is not None:
        tensor_to_wire(np.asarray(salience, dtype=np.float32), field.tokens.salience)
    return part


def nothing() -> Any:
    """A part without records."""
    return _part([])


def seconds() -> Any:
    """A part of more times to live than records."""
    part = _part([1])
    part.records.ttl_s.extend([1.0] * 5)
    return part


def payloads() -> Any:
    """A part of more payloads than records, all of them empty."""
    part = _part([1])
    part.records.payloads.json.extend([b""] * 5)
    return part


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (nothing, "no records"),
        (seconds, "more than 4 records"),
        (payloads, "more than 4 records"),
        (lambda: tokens([1], [[1]], [1], [1, 2, 3, 4, 5]), "expected (1,): a number for each"),
        (lambda: tokens([1], [[1]], [1], 3), "has shape (), expected (1,)"),
        (lambda: tokens([1], [[1]], [1], [[3]]), "has shape (1, 1), expected (1,)"),
        (lambda: tokens([1], 3, [1], None), "have shape (), expected [T, D]"),
        (lambda: tokens([1], [3], [1], None), "have shape (1,), expected [T, D]"),
    ],
)
def test_hostile_parts_are_refused(
    start: Starter, monkeypatch: pytest.MonkeyPatch, made: Callable[[], Any], words: str
) -> None:
    """As bad requests, before a part more is taken in."""
    monkeypatch.setattr(vs.options, "BATCH_ROWS_MAX", 4)
    database, server = start()
    with grpc.insecure_channel(server.address) as plain:
        stub: Any = collection_pb2_grpc.CollectionServiceStub(plain)
        with pytest.raises(grpc.RpcError) as failed:
            stub.UpsertStream(iter([_part([1], v=[[1]]), made()]), timeout=10)
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert words in failed.value.details()  # type: ignore[attr-defined]
    assert database.fake.calls == []


def test_salience_counts_among_the_bytes(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a batch may have is of vectors and salience together."""
    monkeypatch.setattr(vs.options, "BATCH_BYTES_MAX", 40)
    _, server = start()
    parts = [tokens([row], [[1], [1]], [2], [1, 2]) for row in range(3)]
    assert "more than 40 bytes of vectors" in _stream(server, iter(parts))


def test_an_upload_that_drips_is_cancelled(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """However regularly its parts come, a stream as a whole has an end."""
    monkeypatch.setattr(receiving, "STREAM_TIMEOUT_S", 0.5)
    _, server = start()

    def drips() -> Iterator[collection_pb2.UpsertStreamRequest]:
        for row in range(100):
            time.sleep(0.1)
            yield _part([row], v=[[1]])

    begun = time.monotonic()
    assert "CANCELLED" in _stream(server, drips())
    assert time.monotonic() - begun < 5
