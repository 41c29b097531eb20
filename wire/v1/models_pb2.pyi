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

class PublishModelRequest(_message.Message):
    __slots__ = ("header", "bundle")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    header: PublishModelHeader
    bundle: BundleChunk
    def __init__(self, header: _Optional[_Union[PublishModelHeader, _Mapping]] = ..., bundle: _Optional[_Union[BundleChunk, _Mapping]] = ...) -> None: ...

class PublishModelHeader(_message.Message):
    __slots__ = ("request_id", "digest", "bundle_bytes")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    request_id: bytes
    digest: bytes
    bundle_bytes: int
    def __init__(self, request_id: _Optional[bytes] = ..., digest: _Optional[bytes] = ..., bundle_bytes: _Optional[int] = ...) -> None: ...

class BundleChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class PublishModelResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: bytes
    def __init__(self, receipt: _Optional[bytes] = ...) -> None: ...

class WithdrawModelRequest(_message.Message):
    __slots__ = ("request_id", "digest")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    request_id: bytes
    digest: bytes
    def __init__(self, request_id: _Optional[bytes] = ..., digest: _Optional[bytes] = ...) -> None: ...

class WithdrawModelResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: bytes
    def __init__(self, receipt: _Optional[bytes] = ...) -> None: ...
