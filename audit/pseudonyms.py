"""Pseudonyms of subjects: HMAC-SHA256 under a key of the tenant.

A receipt names nobody: it holds a pseudonym, which whoever has the tenant's key can find again from
the identifier.  Without the key, an identifier cannot even be tried: erasing the key unlinks every
receipt of that tenant, and receipts, proofs and checkpoints verify as before, because none of them
is computed from the identifier.

The keys stay with whoever knows the subjects; the log never sees them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from audit.errors import ReceiptError
from audit.private_files import create_whole, erase
from protocol.encoding import encode
from protocol.errors import EncodingError

KEY_BYTES = 32
PSEUDONYM_BYTES = 32
MAX_IDENTIFIER = 1 << 10


def pseudonym(key: bytes, tenant: str, identifier: str) -> bytes:
    """The pseudonym of a subject, 32 bytes; under another key or tenant it is another.

    Args:
        key: the tenant's, 32 bytes.
        tenant: whose subject it is.
        identifier: what the tenant calls the subject, as exactly one string.

    Raises:
        ReceiptError: a key of the wrong size, or an identifier that is empty or too long.
    """
    if len(key) != KEY_BYTES:
        raise ReceiptError(f"a pseudonym key has {KEY_BYTES} bytes, found {len(key)}")
    if not 0 < len(identifier) <= MAX_IDENTIFIER:
        raise ReceiptError(f"an identifier has 1 to {MAX_IDENTIFIER} characters")
    try:
        message = encode(("blindproof subject pseudonym", tenant, identifier))
    except EncodingError as error:
        raise ReceiptError("an identifier must have a UTF-8 form") from error
    return hmac.digest(key, message, hashlib.sha256)


class PseudonymKeys:
    """The keys of tenants, each in its own file of one directory, mode 0600."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory

    def pseudonym(self, tenant: str, identifier: str) -> bytes:
        """The pseudonym of a tenant's subject, under a new key if the tenant has none.

        Raises:
            ReceiptError: an identifier that is empty or too long, or a damaged key file.
        """
        return pseudonym(self._key(tenant), tenant, identifier)

    def erase(self, tenant: str) -> bool:
        """Destroy a tenant's key, as `audit.private_files.erase` does; true if there was one."""
        return erase(self._path(tenant))

    def _key(self, tenant: str) -> bytes:
        path = self._path(tenant)
        if not path.exists():
            create_whole(path, secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
        if len(key) != KEY_BYTES or not any(key):
            raise ReceiptError(f"the pseudonym key in {path.name} is damaged or half erased")
        return key

    def _path(self, tenant: str) -> Path:
        return self._directory / hashlib.sha256(tenant.encode()).hexdigest()
