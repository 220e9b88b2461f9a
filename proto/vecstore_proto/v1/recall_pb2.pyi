from vecstore_proto.v1 import common_pb2 as _common_pb2
from vecstore_proto.v1 import database_pb2 as _database_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MeasureRecallRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "vectors", "field", "limit", "where")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    vectors: _containers.RepeatedCompositeFieldContainer[_common_pb2.FieldVectors]
    field: str
    limit: int
    where: str
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., vectors: _Optional[_Iterable[_Union[_common_pb2.FieldVectors, _Mapping]]] = ..., field: _Optional[str] = ..., limit: _Optional[int] = ..., where: _Optional[str] = ...) -> None: ...

class MeasureRecallResponse(_message.Message):
    __slots__ = ("progress", "report")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    progress: _database_pb2.Progress
    report: Recall
    def __init__(self, progress: _Optional[_Union[_database_pb2.Progress, _Mapping]] = ..., report: _Optional[_Union[Recall, _Mapping]] = ...) -> None: ...

class Recall(_message.Message):
    __slots__ = ("field", "limit", "where", "live", "queries", "overlap", "overlap_low", "overlap_high", "overlap_worst", "milliseconds", "exact_milliseconds", "records", "measured_at_us", "stale", "representation")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_LOW_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_HIGH_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_WORST_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    EXACT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_AT_US_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
    field: str
    limit: int
    where: str
    live: bool
    queries: int
    overlap: float
    overlap_low: float
    overlap_high: float
    overlap_worst: float
    milliseconds: float
    exact_milliseconds: float
    records: int
    measured_at_us: int
    stale: bool
    representation: str
    def __init__(self, field: _Optional[str] = ..., limit: _Optional[int] = ..., where: _Optional[str] = ..., live: bool = ..., queries: _Optional[int] = ..., overlap: _Optional[float] = ..., overlap_low: _Optional[float] = ..., overlap_high: _Optional[float] = ..., overlap_worst: _Optional[float] = ..., milliseconds: _Optional[float] = ..., exact_milliseconds: _Optional[float] = ..., records: _Optional[int] = ..., measured_at_us: _Optional[int] = ..., stale: bool = ..., representation: _Optional[str] = ...) -> None: ...
