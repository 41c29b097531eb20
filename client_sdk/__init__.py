"""The client: keys, encryption, verification, decryption.  The only holder of secret keys.

`Client` (or `AsyncClient`) takes a `KeyStore` and a pinned model digest; its `predict` returns a
`Result`, whose values were decrypted only after proof and receipt were verified.  `VerifiedModel`
(or `AsyncVerifiedModel`) is the same with the methods of a scikit-learn estimator.
"""

from __future__ import annotations

from audit.errors import (
    AuditError,
    ConsistencyError,
    InclusionError,
    NoteError,
    ReceiptError,
    ReceiptMismatchError,
    SignatureError,
    WitnessError,
)
from audit.proven_receipt import ProvenReceipt
from client_sdk.administration import (
    AsyncAdministration,
    publish_model,
    read_entries,
    withdraw_model,
)
from client_sdk.aio import AsyncClient, Phase, ServedCard
from client_sdk.client import Client, list_models
from client_sdk.disclosure import DecryptionError
from client_sdk.ephemeral import EphemeralKeyStore
from client_sdk.keystore import KeyStore
from client_sdk.log_memory import LogKeyError
from client_sdk.memory import MemoryLimitError
from client_sdk.receipts import (
    ReceiptMissingError,
    ReceiptTimeError,
    VerifiedReceipt,
    verify_receipt,
)
from client_sdk.result import Result, Timings
from client_sdk.tables import Answer, MissingPackageError, NotOfferedError
from client_sdk.transport_errors import ConnectionLostError, ServerBusyError, TransportError
from client_sdk.verification import VerifiedAnswer, verify_evidence
from client_sdk.verified_model import AsyncVerifiedModel, VerifiedModel
from protocol.errors import (
    BlindproofError,
    EncodingError,
    EnrolmentError,
    InputError,
    KeyStoreError,
    ModelError,
    NonFiniteError,
    ParameterError,
    RangeError,
    RequestError,
    ShapeError,
    VerificationError,
)

__all__ = [
    "Answer",
    "AsyncAdministration",
    "AsyncClient",
    "AsyncVerifiedModel",
    "AuditError",
    "BlindproofError",
    "Client",
    "ConnectionLostError",
    "ConsistencyError",
    "DecryptionError",
    "EncodingError",
    "EnrolmentError",
    "EphemeralKeyStore",
    "InclusionError",
    "InputError",
    "KeyStore",
    "KeyStoreError",
    "LogKeyError",
    "MemoryLimitError",
    "MissingPackageError",
    "ModelError",
    "NonFiniteError",
    "NotOfferedError",
    "NoteError",
    "ParameterError",
    "Phase",
    "ProvenReceipt",
    "RangeError",
    "ReceiptError",
    "ReceiptMismatchError",
    "ReceiptMissingError",
    "ReceiptTimeError",
    "RequestError",
    "Result",
    "ServedCard",
    "ServerBusyError",
    "ShapeError",
    "SignatureError",
    "Timings",
    "TransportError",
    "VerificationError",
    "VerifiedAnswer",
    "VerifiedModel",
    "VerifiedReceipt",
    "WitnessError",
    "list_models",
    "publish_model",
    "read_entries",
    "verify_evidence",
    "verify_receipt",
    "withdraw_model",
]
