"""Is this the receipt of this answer, in a log that extends what was seen?  Needs no secret.

Everything here runs before the secret key meets an answer.  A receipt that fails is refused like a
proof that fails: nothing is decrypted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from audit.checkpoint import Checkpoint
from audit.cosignature import Cosignature, WitnessPolicy, verify_cosignatures
from audit.errors import AuditError, ReceiptError, ReceiptMismatchError
from audit.facts import AnsweredFacts
from audit.head import Head
from audit.keys import KEY_BYTES
from audit.merkle import verify_consistency
from audit.proven_receipt import MAX_FILE_BYTES, ProvenReceipt
from audit.receipt import Purpose, Receipt
from audit.signed_note import NoteKey, SignedNote
from audit.signed_receipt import SignedReceipt
from client_sdk.log_memory import KnownLog, LogKeyError
from protocol.accountability import MAX_TOKEN, Account, is_token
from protocol.errors import EncodingError, ParameterError
from wire.audit import ReceiptMessage, decode_receipt
from wire.files import read_bounded

CLOCK_DIFFERENCE_SECONDS = 15 * 60
"""How far the time in a receipt may be from the client's own."""

Witnesses: TypeAlias = WitnessPolicy | str | Path


class ReceiptMissingError(AuditError):
    """An answer came without a receipt."""


class ReceiptTimeError(AuditError):
    """The time in a receipt is far from the time here."""


@dataclass(frozen=True)
class VerifiedReceipt:
    """What a receipt file proves.

    Attributes:
        receipt: what the server stands by.
        index: of its entry in the log.
        checkpoint: the log at a size that has it, signed by the log's key.
        cosignatures: of the witnesses that were asked for; empty if none were.
        client_key: whose signature says that the answer was verified; None if nobody has signed.
    """

    receipt: Receipt
    index: int
    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]
    client_key: bytes | None


def stated_account(tenant: str, actor: str | None, purpose: str) -> Account:
    """Who asks and why, checked before anything is sent.

    Raises:
        ParameterError: a text that no receipt takes.
        ReceiptError: no purpose of use; the message lists those there are.
    """
    for name, text in (("tenant", tenant), ("actor", actor)):
        if text is not None and not is_token(text):
            raise ParameterError(
                f"{name}: expected 1 to {MAX_TOKEN} letters, digits or . _ : / + - that begin with "
                "a letter or a digit: the name of an account or a device, not of a person"
            )
    return Account(tenant, actor, str(Purpose.of(purpose)))


def read_witnesses(witnesses: Witnesses | None) -> WitnessPolicy | None:
    """A policy as it is given: itself, or the path of its file.

    Raises:
        PolicyError: the file cannot be read, or is no policy.
    """
    if witnesses is None or isinstance(witnesses, WitnessPolicy):
        return witnesses
    from audit.witness_policy import read_policy

    return read_policy(Path(witnesses))


def log_key_of(key: NoteKey | str | None) -> NoteKey | None:
    """A log's key as it is given.  Raises NoteError."""
    return NoteKey.decoded(key) if isinstance(key, str) else key


def verify_answered(
    data: bytes, facts: AnsweredFacts, log: KnownLog, now_ns: int
) -> tuple[ProvenReceipt, Head]:
    """Check the receipt that came with an answer.

    Args:
        data: as it travelled, empty if none came.
        facts: of the request and the verified answer, as the client has them.
        log: its key, and the head that the request named.
        now_ns: the time here, nanoseconds since 1970.

    Returns:
        The receipt, and the log's head at which it is proven.

    Raises:
        ReceiptMissingError: there is none.
        ReceiptError: it is malformed.
        LogKeyError: signed with another key than the log's.
        SignatureError, NoteError, InclusionError: it, its checkpoint or its place do not verify.
        ReceiptMismatchError: it says something else than the request and the answer.
        ReceiptTimeError: of another time.
        ConsistencyError: the log does not extend the head.
    """
    if not data:
        raise ReceiptMissingError(
            "the answer came without a receipt: a server records what it answers"
        )
    message = _decoded(data)
    proven = proven_receipt(message, log.key)
    _require_log_key(proven.signed, log.key)
    head = head_of(proven.verify(log.key))
    facts.require_in(proven.signed.receipt)
    _require_time(proven.signed.receipt, now_ns)
    if log.head is not None:
        verify_consistency(log.head.size, log.head.root, head.size, head.root, message.consistency)
    return proven, head


def proven_receipt(message: ReceiptMessage, key: NoteKey) -> ProvenReceipt:
    """What travelled as what is kept; nothing is verified.

    Raises:
        ReceiptError, NoteError: malformed.
    """
    return ProvenReceipt(
        SignedReceipt.from_entry(message.entry),
        message.index,
        message.inclusion,
        SignedNote.decoded(message.checkpoint),
        key,
    )


