"""What the gateway says and hears in JSON.

Digests, identifiers, hashes and keys are lower-case hexadecimal; longer bytes are base64.  Numbers
that may exceed 2^53 are strings of decimal digits, as JSON in other languages would round them.
"""

from __future__ import annotations

import base64
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from wire.audit import CheckpointAnswer, LogIdentity, ReceiptAnswer, ReceiptMessage
from wire.enrolment import EnrolmentChallenge
from wire.models import ModelList, ServedModel

Digest: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Identifier: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Signature: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{128}$")]
Decimal: TypeAlias = Annotated[str, Field(pattern="^[1-9][0-9]{0,18}$")]
Base64: TypeAlias = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
Uint32: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 32)]


class _Document(BaseModel):
    """Nothing is guessed and nothing ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelSummaryDocument(_Document):
    """One line of the list of models; nothing in it is proved."""

    digest: Digest
    name: str
    version: str
    purpose: str
    mode: str = Field(description="private or public")
    packings: list[str] = Field(description="batch, single")


class ModelListDocument(_Document):
    """What the server offers."""

    server_id: str
    models: list[ModelSummaryDocument]

    @classmethod
    def of(cls, found: ModelList) -> ModelListDocument:
        """Of the message."""
        return cls(
            server_id=found.server_id,
            models=[
                ModelSummaryDocument(
                    digest=model.digest.hex(),
                    name=model.name,
                    version=model.version,
                    purpose=model.purpose,
                    mode=model.mode,
                    packings=list(model.packings),
                )
                for model in found.models
            ],
        )


class ModelDocument(_Document):
    """A model card and its registration proof: verify both, and the card's digest, before use."""

    server_id: str
    card: Base64 = Field(description="Canonical encoding.")
    registration_proof: Base64 = Field(description="Empty for a public model.")

    @classmethod
    def of(cls, found: ServedModel) -> ModelDocument:
        """Of the message."""
        return cls(
            server_id=found.server_id,
            card=_base64(found.card),
            registration_proof=_base64(found.registration_proof),
        )


class EnrolmentDocument(_Document):
    """The first step of an enrolment: what is to be enrolled, and the commitment to it."""

    client_id: str = Field(min_length=1)
    server_id: str = Field(min_length=1)
    ring_degree: Uint32
    moduli: list[Decimal] = Field(min_length=1, max_length=64)
    keys: Uint32
    root: Digest


class ChallengeDocument(_Document):
    """The answer to the first step; usable once, for a short time."""

    session_id: Identifier
    nonce: Digest

    @classmethod
    def of(cls, found: EnrolmentChallenge) -> ChallengeDocument:
        """Of the message."""
        return cls(session_id=found.session_id.hex(), nonce=found.nonce.hex())


class KeyDocument(_Document):
    """An enrolled key."""

    key_digest: Digest


class LogDocument(_Document):
    """Whose log this is; unproved: pin the key you have from elsewhere."""

    log_key: str = Field(description="A verifier key of C2SP signed notes.")
    tenant: str

    @classmethod
    def of(cls, found: LogIdentity) -> LogDocument:
        """Of the message."""
        return cls(log_key=found.log_key, tenant=found.tenant)


class CheckpointDocument(_Document):
    """The log as it is, and that it extends what it was."""

    checkpoint: str = Field(description="A signed note.")
    consistency: list[Digest]

    @classmethod
    def of(cls, found: CheckpointAnswer) -> CheckpointDocument:
        """Of the message."""
        return cls(checkpoint=found.checkpoint.decode(), consistency=hexadecimal(found.consistency))


class ProvenReceiptDocument(_Document):
    """A receipt in the log, under a checkpoint."""

    entry: Base64 = Field(description="The receipt and the server's signature.")
    index: int
    inclusion: list[Digest]
    checkpoint: str
    consistency: list[Digest]

    @classmethod
    def of(cls, found: ReceiptMessage) -> ProvenReceiptDocument:
        """Of the message."""
        return cls(
            entry=_base64(found.entry),
            index=found.index,
            inclusion=hexadecimal(found.inclusion),
            checkpoint=found.checkpoint.decode(),
            consistency=hexadecimal(found.consistency),
        )


class CountersignatureDocument(_Document):
    """A client's signature over a receipt."""

    client_key: Digest
    client_signature: Signature


class ReceiptDocument(_Document):
    """A receipt with what proves it, and the client's signature if it has left one."""

    receipt: ProvenReceiptDocument
    countersignature: CountersignatureDocument | None

    @classmethod
    def of(cls, found: ReceiptAnswer) -> ReceiptDocument:
        """Of the message."""
        signed = None
        if found.client is not None:
            key, signature = found.client
            signed = CountersignatureDocument(
                client_key=key.hex(), client_signature=signature.hex()
            )
        return cls(receipt=ProvenReceiptDocument.of(found.receipt), countersignature=signed)


class EntriesDocument(_Document):
    """Entries of the log in order, not verified."""

    entries: list[Base64]

    @classmethod
    def of(cls, found: tuple[bytes, ...]) -> EntriesDocument:
        """Of the message."""
        return cls(entries=[_base64(entry) for entry in found])


class HashesDocument(_Document):
    """A proof of inclusion or of consistency (RFC 9162)."""

    hashes: list[Digest]


def hexadecimal(found: tuple[bytes, ...]) -> list[str]:
    """Of each."""
    return [item.hex() for item in found]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
