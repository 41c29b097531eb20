"""Signatures of witnesses over checkpoints, and how many a client asks for.

c2sp.org/tlog-cosignature, the Ed25519 form: 8 bytes of POSIX time, big-endian, and a signature over
"cosignature/v1", the line of that time and the checkpoint's text.  A witness says with it that of
this log it has seen no larger tree, and that this tree extends all it has seen.  With two views of
a log, k of n witnesses can sign both only if 2k - n of them break their word.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.errors import NoteError, SignatureError, WitnessError
from audit.keys import SIGNATURE_BYTES, SigningKey, verify_signature
from audit.signed_note import KeyType, NoteKey, NoteSignature, SignedNote

TIME_BYTES = 8
MAX_TIME = (1 << 63) - 1
CLOCK_SKEW_SECONDS = 300


@dataclass(frozen=True)
class Cosignature:
    """A verified statement of one witness.

    Attributes:
        witness: the witness's name.
        time_seconds: when it was made, by the witness's clock, POSIX time.
    """

    witness: str
    time_seconds: int


@dataclass(frozen=True)
class WitnessPolicy:
    """Which witnesses count, and how many of them must have signed.

    Attributes:
        witnesses: keys for cosignatures, of n different witnesses.
        threshold: k, from 1 to n.

    Raises:
        NoteError: no such k, a key of another type, or a name or key that occurs twice.
    """

    witnesses: tuple[NoteKey, ...]
    threshold: int

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= len(self.witnesses):
            raise NoteError(f"a policy asks for 1 to {len(self.witnesses)} of its witnesses")
        if any(key.kind is not KeyType.COSIGNATURE for key in self.witnesses):
            raise NoteError("witnesses sign with keys for cosignatures")
        # One witness under two names would count twice.
        names = {key.name for key in self.witnesses}
        publics = {key.public for key in self.witnesses}
        if not len(names) == len(publics) == len(self.witnesses):
            raise NoteError("every witness of a policy has its own name and its own key")


def cosign(note: SignedNote, name: str, key: SigningKey, time_seconds: int) -> NoteSignature:
    """A witness's line for a checkpoint; that the tree extends what it saw, it checks before.

    Raises:
        NoteError: a name or a time which cosignatures cannot have.
    """
    if not 0 <= time_seconds <= MAX_TIME:
        raise NoteError(f"time {time_seconds} is not POSIX time")
    named = NoteKey(name, key.public, KeyType.COSIGNATURE)
    signature = key.sign(_message(note.text, time_seconds))
    return NoteSignature(name, named.key_id, time_seconds.to_bytes(TIME_BYTES, "big") + signature)


def verify_cosignatures(
    note: SignedNote, policy: WitnessPolicy, now_seconds: int
) -> tuple[Cosignature, ...]:
    """Check that enough witnesses have signed a checkpoint.

    Args:
        note: a checkpoint whose log signature was verified.
        policy: who counts; lines of others are ignored.
        now_seconds: the time here; cosignatures from later than that are refused.

    Returns:
        The statements, one for each witness of the policy that signed, the latest if it did twice.

    Raises:
        SignatureError: a line that claims to be a known witness's does not verify.
        WitnessError: fewer than the threshold have signed.
    """
    found = []
    for key in policy.witnesses:
        lines = note.by_key(key)
        times = [_verified_time(note.text, key, line.body, now_seconds) for line in lines]
        if times:
            found.append(Cosignature(key.name, max(times)))
    if len(found) < policy.threshold:
        raise WitnessError(
            f"{len(found)} of {len(policy.witnesses)} witnesses have signed, "
            f"{policy.threshold} must"
        )
    return tuple(found)


def _verified_time(text: str, key: NoteKey, body: bytes, now_seconds: int) -> int:
    if len(body) != TIME_BYTES + SIGNATURE_BYTES:
        raise SignatureError(f"cosignature of '{key.name}' has {len(body)} bytes")
    time_seconds = int.from_bytes(body[:TIME_BYTES], "big")
    if time_seconds > min(MAX_TIME, now_seconds + CLOCK_SKEW_SECONDS):
        raise SignatureError(f"cosignature of '{key.name}' is from the future")
    verify_signature(key.public, body[TIME_BYTES:], _message(text, time_seconds))
    return time_seconds


def _message(text: str, time_seconds: int) -> bytes:
    return f"cosignature/v1\ntime {time_seconds}\n{text}".encode()
