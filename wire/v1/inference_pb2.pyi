from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Packing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PACKING_UNSPECIFIED: _ClassVar[Packing]
    PACKING_BATCH: _ClassVar[Packing]
    PACKING_SINGLE: _ClassVar[Packing]
PACKING_UNSPECIFIED: Packing
PACKING_BATCH: Packing
PACKING_SINGLE: Packing

class InferRequest(_message.Message):
    __slots__ = ("header", "ciphertext", "plaintext", "continuation")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    CONTINUATION_FIELD_NUMBER: _ClassVar[int]
    header: InferHeader
    ciphertext: CiphertextChunk
    plaintext: PlaintextColumn
    continuation: Continuation
    def __init__(self, header: _Optional[_Union[InferHeader, _Mapping]] = ..., ciphertext: _Optional[_Union[CiphertextChunk, _Mapping]] = ..., plaintext: _Optional[_Union[PlaintextColumn, _Mapping]] = ..., continuation: _Optional[_Union[Continuation, _Mapping]] = ...) -> None: ...

class InferHeader(_message.Message):
    __slots__ = ("request_id", "nonce", "client_id", "server_id", "model_digest", "registration_digest", "key_digest", "packing", "records", "ciphertexts", "plaintext_columns", "plaintext_salt", "account", "log_size", "log_head")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    KEY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PACKING_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXTS_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_SALT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    LOG_SIZE_FIELD_NUMBER: _ClassVar[int]
    LOG_HEAD_FIELD_NUMBER: _ClassVar[int]
    request_id: bytes
    nonce: bytes
    client_id: str
    server_id: str
    model_digest: bytes
    registration_digest: bytes
    key_digest: bytes
    packing: Packing
    records: int
    ciphertexts: int
    plaintext_columns: int
    plaintext_salt: bytes
    account: Account
    log_size: int
    log_head: bytes
    def __init__(self, request_id: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., client_id: _Optional[str] = ..., server_id: _Optional[str] = ..., model_digest: _Optional[bytes] = ..., registration_digest: _Optional[bytes] = ..., key_digest: _Optional[bytes] = ..., packing: _Optional[_Union[Packing, str]] = ..., records: _Optional[int] = ..., ciphertexts: _Optional[int] = ..., plaintext_columns: _Optional[int] = ..., plaintext_salt: _Optional[bytes] = ..., account: _Optional[_Union[Account, _Mapping]] = ..., log_size: _Optional[int] = ..., log_head: _Optional[bytes] = ...) -> None: ...

class Account(_message.Message):
    __slots__ = ("tenant", "actor", "purpose", "subject")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    actor: str
    purpose: str
    subject: bytes
    def __init__(self, tenant: _Optional[str] = ..., actor: _Optional[str] = ..., purpose: _Optional[str] = ..., subject: _Optional[bytes] = ...) -> None: ...

class Continuation(_message.Message):
    __slots__ = ("messages", "digest")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    messages: int
    digest: bytes
    def __init__(self, messages: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class PlaintextColumn(_message.Message):
    __slots__ = ("index", "values")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    index: int
    values: bytes
    def __init__(self, index: _Optional[int] = ..., values: _Optional[bytes] = ...) -> None: ...

class CiphertextChunk(_message.Message):
    __slots__ = ("index", "seed", "words")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    index: int
    seed: bytes
    words: bytes
    def __init__(self, index: _Optional[int] = ..., seed: _Optional[bytes] = ..., words: _Optional[bytes] = ...) -> None: ...

class InferResponse(_message.Message):
    __slots__ = ("header", "output", "proof", "receipt")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    header: InferResultHeader
    output: OutputChunk
    proof: InferenceProofChunk
    receipt: bytes
    def __init__(self, header: _Optional[_Union[InferResultHeader, _Mapping]] = ..., output: _Optional[_Union[OutputChunk, _Mapping]] = ..., proof: _Optional[_Union[InferenceProofChunk, _Mapping]] = ..., receipt: _Optional[bytes] = ...) -> None: ...

class InferResultHeader(_message.Message):
    __slots__ = ("request_id", "output_chunks", "proof_bytes", "timings")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    PROOF_BYTES_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    request_id: bytes
    output_chunks: int
    proof_bytes: int
    timings: ServerTimings
    def __init__(self, request_id: _Optional[bytes] = ..., output_chunks: _Optional[int] = ..., proof_bytes: _Optional[int] = ..., timings: _Optional[_Union[ServerTimings, _Mapping]] = ...) -> None: ...

class ServerTimings(_message.Message):
    __slots__ = ("expand_seconds", "evaluate_seconds", "sanitise_seconds", "prove_seconds")
    EXPAND_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SANITISE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PROVE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    expand_seconds: float
    evaluate_seconds: float
    sanitise_seconds: float
    prove_seconds: float
    def __init__(self, expand_seconds: _Optional[float] = ..., evaluate_seconds: _Optional[float] = ..., sanitise_seconds: _Optional[float] = ..., prove_seconds: _Optional[float] = ...) -> None: ...

class OutputChunk(_message.Message):
    __slots__ = ("index", "words")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    index: int
    words: bytes
    def __init__(self, index: _Optional[int] = ..., words: _Optional[bytes] = ...) -> None: ...

class InferenceProofChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
