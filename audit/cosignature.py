"""Signatures of witnesses over checkpoints, and how many a client asks for.

c2sp.org/tlog-cosignature, the Ed25519 form: 8 bytes of POSIX time, big-endian, and a signature over
"cosignature/v1", the line of that time and the checkpoint's text.  A witness says with it that of
this log it has seen no larger tree, and that this tree extends all it has seen.  With two views of
a log, k of n witnesses can sign both only if 2k - n of them break their word.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.bls import BlsKey
from audit.errors import NoteError, SignatureError, WitnessError
from audit.keys import SIGNATURE_BYTES, SigningKey, verify_signature
from audit.signed_note import KeyType, NoteKey, NoteSignature, SignedNote

TIME_BYTES = 8
MAX_TIME = (1 << 63) - 1
CLOCK_SKEW_SECONDS = 300
MAX_WITNESSES = 31
"""A note has lines for the log, for the cosignatures of so many, and for their aggregates."""


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
class Witness:
    """One witness of a policy.

    Attributes:
        key: with which it cosigns.
        url: where a log sends checkpoints; clients and auditors need none.
        bls: its key for signatures that can be aggregated, if it has one.

    Raises:
        NoteError: a key of another type.
    """

    key: NoteKey
    url: str | None = None
    bls: BlsKey | None = None

    def __post_init__(self) -> None:
        if self.key.kind is not KeyType.COSIGNATURE:
            raise NoteError(
                f"'{self.key.name}' is no key for cosignatures, which witnesses sign with"
            )

    @property
    def name(self) -> str:
        """The name in its signature lines."""
        return self.key.name


@dataclass(frozen=True)
class WitnessPolicy:
    """Which witnesses count, and how many of them must have signed.

    Attributes:
        witnesses: n different ones.
        threshold: k, from 1 to n.

    Raises:
        NoteError: no such k, more witnesses than a note has lines for, or a name or key that occurs
            twice.
    """

    witnesses: tuple[Witness, ...]
    threshold: int

    def __post_init__(self) -> None:
        if not 0 < len(self.witnesses) <= MAX_WITNESSES:
            raise NoteError(f"a policy names 1 to {MAX_WITNESSES} witnesses")
        if not 0 < self.threshold <= len(self.witnesses):
            raise NoteError(f"a policy asks for 1 to {len(self.witnesses)} of its witnesses")
        # One witness under two names would count twice.
        names = {witness.name for witness in self.witnesses}
        publics = {witness.key.public for witness in self.witnesses}
        if not len(names) == len(publics) == len(self.witnesses):
            raise NoteError("every witness of a policy has its own name and its own key")
        bls = [witness.bls.public for witness in self.witnesses if witness.bls is not None]
        if len(set(bls)) < len(bls):
            raise NoteError("every witness of a policy has its own BLS key")


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
    for witness in policy.witnesses:
        lines = note.by_key(witness.key)
        times = [
            verify_cosignature(note.text, witness.key, line, now_seconds).time_seconds
            for line in lines
        ]
        if times:
            found.append(Cosignature(witness.name, max(times)))
    if len(found) < policy.threshold:
        raise WitnessError(
            f"{len(found)} of {len(policy.witnesses)} witnesses have signed, "
            f"{policy.threshold} must"
        )
    return tuple(found)


def verify_cosignature(
    text: str, key: NoteKey, line: NoteSignature, now_seconds: int
) -> Cosignature:
    """Check one line.

    Args:
        text: of the checkpoint.
        key: of the witness whose line it claims to be.
        line: the line, by `SignedNote.by_key` or with the key's name and identifier.
        now_seconds: as `verify_cosignatures`.

    Raises:
        SignatureError: the witness did not sign this text at a time that has come.
    """
    body = line.body
    if len(body) != TIME_BYTES + SIGNATURE_BYTES:
        raise SignatureError(f"cosignature of '{key.name}' has {len(body)} bytes")
    time_seconds = int.from_bytes(body[:TIME_BYTES], "big")
    if time_seconds > min(MAX_TIME, now_seconds + CLOCK_SKEW_SECONDS):
        raise SignatureError(f"cosignature of '{key.name}' is from the future")
    verify_signature(key.public, body[TIME_BYTES:], _message(text, time_seconds))
    return Cosignature(key.name, time_seconds)


def _message(text: str, time_seconds: int) -> bytes:
    return f"cosignature/v1\ntime {time_seconds}\n{text}".encode()
