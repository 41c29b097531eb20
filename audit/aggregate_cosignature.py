"""Many witnesses' signatures of one checkpoint as one line of its note.

Beside its Ed25519 cosignature, which is what policies count, a witness can sign with a BLS key.
The message is "bls-cosignature/v1", a newline and the checkpoint's text: without a time, so that
all witnesses sign the same bytes and their signatures add up.  It says that this tree extends every
tree of the log that the witness has seen.

Both forms are signature lines of the note, which readers that do not know them skip.  C2SP leaves
the type byte 0xff, with a name after it, to signatures like these; an identifier is
SHA-256(key name, newline, 0xff, that name, public key)[:4].

- a witness's line: its name, and 96 bytes of signature;
- an aggregate's line: the log's origin, and a bitmap of the policy's witnesses that have BLS keys,
  in the policy's order, lowest bit first, before the 96 bytes.  In place of a public key its
  identifier covers all those keys: under another list of keys the line is a stranger's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.bls import SIGNATURE_BYTES, BlsKey, BlsSigningKey, aggregate, verify_aggregate
from audit.cosignature import WitnessPolicy
from audit.errors import SignatureError, WitnessError
from audit.signed_note import KEY_ID_BYTES, NoteSignature, SignedNote

_WITNESS_TYPE = b"\xffblindproof bls cosignature 1"
_AGGREGATE_TYPE = b"\xffblindproof bls aggregate 1"


@dataclass(frozen=True)
class AggregateCosignature:
    """Who signed, and their signatures' sum; not verified.

    Attributes:
        signers: names of witnesses, in the policy's order, each once.
        signature: 96 bytes.
    """

    signers: tuple[str, ...]
    signature: bytes


def cosign_bls(text: str, name: str, key: BlsSigningKey) -> NoteSignature:
    """A witness's line for a checkpoint's text."""
    return NoteSignature(name, bls_key_id(name, key.public), key.sign(_message(text)))


def bls_key_id(name: str, public: bytes) -> bytes:
    """The identifier in the lines of a witness's BLS key, 4 bytes."""
    return _identifier(name, _WITNESS_TYPE, public)


def aggregate_cosignatures(
    text: str, origin: str, policy: WitnessPolicy, signatures: Mapping[str, bytes]
) -> NoteSignature:
    """Add up signatures, and check that the sum verifies.

    Args:
        text: of the checkpoint.
        origin: of the log.
        policy: whose witnesses signed.
        signatures: by the witness's name, 96 bytes each.

    Raises:
        SignatureError: one is not of a witness with a proven key over this text.
    """
    keyed = _keyed(policy)
    chosen = [(name, key) for name, key in keyed if name in signatures]
    if len(chosen) < len(signatures):
        raise SignatureError("a BLS signature of somebody the policy has no key of")
    total = aggregate([signatures[name] for name, _ in chosen])
    verify_aggregate([key for _, key in chosen], total, _message(text))
    bits = sum(1 << at for at, (name, _) in enumerate(keyed) if name in signatures)
    body = bits.to_bytes(_bitmap_bytes(keyed), "little") + total
    return NoteSignature(origin, _aggregate_id(origin, keyed), body)


def verify_bls_cosignature(text: str, key: BlsKey, signature: bytes) -> None:
    """Check the signature of one witness.

    Raises:
        SignatureError: not of this key, or a key without proof of possession.
    """
    verify_aggregate([key], signature, _message(text))


def largest_aggregate(
    note: SignedNote, origin: str, policy: WitnessPolicy
) -> AggregateCosignature | None:
    """The aggregate of the most signers among a note's lines, not verified; None without one.

    Raises:
        SignatureError: a line under the identifier of aggregates is none.
    """
    keyed = _keyed(policy)
    wanted = _aggregate_id(origin, keyed)
    lines = [line for line in note.signatures if (line.name, line.key_id) == (origin, wanted)]
    found = [_parsed(line.body, keyed) for line in lines]
    return max(found, key=lambda item: len(item.signers), default=None)


def verify_aggregate_cosignature(
    note: SignedNote, origin: str, policy: WitnessPolicy
) -> tuple[str, ...]:
    """Check that the aggregate in a checkpoint is of enough witnesses, and theirs.

    Of several aggregates the one of the most signers is the note's; a verification takes too long
    to try all that somebody could have written.

    Args:
        note: a checkpoint whose log signature was verified.
        origin: of the log.
        policy: whose keys and threshold count.

    Returns:
        The names of those who signed.

    Raises:
        SignatureError: malformed, a key without proof of possession, or not their signatures over
            this checkpoint.
        WitnessError: no aggregate, or of fewer witnesses than the threshold.
    """
    found = largest_aggregate(note, origin, policy)
    signers = () if found is None else found.signers
    if found is None or len(signers) < policy.threshold:
        raise WitnessError(
            f"the aggregate is of {len(signers)} witnesses, {policy.threshold} must have signed"
        )
    keys = [key for name, key in _keyed(policy) if name in signers]
    verify_aggregate(keys, found.signature, _message(note.text))
    return signers


def _keyed(policy: WitnessPolicy) -> list[tuple[str, BlsKey]]:
    return [(each.name, each.bls) for each in policy.witnesses if each.bls is not None]


def _parsed(body: bytes, keyed: Sequence[tuple[str, BlsKey]]) -> AggregateCosignature:
    width = _bitmap_bytes(keyed)
    bits = int.from_bytes(body[:width], "little")
    if len(body) != width + SIGNATURE_BYTES or not bits or bits >> len(keyed):
        raise SignatureError("an aggregate is a bitmap of its signers and a signature")
    signers = tuple(name for at, (name, _) in enumerate(keyed) if bits >> at & 1)
    return AggregateCosignature(signers, body[width:])


def _bitmap_bytes(keyed: Sequence[tuple[str, BlsKey]]) -> int:
    return (len(keyed) + 7) // 8


def _aggregate_id(origin: str, keyed: Sequence[tuple[str, BlsKey]]) -> bytes:
    return _identifier(origin, _AGGREGATE_TYPE, b"".join(key.public for _, key in keyed))


def _identifier(name: str, kind: bytes, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:KEY_ID_BYTES]


def _message(text: str) -> bytes:
    return f"bls-cosignature/v1\n{text}".encode()
