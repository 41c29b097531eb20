from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetLogRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLogResponse(_message.Message):
    __slots__ = ("log_key", "tenant")
    LOG_KEY_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    log_key: str
    tenant: str
    def __init__(self, log_key: _Optional[str] = ..., tenant: _Optional[str] = ...) -> None: ...

class GetCheckpointRequest(_message.Message):
    __slots__ = ("min_size", "old_size", "cosigned")
    MIN_SIZE_FIELD_NUMBER: _ClassVar[int]
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    COSIGNED_FIELD_NUMBER: _ClassVar[int]
    min_size: int
    old_size: int
    cosigned: bool
    def __init__(self, min_size: _Optional[int] = ..., old_size: _Optional[int] = ..., cosigned: _Optional[bool] = ...) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint", "consistency")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    checkpoint: bytes
    consistency: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, checkpoint: _Optional[bytes] = ..., consistency: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ProvenReceipt(_message.Message):
    __slots__ = ("entry", "index", "inclusion", "checkpoint", "consistency")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    INCLUSION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    entry: bytes
    index: int
    inclusion: _containers.RepeatedScalarFieldContainer[bytes]
    checkpoint: bytes
    consistency: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, entry: _Optional[bytes] = ..., index: _Optional[int] = ..., inclusion: _Optional[_Iterable[bytes]] = ..., checkpoint: _Optional[bytes] = ..., consistency: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GetReceiptRequest(_message.Message):
    __slots__ = ("receipt_id", "old_size")
    RECEIPT_ID_FIELD_NUMBER: _ClassVar[int]
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    receipt_id: bytes
    old_size: int
    def __init__(self, receipt_id: _Optional[bytes] = ..., old_size: _Optional[int] = ...) -> None: ...

class GetReceiptResponse(_message.Message):
    __slots__ = ("receipt", "client_key", "client_signature")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_KEY_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    receipt: bytes
    client_key: bytes
    client_signature: bytes
    def __init__(self, receipt: _Optional[bytes] = ..., client_key: _Optional[bytes] = ..., client_signature: _Optional[bytes] = ...) -> None: ...

class GetInclusionRequest(_message.Message):
    __slots__ = ("index", "size")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    index: int
    size: int
    def __init__(self, index: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class GetInclusionResponse(_message.Message):
    __slots__ = ("hashes",)
    HASHES_FIELD_NUMBER: _ClassVar[int]
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GetConsistencyRequest(_message.Message):
    __slots__ = ("old_size", "new_size")
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    NEW_SIZE_FIELD_NUMBER: _ClassVar[int]
    old_size: int
    new_size: int
    def __init__(self, old_size: _Optional[int] = ..., new_size: _Optional[int] = ...) -> None: ...

class GetConsistencyResponse(_message.Message):
    __slots__ = ("hashes",)
    HASHES_FIELD_NUMBER: _ClassVar[int]
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ReadEntriesRequest(_message.Message):
    __slots__ = ("start", "limit")
    START_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    start: int
    limit: int
    def __init__(self, start: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ReadEntriesResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, entries: _Optional[_Iterable[bytes]] = ...) -> None: ...

class CountersignRequest(_message.Message):
    __slots__ = ("receipt_id", "client_key", "client_signature")
    RECEIPT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_KEY_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    receipt_id: bytes
    client_key: bytes
    client_signature: bytes
    def __init__(self, receipt_id: _Optional[bytes] = ..., client_key: _Optional[bytes] = ..., client_signature: _Optional[bytes] = ...) -> None: ...

class CountersignResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
