"""Ed25519 keys as the audit trail uses them: 32 bytes public, 32 bytes secret, RFC 8032."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.errors import SignatureError

KEY_BYTES = 32
SIGNATURE_BYTES = 64


class SigningKey:
    """A secret key; it shows its public half only.

    Attributes:
        public: the public key, 32 bytes.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the operating system's generator."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_secret(cls, secret: bytes) -> SigningKey:
        """A key that was kept as its 32 bytes.

        Raises:
            SignatureError: another number of bytes.
        """
        if len(secret) != KEY_BYTES:
            raise SignatureError(f"a secret key has {KEY_BYTES} bytes, found {len(secret)}")
        return cls(Ed25519PrivateKey.from_private_bytes(secret))

    def secret(self) -> bytes:
        """The 32 bytes to keep, and to show nobody."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature; the same for the same message."""
        return self._key.sign(message)


def verify_signature(public: bytes, signature: bytes, message: bytes) -> None:
    """Check one signature.

    Raises:
        SignatureError: it is not this key's over this message.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(f"no signature of key {public.hex()} over these bytes") from error
