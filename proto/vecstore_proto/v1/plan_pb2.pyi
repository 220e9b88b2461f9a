from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Scan(_message.Message):
    __slots__ = ("representation", "keep")
    REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    representation: str
    keep: int
    def __init__(self, representation: _Optional[str] = ..., keep: _Optional[int] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("representation", "nprobe", "keep")
    REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
    NPROBE_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    representation: str
    nprobe: int
    keep: int
    def __init__(self, representation: _Optional[str] = ..., nprobe: _Optional[int] = ..., keep: _Optional[int] = ...) -> None: ...

class Rescore(_message.Message):
    __slots__ = ("representation", "keep")
    REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    representation: str
    keep: int
    def __init__(self, representation: _Optional[str] = ..., keep: _Optional[int] = ...) -> None: ...

class MaxSim(_message.Message):
    __slots__ = ("field", "keep", "representation", "token_budget", "nprobe")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_BUDGET_FIELD_NUMBER: _ClassVar[int]
    NPROBE_FIELD_NUMBER: _ClassVar[int]
    field: str
    keep: int
    representation: str
    token_budget: int
    nprobe: int
    def __init__(self, field: _Optional[str] = ..., keep: _Optional[int] = ..., representation: _Optional[str] = ..., token_budget: _Optional[int] = ..., nprobe: _Optional[int] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("scan", "rescore", "probe", "maxsim")
    SCAN_FIELD_NUMBER: _ClassVar[int]
    RESCORE_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    MAXSIM_FIELD_NUMBER: _ClassVar[int]
    scan: Scan
    rescore: Rescore
    probe: Probe
    maxsim: MaxSim
    def __init__(self, scan: _Optional[_Union[Scan, _Mapping]] = ..., rescore: _Optional[_Union[Rescore, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., maxsim: _Optional[_Union[MaxSim, _Mapping]] = ...) -> None: ...

class Cascade(_message.Message):
    __slots__ = ("stages",)
    STAGES_FIELD_NUMBER: _ClassVar[int]
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    def __init__(self, stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ...) -> None: ...
