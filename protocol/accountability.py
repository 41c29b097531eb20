"""What a receipt says of a request, as both sides and an auditor compute it (docs/audit.md)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from protocol.digests import digest
from protocol.model import ModelCard
from protocol.parameters import Packing

DEFAULT_TENANT = "default"
DEFAULT_PURPOSE = "HOPERAT"
"""Health care operations, by HL7 v3 PurposeOfUse: what is recorded when nobody says why."""
MAX_TOKEN = 128
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]*")
_DIGESTED = "sha256:"


@dataclass(frozen=True)
class Account:
    """Who asks and why, as the client states it.  Bounds are those of receipts.

    Attributes:
        tenant: the organisation on whose behalf it is asked.
        actor: the account or device that asks; None for the client's identity.
        purpose: a code of HL7 v3 PurposeOfUse.
        subject: pseudonym of whom the record is about, 32 bytes; None if of many or of nobody.
    """

    tenant: str = DEFAULT_TENANT
    actor: str | None = None
    purpose: str = DEFAULT_PURPOSE
    subject: bytes | None = None

    def actor_of(self, client_id: str) -> str:
        """The actor of a receipt: what was stated, else what the client's identity becomes."""
        return actor_token(client_id) if self.actor is None else self.actor


def is_token(text: str) -> bool:
    """Whether a receipt takes a text: neither a sentence nor a mail address fits by accident."""
    return len(text) <= MAX_TOKEN and _TOKEN.fullmatch(text) is not None


def actor_token(client_id: str) -> str:
    """A client's identity where a token is needed: itself, or a digest of it.

    No two identities have the same: one that looks like a digest is digested too.
    """
    if is_token(client_id) and not client_id.startswith(_DIGESTED):
        return client_id
    return f"{_DIGESTED}{hashlib.sha256(client_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def idempotency_digest(client_id: str, request_id: bytes) -> bytes:
    """What a repetition of a request has in common with it."""
    return digest("blindproof idempotency", (client_id, request_id))


def parameters_digest(card: ModelCard, packing: Packing) -> bytes:
    """Digest of the encryption parameters of one packing."""
    return digest("blindproof parameters", card.profile(packing).value())


def graph_digest(card: ModelCard) -> bytes:
    """Digest of the layers, without their weights."""
    return digest("blindproof graph", card.graph.value())


def proof_digest(proof: bytes) -> bytes:
    """Digest of a proof's bytes."""
    return digest("blindproof proof", proof)
