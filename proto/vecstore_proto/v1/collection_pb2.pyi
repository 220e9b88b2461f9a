from vecstore_proto.v1 import codec_pb2 as _codec_pb2
from vecstore_proto.v1 import common_pb2 as _common_pb2
from vecstore_proto.v1 import plan_pb2 as _plan_pb2
from vecstore_proto.v1 import recall_pb2 as _recall_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UpsertRequest(_message.Message):
    __slots__ = ("collection", "records", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    records: _common_pb2.Records
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., records: _Optional[_Union[_common_pb2.Records, _Mapping]] = ..., collection_id: _Optional[int] = ...) -> None: ...

class UpsertResponse(_message.Message):
    __slots__ = ("written",)
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    written: int
    def __init__(self, written: _Optional[int] = ...) -> None: ...

class UpsertStreamRequest(_message.Message):
    __slots__ = ("collection", "records", "last", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    records: _common_pb2.Records
    last: bool
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., records: _Optional[_Union[_common_pb2.Records, _Mapping]] = ..., last: bool = ..., collection_id: _Optional[int] = ...) -> None: ...

class UpsertStreamResponse(_message.Message):
    __slots__ = ("written",)
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    written: int
    def __init__(self, written: _Optional[int] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("collection", "ids", "where", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: _common_pb2.Ids
    where: str
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Union[_common_pb2.Ids, _Mapping]] = ..., where: _Optional[str] = ..., collection_id: _Optional[int] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("collection", "ids", "with_vectors", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: _common_pb2.Ids
    with_vectors: bool
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Union[_common_pb2.Ids, _Mapping]] = ..., with_vectors: bool = ..., collection_id: _Optional[int] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("records", "positions")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    records: _common_pb2.Records
    positions: _common_pb2.RowNumbers
    def __init__(self, records: _Optional[_Union[_common_pb2.Records, _Mapping]] = ..., positions: _Optional[_Union[_common_pb2.RowNumbers, _Mapping]] = ...) -> None: ...

class GetStreamRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: GetRequest
    def __init__(self, request: _Optional[_Union[GetRequest, _Mapping]] = ...) -> None: ...

class GetStreamResponse(_message.Message):
    __slots__ = ("part",)
    PART_FIELD_NUMBER: _ClassVar[int]
    part: GetResponse
    def __init__(self, part: _Optional[_Union[GetResponse, _Mapping]] = ...) -> None: ...

class ScrollRequest(_message.Message):
    __slots__ = ("collection", "after", "limit", "where", "with_vectors", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    after: int
    limit: int
    where: str
    with_vectors: bool
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., after: _Optional[int] = ..., limit: _Optional[int] = ..., where: _Optional[str] = ..., with_vectors: bool = ..., collection_id: _Optional[int] = ...) -> None: ...

class ScrollResponse(_message.Message):
    __slots__ = ("records", "next")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    records: _common_pb2.Records
    next: int
    def __init__(self, records: _Optional[_Union[_common_pb2.Records, _Mapping]] = ..., next: _Optional[int] = ...) -> None: ...

class CountRequest(_message.Message):
    __slots__ = ("collection", "where", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    where: str
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., where: _Optional[str] = ..., collection_id: _Optional[int] = ...) -> None: ...

class CountResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: int
    def __init__(self, records: _Optional[int] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ("collection", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ...) -> None: ...

class RepresentationStats(_message.Message):
    __slots__ = ("field", "spec", "vectors", "bytes_total", "bytes_per_vector", "compression", "usage_bits_min", "usage_bits_mean")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_VECTOR_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    USAGE_BITS_MIN_FIELD_NUMBER: _ClassVar[int]
    USAGE_BITS_MEAN_FIELD_NUMBER: _ClassVar[int]
    field: str
    spec: str
    vectors: int
    bytes_total: int
    bytes_per_vector: float
    compression: float
    usage_bits_min: float
    usage_bits_mean: float
    def __init__(self, field: _Optional[str] = ..., spec: _Optional[str] = ..., vectors: _Optional[int] = ..., bytes_total: _Optional[int] = ..., bytes_per_vector: _Optional[float] = ..., compression: _Optional[float] = ..., usage_bits_min: _Optional[float] = ..., usage_bits_mean: _Optional[float] = ...) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("records", "buffered", "deleted", "segments", "disk_bytes", "representations", "buffer_bytes", "quarantined", "jobs", "recalls")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    BUFFERED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATIONS_FIELD_NUMBER: _ClassVar[int]
    BUFFER_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    RECALLS_FIELD_NUMBER: _ClassVar[int]
    records: int
    buffered: int
    deleted: int
    segments: int
    disk_bytes: int
    representations: _containers.RepeatedCompositeFieldContainer[RepresentationStats]
    buffer_bytes: int
    quarantined: _containers.RepeatedScalarFieldContainer[str]
    jobs: _containers.RepeatedCompositeFieldContainer[_common_pb2.Job]
    recalls: _containers.RepeatedCompositeFieldContainer[_recall_pb2.Recall]
    def __init__(self, records: _Optional[int] = ..., buffered: _Optional[int] = ..., deleted: _Optional[int] = ..., segments: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., representations: _Optional[_Iterable[_Union[RepresentationStats, _Mapping]]] = ..., buffer_bytes: _Optional[int] = ..., quarantined: _Optional[_Iterable[str]] = ..., jobs: _Optional[_Iterable[_Union[_common_pb2.Job, _Mapping]]] = ..., recalls: _Optional[_Iterable[_Union[_recall_pb2.Recall, _Mapping]]] = ...) -> None: ...

class FlushRequest(_message.Message):
    __slots__ = ("collection", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ...) -> None: ...

class FlushResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompactRequest(_message.Message):
    __slots__ = ("collection", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ...) -> None: ...

class CompactResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AlterRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "field", "representations", "wait", "pruning", "pooling", "keep_representations")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATIONS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    PRUNING_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    KEEP_REPRESENTATIONS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    field: str
    representations: _containers.RepeatedScalarFieldContainer[str]
    wait: bool
    pruning: str
    pooling: str
    keep_representations: bool
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., field: _Optional[str] = ..., representations: _Optional[_Iterable[str]] = ..., wait: bool = ..., pruning: _Optional[str] = ..., pooling: _Optional[str] = ..., keep_representations: bool = ...) -> None: ...