def head_of(checkpoint: Checkpoint) -> Head:
    """The log at a verified checkpoint."""
    return Head(checkpoint.size, checkpoint.root)


def read_receipt(path: str | Path) -> ProvenReceipt:
    """Read a receipt file; well-formed, not verified.

    Raises:
        EncodingError: it cannot be read.
        ReceiptError, NoteError: it is no receipt file.
    """
    try:
        text = read_bounded(Path(path), MAX_FILE_BYTES).decode()
    except OSError as error:
        raise EncodingError(f"receipt {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ReceiptError(f"{path} is not a receipt file: not UTF-8") from error
    return ProvenReceipt.from_json(text)


def verify_receipt(
    path: str | Path,
    log_key: NoteKey | str,
    *,
    witnesses: Witnesses | None = None,
    client_key: bytes | str | None = None,
) -> VerifiedReceipt:
    """Verify a receipt file offline: no server, no secret.

    Shows that the log's key signed the receipt, and a log that holds it at its place.  That the log
    still holds it, `Client.verify_receipt` asks the server; that everybody is shown the same log,
    witnesses attest.

    Args:
        path: a file written by `Result.save_receipt`.
        log_key: the log's verifier key, from elsewhere than the receipt.
        witnesses: a policy or the path of one: as many of them must have signed the checkpoint.
        client_key: the client's key, 32 bytes or hexadecimal, which must have signed the receipt.
            Without it any key's signature passes, and none.

    Raises:
        EncodingError, ReceiptError, NoteError, PolicyError: not a receipt file, key or policy.
        SignatureError: a signature does not verify, is missing, or is another key's.
        InclusionError: the receipt is not in the log.
        WitnessError: too few witnesses have signed.
    """
    key = NoteKey.decoded(log_key) if isinstance(log_key, str) else log_key
    expected = None if client_key is None else _client_key(client_key)
    return verify_kept(read_receipt(path), key, read_witnesses(witnesses), expected)


def verify_kept(
    proven: ProvenReceipt,
    log_key: NoteKey,
    policy: WitnessPolicy | None = None,
    client_key: bytes | None = None,
) -> VerifiedReceipt:
    """Verify a receipt with what is beside it; see `verify_receipt`."""
    checkpoint = proven.verify(log_key)
    signed = proven.signed
    if client_key is not None:
        signed.verify_client(client_key)
    elif signed.client is not None:
        signed.verify_client(signed.client.public)
    cosignatures = () if policy is None else cosigned(proven.checkpoint, policy)
    return VerifiedReceipt(
        signed.receipt,
        proven.index,
        checkpoint,
        cosignatures,
        None if signed.client is None else signed.client.public,
    )


def cosigned(note: SignedNote, policy: WitnessPolicy) -> tuple[Cosignature, ...]:
    """The witnesses of a checkpoint.  Raises SignatureError, WitnessError."""
    return verify_cosignatures(note, policy, int(time.time()))


def require_same_entry(saved: ProvenReceipt, found: ProvenReceipt) -> None:
    """Refuse another entry than the one that was saved, or the same at another place.

    Raises:
        ReceiptMismatchError: naming what differs.
    """
    if found.signed.entry() != saved.signed.entry():
        raise ReceiptMismatchError("the log holds another receipt under this id")
    if found.index != saved.index:
        raise ReceiptMismatchError(
            f"the log holds the receipt at {found.index}, it was at {saved.index}"
        )


def _decoded(data: bytes) -> ReceiptMessage:
    try:
        return decode_receipt(data)
    except EncodingError as error:
        raise ReceiptError(f"malformed receipt: {error}") from error


def _require_log_key(signed: SignedReceipt, key: NoteKey) -> None:
    """Tell a new key, which has an explanation, from a signature that is false."""
    if signed.server.public != key.public:
        raise LogKeyError(
            f"the receipt is signed with the key {signed.server.public.hex()}, and the key given "
            f"or first seen is {key.public.hex()}: if the operator confirms that the log has a new "
            "key, give it as log_key (--log-key)"
        )


def _require_time(receipt: Receipt, now_ns: int) -> None:
    apart = abs(receipt.time_ns - now_ns) // 1_000_000_000
    if apart > CLOCK_DIFFERENCE_SECONDS:
        raise ReceiptTimeError(
            f"the time in the receipt is {apart} seconds from the time here, at most "
            f"{CLOCK_DIFFERENCE_SECONDS} may be: is a clock wrong?"
        )


def _client_key(key: bytes | str) -> bytes:
    try:
        raw = bytes.fromhex(key) if isinstance(key, str) else bytes(key)
    except ValueError as error:
        raise ReceiptError("a client's key is 64 hexadecimal digits") from error
    if len(raw) != KEY_BYTES:
        raise ReceiptError(f"a client's key has {KEY_BYTES} bytes, found {len(raw)}")
    return raw
