"""Sealed objects: AES-256-GCM under a data key of the tenant.

A request with plaintext columns rests sealed.  Erasing the tenant's key makes every one of them
unreadable, wherever copies of the objects are; receipts, proofs, checkpoints and the addresses of
the objects verify as before, because none of them needs the key.

A sealed object names its key without showing it, so that an erased key and a damaged object are
told apart.  Tenant, kind and name are authenticated: no object stands for another.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import ArchiveUnavailableError, ObjectDamagedError, ObjectErasedError
from audit.private_files import create_whole, erase, make_private_directory
from protocol.encoding import encode

KEY_BYTES = 32
FORMAT = b"blindproof sealed 1\n"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_ID_BYTES = 16
OVERHEAD = len(FORMAT) + _KEY_ID_BYTES + _NONCE_BYTES + _TAG_BYTES
"""Bytes by which a sealed object is longer than what is in it."""


class SealingKeys:
    """The data keys of tenants, each in its own file of one directory, mode 0600."""

    def __init__(self, directory: Path) -> None:
        """Use a directory, or make it.

        Raises:
            ArchiveUnavailableError: it cannot be made.
        """
        self._directory = directory
        try:
            make_private_directory(directory)
        except OSError as error:
            raise _unavailable(error) from error

    def seal(self, tenant: str, kind: str, name: bytes, data: bytes) -> bytes:
        """Seal an object, under a new key if the tenant has none.

        Args:
            tenant: whose key.
            kind: of the object.
            name: of the object.
            data: what is to be sealed.

        Raises:
            ArchiveUnavailableError: the key cannot be read or made; or it is damaged.
        """
        key = self._key(tenant)
        if key is None:
            key = self._created(tenant)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(key).encrypt(nonce, data, _associated_data(tenant, kind, name))
        return FORMAT + _key_id(key) + nonce + sealed

    def unseal(self, tenant: str, kind: str, name: bytes, sealed: bytes) -> bytes:
        """What `seal` was given.

        Raises:
            ObjectErasedError: its key is gone.
            ObjectDamagedError: altered, or sealed as another object.
            ArchiveUnavailableError: the key cannot be read.
        """
        if len(sealed) < OVERHEAD or not sealed.startswith(FORMAT):
            raise ObjectDamagedError(f"{kind} {name.hex()} is not a sealed object")
        key = self._key(tenant)
        at = len(FORMAT) + _KEY_ID_BYTES
        if key is None or not hmac.compare_digest(sealed[len(FORMAT) : at], _key_id(key)):
            raise ObjectErasedError(f"the key under which {kind} {name.hex()} is sealed was erased")
        nonce, body = sealed[at : at + _NONCE_BYTES], sealed[at + _NONCE_BYTES :]
        try:
            return AESGCM(key).decrypt(nonce, body, _associated_data(tenant, kind, name))
        except InvalidTag as error:
            raise ObjectDamagedError(f"{kind} {name.hex()} is not what was sealed") from error

    def erase(self, tenant: str) -> bool:
        """Destroy a tenant's key, as `audit.private_files.erase` does; true if there was one.

        Raises:
            ArchiveUnavailableError: the file cannot be written or removed.
        """
        try:
            return erase(self._path(tenant))
        except OSError as error:
            raise _unavailable(error) from error

    def _key(self, tenant: str) -> bytes | None:
        try:
            key = self._path(tenant).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unavailable(error) from error
        if key == bytes(KEY_BYTES):  # killed while it was erased
            return None
        if len(key) != KEY_BYTES:
            raise ArchiveUnavailableError(f"the sealing key of '{tenant}' is damaged")
        return key

    def _created(self, tenant: str) -> bytes:
        try:
            create_whole(self._path(tenant), secrets.token_bytes(KEY_BYTES))
        except OSError as error:
            raise _unavailable(error) from error
        key = self._key(tenant)
        if key is None:
            raise ArchiveUnavailableError(f"the sealing key of '{tenant}' is half erased")
        return key

    def _path(self, tenant: str) -> Path:
        return self._directory / hashlib.sha256(tenant.encode()).hexdigest()


def _key_id(key: bytes) -> bytes:
    return hmac.digest(key, b"blindproof sealing key id", hashlib.sha256)[:_KEY_ID_BYTES]


def _associated_data(tenant: str, kind: str, name: bytes) -> bytes:
    return encode(("blindproof sealed object 1", tenant, kind, name))


def _unavailable(error: OSError) -> ArchiveUnavailableError:
    return ArchiveUnavailableError(f"a sealing key cannot be used: {error.strerror}")
