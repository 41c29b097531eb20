from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BeginEnrolmentRequest(_message.Message):
    __slots__ = ("client_id", "server_id", "ring_degree", "moduli", "keys", "root")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    RING_DEGREE_FIELD_NUMBER: _ClassVar[int]
    MODULI_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    server_id: str
    ring_degree: int
    moduli: _containers.RepeatedScalarFieldContainer[int]
    keys: int
    root: bytes
    def __init__(self, client_id: _Optional[str] = ..., server_id: _Optional[str] = ..., ring_degree: _Optional[int] = ..., moduli: _Optional[_Iterable[int]] = ..., keys: _Optional[int] = ..., root: _Optional[bytes] = ...) -> None: ...

class BeginEnrolmentResponse(_message.Message):
    __slots__ = ("session_id", "nonce")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    nonce: bytes
    def __init__(self, session_id: _Optional[bytes] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class CompleteEnrolmentRequest(_message.Message):
    __slots__ = ("header", "key", "proof")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    header: CompleteEnrolmentHeader
    key: PublicKeyChunk
    proof: EnrolmentProofChunk
    def __init__(self, header: _Optional[_Union[CompleteEnrolmentHeader, _Mapping]] = ..., key: _Optional[_Union[PublicKeyChunk, _Mapping]] = ..., proof: _Optional[_Union[EnrolmentProofChunk, _Mapping]] = ...) -> None: ...

class CompleteEnrolmentHeader(_message.Message):
    __slots__ = ("session_id", "proof_bytes")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    PROOF_BYTES_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    proof_bytes: int
    def __init__(self, session_id: _Optional[bytes] = ..., proof_bytes: _Optional[int] = ...) -> None: ...

class PublicKeyChunk(_message.Message):
    __slots__ = ("key", "limb", "words")
    KEY_FIELD_NUMBER: _ClassVar[int]
    LIMB_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    key: int
    limb: int
    words: bytes
    def __init__(self, key: _Optional[int] = ..., limb: _Optional[int] = ..., words: _Optional[bytes] = ...) -> None: ...

class EnrolmentProofChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class CompleteEnrolmentResponse(_message.Message):
    __slots__ = ("key_digest",)
    KEY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    key_digest: bytes
    def __init__(self, key_digest: _Optional[bytes] = ...) -> None: ...
