from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_FLOAT64: _ClassVar[DataType]
    DATA_TYPE_INT8: _ClassVar[DataType]
    DATA_TYPE_INT16: _ClassVar[DataType]
    DATA_TYPE_INT32: _ClassVar[DataType]
    DATA_TYPE_INT64: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_UINT16: _ClassVar[DataType]
    DATA_TYPE_UINT32: _ClassVar[DataType]
    DATA_TYPE_UINT64: _ClassVar[DataType]
    DATA_TYPE_BOOL: _ClassVar[DataType]

class Metric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_UNSPECIFIED: _ClassVar[Metric]
    METRIC_COSINE: _ClassVar[Metric]
    METRIC_DOT: _ClassVar[Metric]
    METRIC_L2: _ClassVar[Metric]

class ColumnType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLUMN_TYPE_UNSPECIFIED: _ClassVar[ColumnType]
    COLUMN_TYPE_INT: _ClassVar[ColumnType]
    COLUMN_TYPE_FLOAT: _ClassVar[ColumnType]
    COLUMN_TYPE_BOOL: _ClassVar[ColumnType]
    COLUMN_TYPE_KEYWORD: _ClassVar[ColumnType]
    COLUMN_TYPE_TIMESTAMP: _ClassVar[ColumnType]
    COLUMN_TYPE_LIST_INT: _ClassVar[ColumnType]
    COLUMN_TYPE_LIST_FLOAT: _ClassVar[ColumnType]
    COLUMN_TYPE_LIST_BOOL: _ClassVar[ColumnType]
    COLUMN_TYPE_LIST_KEYWORD: _ClassVar[ColumnType]
    COLUMN_TYPE_LIST_TIMESTAMP: _ClassVar[ColumnType]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_FLOAT64: DataType
DATA_TYPE_INT8: DataType
DATA_TYPE_INT16: DataType
DATA_TYPE_INT32: DataType
DATA_TYPE_INT64: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_UINT16: DataType
DATA_TYPE_UINT32: DataType
DATA_TYPE_UINT64: DataType
DATA_TYPE_BOOL: DataType
METRIC_UNSPECIFIED: Metric
METRIC_COSINE: Metric
METRIC_DOT: Metric
METRIC_L2: Metric
COLUMN_TYPE_UNSPECIFIED: ColumnType
COLUMN_TYPE_INT: ColumnType
COLUMN_TYPE_FLOAT: ColumnType
COLUMN_TYPE_BOOL: ColumnType
COLUMN_TYPE_KEYWORD: ColumnType
COLUMN_TYPE_TIMESTAMP: ColumnType
COLUMN_TYPE_LIST_INT: ColumnType
COLUMN_TYPE_LIST_FLOAT: ColumnType
COLUMN_TYPE_LIST_BOOL: ColumnType
COLUMN_TYPE_LIST_KEYWORD: ColumnType
COLUMN_TYPE_LIST_TIMESTAMP: ColumnType

class Tensor(_message.Message):
    __slots__ = ("data_type", "shape", "data")
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    data_type: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, data_type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Id(_message.Message):
    __slots__ = ("number", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: int
    text: str
    def __init__(self, number: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class NumberIds(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class TextIds(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class MixedIds(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Id]
    def __init__(self, values: _Optional[_Iterable[_Union[Id, _Mapping]]] = ...) -> None: ...

class Ids(_message.Message):
    __slots__ = ("numbers", "texts", "mixed")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    MIXED_FIELD_NUMBER: _ClassVar[int]
    numbers: NumberIds
    texts: TextIds
    mixed: MixedIds
    def __init__(self, numbers: _Optional[_Union[NumberIds, _Mapping]] = ..., texts: _Optional[_Union[TextIds, _Mapping]] = ..., mixed: _Optional[_Union[MixedIds, _Mapping]] = ...) -> None: ...

class RowNumbers(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class MadeBy(_message.Message):
    __slots__ = ("spec", "fingerprint")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    spec: str
    fingerprint: str
    def __init__(self, spec: _Optional[str] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class TokenBounds(_message.Message):
    __slots__ = ("lengths", "salience")
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    SALIENCE_FIELD_NUMBER: _ClassVar[int]
    lengths: _containers.RepeatedScalarFieldContainer[int]
    salience: Tensor
    def __init__(self, lengths: _Optional[_Iterable[int]] = ..., salience: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class FieldVectors(_message.Message):
    __slots__ = ("field", "vectors", "rows", "made_by", "tokens")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MADE_BY_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    field: str
    vectors: Tensor
    rows: RowNumbers
    made_by: MadeBy
    tokens: TokenBounds
    def __init__(self, field: _Optional[str] = ..., vectors: _Optional[_Union[Tensor, _Mapping]] = ..., rows: _Optional[_Union[RowNumbers, _Mapping]] = ..., made_by: _Optional[_Union[MadeBy, _Mapping]] = ..., tokens: _Optional[_Union[TokenBounds, _Mapping]] = ...) -> None: ...

class Payloads(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, json: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Records(_message.Message):
    __slots__ = ("ids", "vectors", "payloads", "ttl_s")
    IDS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    ids: Ids
    vectors: _containers.RepeatedCompositeFieldContainer[FieldVectors]
    payloads: Payloads
    ttl_s: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, ids: _Optional[_Union[Ids, _Mapping]] = ..., vectors: _Optional[_Iterable[_Union[FieldVectors, _Mapping]]] = ..., payloads: _Optional[_Union[Payloads, _Mapping]] = ..., ttl_s: _Optional[_Iterable[float]] = ...) -> None: ...

class MultiVector(_message.Message):
    __slots__ = ("pruning", "pooling")
    PRUNING_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    pruning: str
    pooling: str
    def __init__(self, pruning: _Optional[str] = ..., pooling: _Optional[str] = ...) -> None: ...

class VectorField(_message.Message):
    __slots__ = ("name", "dim", "metric", "representations", "multi")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATIONS_FIELD_NUMBER: _ClassVar[int]
    MULTI_FIELD_NUMBER: _ClassVar[int]
    name: str
    dim: int
    metric: Metric
    representations: _containers.RepeatedScalarFieldContainer[str]
    multi: MultiVector
    def __init__(self, name: _Optional[str] = ..., dim: _Optional[int] = ..., metric: _Optional[_Union[Metric, str]] = ..., representations: _Optional[_Iterable[str]] = ..., multi: _Optional[_Union[MultiVector, _Mapping]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: ColumnType
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[ColumnType, str]] = ...) -> None: ...

class Schema(_message.Message):
    __slots__ = ("vectors", "columns", "ttl_s")
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    vectors: _containers.RepeatedCompositeFieldContainer[VectorField]
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    ttl_s: float
    def __init__(self, vectors: _Optional[_Iterable[_Union[VectorField, _Mapping]]] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., ttl_s: _Optional[float] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "kind", "collection", "state", "done", "total", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: int
    kind: str
    collection: str
    state: str
    done: int
    total: int
    message: str
    def __init__(self, id: _Optional[int] = ..., kind: _Optional[str] = ..., collection: _Optional[str] = ..., state: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...
