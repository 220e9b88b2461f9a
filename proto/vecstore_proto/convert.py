"""Values to messages and back: one pair of functions for each value, side by side.

`x_to_wire` makes the message that `x_from_wire` reads. A reader trusts nothing that a client could
have sent: it raises the errors of vecstore, as the embedded database does for the same value.
Arrays are in `tensors`, the answers to queries in `results`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple, cast, get_args

import msgspec
import numpy as np

from vecstore import options
from vecstore.errors import IdError, PayloadError, RequestError, SchemaError
from vecstore.reports import CollectionStats, Job, RepresentationStats
from vecstore.request import Cascade, MaxSim, Probe, Rescore, Scan
from vecstore.schema import Column, MultiVector, Schema, Vector
from vecstore.tokens import Tokens
from vecstore.types import ColumnType, Id, Metric, Payload
from vecstore_proto.recalls import recall_from_wire, recall_to_wire
from vecstore_proto.tensors import Vectors, field_vectors_from_wire, token_sets
from vecstore_proto.v1 import collection_pb2, common_pb2, plan_pb2

_METRICS: dict[Metric, Any] = {
    "cosine": common_pb2.METRIC_COSINE,
    "dot": common_pb2.METRIC_DOT,
    "l2": common_pb2.METRIC_L2,
}
_METRIC_NAMES = {code: name for name, code in _METRICS.items()}


def _column_code(name: str) -> Any:
    """COLUMN_TYPE_LIST_INT for "list[int]"."""
    words = name.upper().replace("[", "_").replace("]", "")
    return common_pb2.ColumnType.Value(f"COLUMN_TYPE_{words}")


_COLUMNS: dict[ColumnType, Any] = {name: _column_code(name) for name in get_args(ColumnType)}
_COLUMN_NAMES = {code: name for name, code in _COLUMNS.items()}


class Batch(NamedTuple):
    """The arguments of `Collection.upsert`; payloads are JSON, or None where there is none."""

    ids: list[Id]
    vectors: Vectors
    payloads: list[bytes | None] | None
    ttl_s: list[float | None] | None


def schema_to_wire(schema: Schema) -> common_pb2.Schema:
    """A schema as a message."""
    return common_pb2.Schema(
        vectors=[
            common_pb2.VectorField(
                name=vector.name,
                dim=vector.dim,
                metric=metric_to_wire(vector.metric),
                representations=vector.representations,
                multi=_multi_to_wire(vector),
            )
            for vector in schema.vectors
        ],
        columns=[
            common_pb2.Column(name=column.name, type=_COLUMNS[column.type])
            for column in schema.columns
        ],
        ttl_s=schema.ttl_s,
    )


def schema_from_wire(message: common_pb2.Schema) -> Schema:
    """The inverse, or SchemaError."""
    return Schema(
        vectors=tuple(map(_vector_from_wire, message.vectors)),
        columns=tuple(
            Column(name=column.name, type=_named("type of column", _COLUMN_NAMES, column.type))
            for column in message.columns
        ),
        ttl_s=message.ttl_s if message.HasField("ttl_s") else None,
    )


def _multi_to_wire(vector: Vector) -> common_pb2.MultiVector | None:
    if not isinstance(vector, MultiVector):
        return None
    return common_pb2.MultiVector(pruning=vector.pruning, pooling=vector.pooling)


def _vector_from_wire(message: common_pb2.VectorField) -> Vector:
    metric, ladder = metric_from_wire(message.metric), tuple(message.representations)
    if not message.HasField("multi"):
        return Vector(message.name, message.dim, metric, ladder)
    multi = message.multi
    return MultiVector(message.name, message.dim, metric, ladder, multi.pruning, multi.pooling)


def metric_to_wire(metric: Metric) -> Any:
    """The code of a metric."""
    return _METRICS[metric]


def metric_from_wire(code: Any) -> Metric:
    """The inverse, or SchemaError."""
    return cast(Metric, _named("metric", _METRIC_NAMES, code))


def _named(what: str, names: dict[Any, Any], code: Any) -> Any:
    if code not in names:
        raise SchemaError(f"{what} is {code} on the wire, expected one of {sorted(names)}")
    return names[code]


def ids_to_wire(ids: Iterable[Id]) -> common_pb2.Ids:
    """Ids as a message, packed where all are of one kind, or IdError for anything else."""
    items: list[Any] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    kinds = set(map(type, items))
    if not kinds <= {int, str}:
        items = [_plain(item) for item in items]
        kinds = set(map(type, items))
    try:
        if kinds <= {int}:
            return common_pb2.Ids(numbers=common_pb2.NumberIds(values=items))
        if kinds == {str}:
            return common_pb2.Ids(texts=common_pb2.TextIds(values=items))
        if kinds == {int, str}:
            mixed = [
                common_pb2.Id(text=item) if isinstance(item, str) else common_pb2.Id(number=item)
                for item in items
            ]
            return common_pb2.Ids(mixed=common_pb2.MixedIds(values=mixed))
    except (ValueError, UnicodeError):
        pass
    raise IdError("an id is neither an int of 64 bits nor a str of 1 to 255 bytes of UTF-8")


def _plain(item: Any) -> Any:
    """A NumPy scalar, or an instance of a subclass of int or str, as int or str."""
    if isinstance(item, np.generic):
        return item.item()
    if isinstance(item, str):
        return str.__str__(item)
    return int(item) if isinstance(item, int) and not isinstance(item, bool) else item


def ids_from_wire(message: common_pb2.Ids) -> list[Id]:
    """The inverse, or IdError where an id is neither a number nor a text."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return []
    if kind != "mixed":
        return list(getattr(message, kind).values)
    return [_id_from_wire(item) for item in message.mixed.values]


