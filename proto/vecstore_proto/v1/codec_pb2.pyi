from vecstore_proto.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetCodecRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "field", "spec")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    field: str
    spec: str
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., field: _Optional[str] = ..., spec: _Optional[str] = ...) -> None: ...

class CodecArray(_message.Message):
    __slots__ = ("name", "values")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    values: _common_pb2.Tensor
    def __init__(self, name: _Optional[str] = ..., values: _Optional[_Union[_common_pb2.Tensor, _Mapping]] = ...) -> None: ...

class GetCodecResponse(_message.Message):
    __slots__ = ("spec", "dim", "metric", "fingerprint", "arrays")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    spec: str
    dim: int
    metric: _common_pb2.Metric
    fingerprint: str
    arrays: _containers.RepeatedCompositeFieldContainer[CodecArray]
    def __init__(self, spec: _Optional[str] = ..., dim: _Optional[int] = ..., metric: _Optional[_Union[_common_pb2.Metric, str]] = ..., fingerprint: _Optional[str] = ..., arrays: _Optional[_Iterable[_Union[CodecArray, _Mapping]]] = ...) -> None: ...

class GetCodecStreamRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: GetCodecRequest
    def __init__(self, request: _Optional[_Union[GetCodecRequest, _Mapping]] = ...) -> None: ...

class GetCodecStreamResponse(_message.Message):
    __slots__ = ("part",)
    PART_FIELD_NUMBER: _ClassVar[int]
    part: GetCodecResponse
    def __init__(self, part: _Optional[_Union[GetCodecResponse, _Mapping]] = ...) -> None: ...
