from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("server_id", "models")
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    server_id: str
    models: _containers.RepeatedCompositeFieldContainer[ModelSummary]
    def __init__(self, server_id: _Optional[str] = ..., models: _Optional[_Iterable[_Union[ModelSummary, _Mapping]]] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("digest", "name", "version", "purpose", "mode", "packings")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PACKINGS_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    name: str
    version: str
    purpose: str
    mode: str
    packings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, digest: _Optional[bytes] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., purpose: _Optional[str] = ..., mode: _Optional[str] = ..., packings: _Optional[_Iterable[str]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    def __init__(self, digest: _Optional[bytes] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("server_id", "card", "registration_proof")
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_PROOF_FIELD_NUMBER: _ClassVar[int]
    server_id: str
    card: bytes
    registration_proof: bytes
    def __init__(self, server_id: _Optional[str] = ..., card: _Optional[bytes] = ..., registration_proof: _Optional[bytes] = ...) -> None: ...