def check_get_count(ids: Sized) -> None:
    """Raise RequestError where one get has too many ids."""
    if len(ids) > options.GET_IDS_MAX:
        raise RequestError(f"get has {len(ids):,} ids, expected at most {options.GET_IDS_MAX:,}")


def _id_from_wire(message: common_pb2.Id) -> Id:
    kind = message.WhichOneof("id")
    if kind is None:
        raise IdError("an id is not set, expected a number or a text")
    return cast(Id, getattr(message, kind))


_encode_json = msgspec.json.Encoder().encode


def payloads_to_wire(payloads: Iterable[Payload | bytes | None]) -> list[bytes]:
    """Payloads as JSON, or PayloadError; None as no bytes; what is JSON already stays as it is."""
    try:
        return [
            b"" if item is None else item if isinstance(item, bytes) else _encode_json(item)
            for item in payloads
        ]
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PayloadError(f"a payload cannot be written as JSON: {error}") from None


def payloads_from_wire(payloads: Iterable[bytes]) -> list[Payload]:
    """The inverse, for payloads that a database has stored; no bytes as an empty object."""
    return [msgspec.json.decode(item) if item else {} for item in payloads]


def batch_from_wire(parts: Iterable[common_pb2.Records]) -> Iterator[Batch]:
    """The batch of each part; see `vectors_from_wire` for the errors."""
    for records in parts:
        ids = ids_from_wire(records.ids)
        payloads = None
        if records.HasField("payloads"):
            payloads = [text or None for text in records.payloads.json]
        ttl_s = [seconds or None for seconds in records.ttl_s] or None
        yield Batch(ids, vectors_from_wire(records.vectors, len(ids)), payloads, ttl_s)


def vectors_from_wire(fields: Sequence[common_pb2.FieldVectors], count: int) -> Vectors:
    """Vectors of `count` records or queries, as the facades take them.

    Returns:
        A mapping of field -> array or list, a bare array where no field was named, or None
        where there are no vectors.

    Raises:
        VectorError: bytes that do not fit their shape and type.
        RequestError: a field that comes twice, or rows out of order.
    """
    if len(fields) == 1 and not fields[0].HasField("field"):
        return field_vectors_from_wire(fields[0], count)
    found = {field.field: field_vectors_from_wire(field, count) for field in fields}
    if len(found) != len(fields) or not all(field.HasField("field") for field in fields):
        raise RequestError("vectors are given twice for one field, expected each field once")
    return found or None


def queries_from_wire(fields: Sequence[common_pb2.FieldVectors]) -> Vectors:
    """Queries as `search` and `search_batch` take them; errors as in `vectors_from_wire`."""
    if not fields:
        raise RequestError("the request holds no query vector")
    counts = {len(field.tokens.lengths) for field in fields if field.HasField("tokens")}
    if len(counts) > 1:
        raise RequestError(f"fields have {sorted(counts)} queries, expected as many for each")
    found = vectors_from_wire(fields, counts.pop() if counts else len(fields))
    if isinstance(found, dict):
        return {name: _sets(given) for name, given in found.items()}
    return _sets(found)


