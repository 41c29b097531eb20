"""The client: keys, encryption, verification, decryption.  The only holder of secret keys.

`Client` (or `AsyncClient`) takes a `KeyStore` and a pinned model digest; its `predict` returns a
`Result`, whose values were decrypted only after the proof was verified.  `VerifiedModel` (or
`AsyncVerifiedModel`) is the same with the methods of a scikit-learn estimator.
"""

from __future__ import annotations

from client_sdk.aio import AsyncClient, Phase, ServedCard
from client_sdk.client import Client, list_models
from client_sdk.disclosure import DecryptionError
from client_sdk.ephemeral import EphemeralKeyStore
from client_sdk.keystore import KeyStore
from client_sdk.memory import MemoryLimitError
from client_sdk.result import Result, Timings
from client_sdk.tables import Answer, MissingPackageError, NotOfferedError
from client_sdk.transport import TransportError
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
    "AsyncClient",
    "AsyncVerifiedModel",
    "BlindproofError",
    "Client",
    "DecryptionError",
    "EncodingError",
    "EnrolmentError",
    "EphemeralKeyStore",
    "InputError",
    "KeyStore",
    "KeyStoreError",
    "MemoryLimitError",
    "MissingPackageError",
    "ModelError",
    "NonFiniteError",
    "NotOfferedError",
    "ParameterError",
    "Phase",
    "RangeError",
    "RequestError",
    "Result",
    "ServedCard",
    "ShapeError",
    "Timings",
    "TransportError",
    "VerificationError",
    "VerifiedAnswer",
    "VerifiedModel",
    "list_models",
    "verify_evidence",
]
