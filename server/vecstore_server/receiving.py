"""A batch that comes as a stream of parts, joined before any of it is written."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vecstore import options
from vecstore.errors import RequestError
from vecstore.tokens import Tokens
from vecstore.types import Codes
from vecstore_proto.convert import Batch, batch_from_wire
from vecstore_proto.v1 import collection_pb2 as pb
from vecstore_proto.v1 import common_pb2

PART_TIMEOUT_S = 30.0
"""A stream whose next part takes longer is cancelled, so that a silent client holds no thread."""
STREAM_TIMEOUT_S = 900.0
"""Likewise one that takes longer as a whole, however often some of it comes."""


def receive(
    requests: Iterator[pb.UpsertStreamRequest], context: Any
) -> tuple[pb.UpsertStreamRequest, Batch]:
    """The first part of a stream, and all parts joined to one batch.

    A stream that broke may look like one that ended, so that the last part has to say so.
    """
    first: pb.UpsertStreamRequest | None = None
    complete = False
    parts: list[Batch] = []
    rows = size = payloads = 0
    for request in _in_time(requests, context):
        first = first or request
        complete = request.last
        part = next(batch_from_wire([request.records]))
        if parts and not part.ids:
            raise RequestError("a part of the stream has no records, expected some in each")
        parts.append(part)
        rows += max(len(each or ()) for each in (part.ids, part.payloads, part.ttl_s))
        size += sum(map(_bytes, request.records.vectors))
        payloads += sum(map(len, request.records.payloads.json))
        _check_size(rows, size, payloads)
    if first is None or not complete:
        raise RequestError(f"the stream ended after {len(parts)} parts, before its last one")
    return first, _joined(parts)


def _bytes(field: common_pb2.FieldVectors) -> int:
    """The bytes of codes, or of vectors and salience as float32."""
    item = 1 if field.HasField("made_by") else 4
    shapes = [field.vectors.shape]
    if field.tokens.HasField("salience"):
        shapes.append(field.tokens.salience.shape)
    return item * sum(int(math.prod(shape)) for shape in shapes)


def _check_size(rows: int, vector_bytes: int, payload_bytes: int) -> None:
    """Refuse more than one batch may have, as soon as it has come."""
    for got, most, what in (
        (rows, options.BATCH_ROWS_MAX, "records"),
        (vector_bytes, options.BATCH_BYTES_MAX, "bytes of vectors"),
        (payload_bytes, options.BATCH_BYTES_MAX, "bytes of payloads"),
    ):
        if got > most:
            raise RequestError(
                f"batch has more than {most:,} {what}, expected at most that; "
                "write it as several batches"
            )


def _in_time(
    requests: Iterator[pb.UpsertStreamRequest], context: Any
) -> Iterator[pb.UpsertStreamRequest]:
    """The parts of a stream, which is cancelled where they do not come in time."""
    end = time.monotonic() + STREAM_TIMEOUT_S
    while True:
        left = min(PART_TIMEOUT_S, max(0.0, end - time.monotonic()))
        timer = threading.Timer(left, context.cancel)
        timer.daemon = True
        timer.start()
        try:
            part = next(requests, None)
        finally:
            timer.cancel()
        if part is None:
            return
        yield part


def _joined(parts: Sequence[Batch]) -> Batch:
    names = {
        (
            part.payloads is None,
            part.ttl_s is None,
            tuple(part.vectors) if isinstance(part.vectors, dict) else "",
        )
        for part in parts
    }
    if len(names) != 1:
        raise RequestError("parts of the stream differ in their fields, expected the same in each")
    vectors = [part.vectors for part in parts]
    joined: Any
    if isinstance(vectors[0], dict):
        joined = {field: _end_to_end([part[field] for part in vectors]) for field in vectors[0]}
    else:
        joined = None if vectors[0] is None else _end_to_end(vectors)
    return Batch(
        ids=[id_ for part in parts for id_ in part.ids],
        vectors=joined,
        payloads=None
        if parts[0].payloads is None
        else [payload for part in parts for payload in part.payloads or ()],
        ttl_s=None
        if parts[0].ttl_s is None
        else [seconds for part in parts for seconds in part.ttl_s or ()],
    )


def _end_to_end(values: Sequence[Any]) -> Any:
    """Vectors of one field, part after part: an array, or a list where some are None."""
    if any(isinstance(value, Codes) for value in values):
        return _codes_end_to_end(values)
    if any(isinstance(value, Tokens) for value in values):
        return _tokens_end_to_end(values)
    if any(isinstance(value, list) for value in values):
        return [vector for value in values for vector in value]
    shapes = {value.shape[1:] for value in values}
    if len(shapes) != 1 or len({value.dtype for value in values}) != 1:
        raise RequestError(f"parts of the stream have vectors of shapes {shapes}, expected one")
    return np.concatenate(values)


def _tokens_end_to_end(values: Sequence[Any]) -> Tokens:
    forms = {
        (value.vectors.shape[1:], value.vectors.dtype, value.salience is None)
        if isinstance(value, Tokens)
        else ()
        for value in values
    }
    if len(forms) != 1:
        raise RequestError("parts of the stream have tokens of different forms, expected one")
    lengths = np.concatenate([np.diff(value.offsets) for value in values])
    salience = [value.salience for value in values if value.salience is not None]
    return Tokens(
        np.concatenate([value.vectors for value in values]),
        np.concatenate(([0], np.cumsum(lengths))),
        np.concatenate(salience) if salience else None,
    )


def _codes_end_to_end(values: Sequence[Any]) -> Codes:
    forms = {
        (value.spec, value.fingerprint, value.codes.shape[1]) if isinstance(value, Codes) else ()
        for value in values
    }
    if len(forms) != 1:
        raise RequestError("parts of the stream have codes of different codecs, expected one")
    return Codes(
        values[0].spec, values[0].fingerprint, np.concatenate([value.codes for value in values])
    )