def _sets(given: Any) -> Any:
    return token_sets(given) if isinstance(given, Tokens) else given


def plan_to_wire(plan: Cascade) -> plan_pb2.Cascade:
    """A plan as a message."""
    stages = []
    for stage in plan.stages:
        if isinstance(stage, MaxSim):
            stages.append(plan_pb2.Stage(maxsim=_maxsim_to_wire(stage)))
            continue
        values: dict[str, Any] = {"representation": stage.representation, "keep": stage.keep}
        if isinstance(stage, Scan):
            stages.append(plan_pb2.Stage(scan=plan_pb2.Scan(**values)))
        elif isinstance(stage, Probe):
            probe = plan_pb2.Probe(nprobe=stage.nprobe, **values)
            stages.append(plan_pb2.Stage(probe=probe))
        else:
            stages.append(plan_pb2.Stage(rescore=plan_pb2.Rescore(**values)))
    return plan_pb2.Cascade(stages=stages)


def _maxsim_to_wire(stage: MaxSim) -> plan_pb2.MaxSim:
    return plan_pb2.MaxSim(
        field=stage.field,
        keep=stage.keep,
        representation=stage.representation,
        token_budget=stage.token_budget,
        nprobe=stage.nprobe,
    )


def _maxsim_from_wire(message: plan_pb2.MaxSim) -> MaxSim:
    return MaxSim(
        message.field,
        message.keep,
        message.representation if message.HasField("representation") else None,
        message.token_budget if message.HasField("token_budget") else None,
        message.nprobe if message.HasField("nprobe") else None,
    )


def plan_from_wire(message: plan_pb2.Cascade) -> Cascade:
    """The inverse, or RequestError."""
    stages: list[Scan | Probe | Rescore | MaxSim] = []
    for stage in message.stages:
        kind = stage.WhichOneof("stage")
        if kind is None:
            raise RequestError(
                "a stage of the plan is not set, expected a scan, a probe, a rescore or a maxsim"
            )
        value = getattr(stage, kind)
        if kind == "maxsim":
            stages.append(_maxsim_from_wire(value))
            continue
        if kind == "probe":
            stages.append(Probe(value.representation, value.nprobe, value.keep))
            continue
        make = Scan if kind == "scan" else Rescore
        stages.append(make(representation=value.representation, keep=value.keep))
    return Cascade(tuple(stages))


_STATS = ("records", "buffered", "deleted", "segments", "disk_bytes", "buffer_bytes")
_JOB = ("id", "kind", "collection", "state", "done", "total", "message")
_REPRESENTATION_STATS = (
    "field",
    "spec",
    "vectors",
    "bytes_total",
    "bytes_per_vector",
    "compression",
    "usage_bits_min",
    "usage_bits_mean",
)


def stats_to_wire(stats: CollectionStats) -> collection_pb2.GetStatsResponse:
    """What a collection costs, as a message."""
    return collection_pb2.GetStatsResponse(
        representations=[
            collection_pb2.RepresentationStats(
                **{name: getattr(item, name) for name in _REPRESENTATION_STATS}
            )
            for item in stats.representations
        ],
        quarantined=stats.quarantined,
        jobs=map(job_to_wire, stats.jobs),
        recalls=map(recall_to_wire, stats.recalls),
        **{name: getattr(stats, name) for name in _STATS},
    )


def stats_from_wire(message: collection_pb2.GetStatsResponse) -> CollectionStats:
    """The inverse."""
    return CollectionStats(
        representations=tuple(
            RepresentationStats(**{name: getattr(item, name) for name in _REPRESENTATION_STATS})
            for item in message.representations
        ),
        quarantined=tuple(message.quarantined),
        jobs=tuple(map(job_from_wire, message.jobs)),
        recalls=tuple(map(recall_from_wire, message.recalls)),
        **{name: getattr(message, name) for name in _STATS},
    )


def job_to_wire(job: Job) -> common_pb2.Job:
    """Background work as a message."""
    return common_pb2.Job(**{name: getattr(job, name) for name in _JOB})


def job_from_wire(message: common_pb2.Job) -> Job:
    """The inverse."""
    return Job(**{name: getattr(message, name) for name in _JOB})
