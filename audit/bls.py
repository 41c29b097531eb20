"""BLS signatures over BLS12-381, which many witnesses' signatures add up to one with.

The scheme with proofs of possession of draft-irtf-cfrg-bls-signature (section 3.3), minimal public
keys: a key is a point of G1 of 48 bytes, a signature one of G2 of 96.  The sum of signatures over
one message verifies under the sum of the keys.  Whoever may choose a key after seeing the others'
can choose one that cancels them, and sign for all alone: so a key counts only with a proof that its
owner knows its secret, a signature over the key itself under another domain.  Nothing here verifies
under a key before that proof was verified.

The arithmetic is py_ecc's, in pure Python: loaded when it is first used (0.8 s), about 0.3 s for a
signature and 0.6 s for a verification, of an aggregate of any number as of one.  It does not run in
constant time; whoever can measure a witness that closely should not share its machine.
"""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ParamSpec, TypeVar

from audit.errors import AuditError, NoteError, SignatureError

PUBLIC_BYTES = 48
SIGNATURE_BYTES = 96
SECRET_BYTES = 32
_SEED_BYTES = 32
_LOADING = threading.Lock()

_P = ParamSpec("_P")
_T = TypeVar("_T")


class BlsUnavailableError(AuditError):
    """The library for BLS signatures is not installed."""


@dataclass(frozen=True)
class BlsKey:
    """A public key and the proof that its owner knows the secret; verified when it is used.

    Attributes:
        public: a point of G1, 48 bytes.
        proof: the proof of possession, a point of G2, 96 bytes.
    """

    public: bytes
    proof: bytes

    def __post_init__(self) -> None:
        if (len(self.public), len(self.proof)) != (PUBLIC_BYTES, SIGNATURE_BYTES):
            raise NoteError(
                f"a BLS key has {PUBLIC_BYTES} bytes and its proof {SIGNATURE_BYTES}, found "
                f"{len(self.public)} and {len(self.proof)}"
            )

    def require_possession(self) -> None:
        """Check the key and its proof of possession; once in a process for each key.

        Raises:
            SignatureError: not a point of the group, the point at infinity, or no proof of it.
        """
        if not _possessed(self.public, self.proof):
            raise SignatureError(
                f"BLS key {self.public.hex()}: its proof of possession does not verify"
            )


class BlsSigningKey:
    """A secret key; it shows its public half only.

    Attributes:
        public: the public key, 48 bytes.
    """

    def __init__(self, secret: int) -> None:
        self._secret = secret
        self.public: bytes = _computed(_scheme().SkToPk, secret)

    @classmethod
    def generate(cls) -> BlsSigningKey:
        """A new key from the operating system's generator."""
        return cls(_scheme().KeyGen(secrets.token_bytes(_SEED_BYTES)))

    @classmethod
    def from_secret(cls, secret: bytes) -> BlsSigningKey:
        """A key that was kept as its 32 bytes.

        Raises:
            SignatureError: another number of bytes, or a number that is no secret key.
        """
        if len(secret) != SECRET_BYTES:
            raise SignatureError(f"a secret key has {SECRET_BYTES} bytes, found {len(secret)}")
        try:
            return cls(int.from_bytes(secret, "big"))
        except _invalid() as error:
            raise SignatureError("not a secret key: zero, or beyond the group's order") from error

    def secret(self) -> bytes:
        """The 32 bytes to keep, and to show nobody."""
        return self._secret.to_bytes(SECRET_BYTES, "big")

    def proven(self) -> BlsKey:
        """The public key with a proof of possession, the same whenever it is made."""
        return BlsKey(self.public, _computed(_scheme().PopProve, self._secret))

    def sign(self, message: bytes) -> bytes:
        """The 96 bytes of the signature; the same for the same message."""
        signature: bytes = _computed(_scheme().Sign, self._secret, message)
        return signature


def aggregate(signatures: Sequence[bytes]) -> bytes:
    """The sum of signatures over one message, 96 bytes; `verify_aggregate` says what it is worth.

    Raises:
        SignatureError: there are none, or one is not a point of the curve.
    """
    try:
        total: bytes = _computed(_scheme().Aggregate, signatures)
    except _invalid() as error:
        raise SignatureError("not BLS signatures that can be added") from error
    return total


def verify_aggregate(keys: Sequence[BlsKey], signature: bytes, message: bytes) -> None:
    """Check that the owners of all keys have signed a message.

    Args:
        keys: one or more, each counted once.
        signature: of one, or the aggregate of all.
        message: what each of them signed.

    Raises:
        SignatureError: a key without proof of possession or that occurs twice, a point outside the
            group or at infinity, or another signature.
    """
    if not keys or len({key.public for key in keys}) < len(keys):
        raise SignatureError("an aggregate is of one or more different keys")
    for key in keys:
        key.require_possession()
    publics = [key.public for key in keys]
    if not _computed(_scheme().FastAggregateVerify, publics, message, signature):
        raise SignatureError(f"no signature of {len(keys)} BLS keys together over these bytes")


@lru_cache(maxsize=1 << 10)
def _possessed(public: bytes, proof: bytes) -> bool:
    return bool(_computed(_scheme().PopVerify, public, proof))


def _computed(compute: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
    """Run the library's arithmetic on a stack of its own.

    It calls itself once for each bit, 640 deep: on top of a caller's stack that can be too much,
    and a good signature would end in an error.
    """
    with ThreadPoolExecutor(1, "blindproof-bls") as thread:
        return thread.submit(compute, *given, **named).result()


@cache
def _invalid() -> tuple[type[Exception], ...]:
    """What the library raises for values that are none."""
    from eth_utils.exceptions import ValidationError

    return ValidationError, ValueError, AssertionError


@cache
def _scheme() -> Any:  # noqa: ANN401 -- published without type information
    # py_ecc raises the interpreter's limit to 100,000 when it is imported.  Deeply nested JSON
    # would then end the process, where it is an error of the parser otherwise.
    # One thread at a time: another would find that limit, and take it for the one to put back.
    with _LOADING:
        limit = sys.getrecursionlimit()
        try:
            from py_ecc.bls.ciphersuites import G2ProofOfPossession
        except ImportError as error:
            raise BlsUnavailableError(
                "BLS signatures need py_ecc: pip install 'blindproof[witness]'"
            ) from error
        finally:
            sys.setrecursionlimit(limit)
    return G2ProofOfPossession