class AlterResponse(_message.Message):
    __slots__ = ("schema",)
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    schema: _common_pb2.Schema
    def __init__(self, schema: _Optional[_Union[_common_pb2.Schema, _Mapping]] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("collection", "vectors", "batch", "limit", "where", "plan", "exact", "with_payload", "with_vectors", "explain", "collection_id", "token_budget", "among", "group_by", "agg")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    WITH_PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_BUDGET_FIELD_NUMBER: _ClassVar[int]
    AMONG_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    AGG_FIELD_NUMBER: _ClassVar[int]
    collection: str
    vectors: _containers.RepeatedCompositeFieldContainer[_common_pb2.FieldVectors]
    batch: bool
    limit: int
    where: str
    plan: _plan_pb2.Cascade
    exact: bool
    with_payload: bool
    with_vectors: bool
    explain: bool
    collection_id: int
    token_budget: int
    among: _common_pb2.Ids
    group_by: str
    agg: str
    def __init__(self, collection: _Optional[str] = ..., vectors: _Optional[_Iterable[_Union[_common_pb2.FieldVectors, _Mapping]]] = ..., batch: bool = ..., limit: _Optional[int] = ..., where: _Optional[str] = ..., plan: _Optional[_Union[_plan_pb2.Cascade, _Mapping]] = ..., exact: bool = ..., with_payload: bool = ..., with_vectors: bool = ..., explain: bool = ..., collection_id: _Optional[int] = ..., token_budget: _Optional[int] = ..., among: _Optional[_Union[_common_pb2.Ids, _Mapping]] = ..., group_by: _Optional[str] = ..., agg: _Optional[str] = ...) -> None: ...

class StageReport(_message.Message):
    __slots__ = ("stage", "representation", "rows_in", "rows_out", "bytes_read", "milliseconds", "threads", "kernel")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
    ROWS_IN_FIELD_NUMBER: _ClassVar[int]
    ROWS_OUT_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    stage: str
    representation: str
    rows_in: int
    rows_out: int
    bytes_read: int
    milliseconds: float
    threads: int
    kernel: str
    def __init__(self, stage: _Optional[str] = ..., representation: _Optional[str] = ..., rows_in: _Optional[int] = ..., rows_out: _Optional[int] = ..., bytes_read: _Optional[int] = ..., milliseconds: _Optional[float] = ..., threads: _Optional[int] = ..., kernel: _Optional[str] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("stages",)
    STAGES_FIELD_NUMBER: _ClassVar[int]
    stages: _containers.RepeatedCompositeFieldContainer[StageReport]
    def __init__(self, stages: _Optional[_Iterable[_Union[StageReport, _Mapping]]] = ...) -> None: ...

class QueryHits(_message.Message):
    __slots__ = ("query", "records", "scores", "partial", "explanation", "matches")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    query: int
    records: _common_pb2.Records
    scores: _common_pb2.Tensor
    partial: bool
    explanation: Explanation
    matches: MatchTokensResponse
    def __init__(self, query: _Optional[int] = ..., records: _Optional[_Union[_common_pb2.Records, _Mapping]] = ..., scores: _Optional[_Union[_common_pb2.Tensor, _Mapping]] = ..., partial: bool = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ..., matches: _Optional[_Union[MatchTokensResponse, _Mapping]] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[QueryHits]
    def __init__(self, results: _Optional[_Iterable[_Union[QueryHits, _Mapping]]] = ...) -> None: ...

class SearchStreamRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: SearchRequest
    def __init__(self, request: _Optional[_Union[SearchRequest, _Mapping]] = ...) -> None: ...

class SearchStreamResponse(_message.Message):
    __slots__ = ("part",)
    PART_FIELD_NUMBER: _ClassVar[int]
    part: SearchResponse
    def __init__(self, part: _Optional[_Union[SearchResponse, _Mapping]] = ...) -> None: ...

class MatchTokensRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "vectors", "ids")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    vectors: _containers.RepeatedCompositeFieldContainer[_common_pb2.FieldVectors]
    ids: _common_pb2.Ids
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., vectors: _Optional[_Iterable[_Union[_common_pb2.FieldVectors, _Mapping]]] = ..., ids: _Optional[_Union[_common_pb2.Ids, _Mapping]] = ...) -> None: ...

class MatchTokensResponse(_message.Message):
    __slots__ = ("positions", "tokens", "scores")
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    positions: _common_pb2.RowNumbers
    tokens: _common_pb2.Tensor
    scores: _common_pb2.Tensor
    def __init__(self, positions: _Optional[_Union[_common_pb2.RowNumbers, _Mapping]] = ..., tokens: _Optional[_Union[_common_pb2.Tensor, _Mapping]] = ..., scores: _Optional[_Union[_common_pb2.Tensor, _Mapping]] = ...) -> None: ...
