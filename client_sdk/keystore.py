"""The client's secrets on disk, encrypted under a passphrase.

    secrets.bin     scrypt and AES-256-GCM over: client identity, release key, ternary secrets,
                    digests of the enrolled keys, number of values disclosed
    keys/*.key      enrolled public keys; used only if their digest is in secrets.bin

Only the key derived from the passphrase stays in memory: secrets are decrypted when asked for.
Nothing here logs, and nothing secret is in a `repr` or an error.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from protocol.digests import DIGEST_BYTES
from protocol.encoding import (
    Value,
    decode,
    encode,
    expect_bytes,
    expect_int,
    expect_text,
    expect_tuple,
)
from protocol.errors import EncodingError, EnrolmentError, KeyStoreError, ParameterError
from wire.files import make_private_directory, read_bounded, write_private
from wire.stored_key import MAX_KEY_BYTES, Enrolment, decode_enrolment, encode_enrolment

PASSPHRASE_VARIABLE = "BLINDPROOF_PASSPHRASE"  # noqa: S105  (the name of a variable)
FORMAT = "blindproof key store 1"
MAX_STORE_BYTES = 16 << 20
RELEASE_KEY_BYTES = 32

SCRYPT_LOG2_COST, SCRYPT_BLOCK, SCRYPT_LANES = 15, 8, 1
"""32 MiB and about a tenth of a second for each guess."""
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32


@dataclass(frozen=True, repr=False)
class _Secrets:
    """The decrypted content of a store."""

    client_id: str
    release_key: bytes
    ternary: tuple[tuple[int, bytes], ...]  # (ring degree, int8 coefficients)
    enrolled: tuple[bytes, ...]  # newest first
    disclosed: int

    def value(self) -> Value:
        return (self.client_id, self.release_key, self.ternary, self.enrolled, self.disclosed)

    @classmethod
    def from_value(cls, value: Value) -> _Secrets:
        client, release, ternary, enrolled, disclosed = expect_tuple(value, "secrets", 5)
        pairs = [expect_tuple(pair, "secret", 2) for pair in expect_tuple(ternary, "secrets")]
        return cls(
            expect_text(client, "client identity"),
            expect_bytes(release, "release key", RELEASE_KEY_BYTES),
            tuple((expect_int(n, "degree"), expect_bytes(s, "secret")) for n, s in pairs),
            tuple(
                expect_bytes(digest, "key digest", DIGEST_BYTES)
                for digest in expect_tuple(enrolled, "enrolled keys")
            ),
            expect_int(disclosed, "disclosed values"),
        )

    @classmethod
    def fresh(cls) -> _Secrets:
        return cls(
            f"client-{secrets.token_hex(8)}", secrets.token_bytes(RELEASE_KEY_BYTES), (), (), 0
        )


class KeyStore:
    """Secret key, enrolled keys and release key of one client, in one directory.

    A store that does not exist is created.  Several processes may use one store.
    """

    def __init__(self, path: str | Path, passphrase: str | None = None) -> None:
        """Open or create a store.

        Args:
            path: a directory; created with mode 0700.
            passphrase: if None, the environment variable BLINDPROOF_PASSPHRASE is used, and
                without it the terminal is asked.

        Raises:
            KeyStoreError: no passphrase, a wrong one, or an unreadable store.
        """
        self._path = Path(path)
        try:
            make_private_directory(self._path / "keys")
            self._path.chmod(0o700)
            with self._locked():
                new = not self._file.exists()
                chosen = _passphrase(passphrase, new=new)
                if new:
                    self._salt = secrets.token_bytes(_SALT_BYTES)
                    self._cipher = _cipher(chosen, self._salt)
                    self._write(_Secrets.fresh())
                else:
                    self._salt, _, _ = self._parts()
                    self._cipher = _cipher(chosen, self._salt)
            self._read()
        except OSError as error:
            raise KeyStoreError(f"key store {self._path}: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"KeyStore({str(self._path)!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        """A store is opened, never copied into a pickle."""
        raise TypeError("a key store cannot be pickled: open it again from its path")

    @property
    def client_id(self) -> str:
        """The identity drawn when the store was made."""
        return self._read().client_id

    @property
    def release_key(self) -> bytes:
        """The PRF key of the noise on released values."""
        return self._read().release_key

    @property
    def disclosed(self) -> int:
        """Number of values released under the present secrets."""
        return self._read().disclosed

    def secret(
        self, ring_degree: int, generate: Callable[[], npt.NDArray[np.int8]]
    ) -> npt.NDArray[np.int8]:
        """The ternary secret of a ring degree, int8 (N,); made by `generate` the first time."""

        def keep(content: _Secrets) -> _Secrets:
            if any(degree == ring_degree for degree, _ in content.ternary):
                return content
            drawn = (ring_degree, generate().astype(np.int8).tobytes())
            return replace(content, ternary=(*content.ternary, drawn))

        stored = dict(self._read().ternary).get(ring_degree)
        if stored is None:
            stored = dict(self._update(keep).ternary)[ring_degree]
        if len(stored) != ring_degree:
            raise KeyStoreError(f"key store {self._path}: damaged secret")
        return np.frombuffer(stored, dtype=np.int8).copy()

    def enrolled_key(
        self,
        client_id: str,
        server_id: str,
        ring_degree: int,
        moduli: tuple[int, ...],
        keys: int,
    ) -> Enrolment | None:
        """A key enrolled under these identities that covers these moduli, so many times."""
        for digest in self._read().enrolled:
            enrolment = self._load_key(digest)
            request = enrolment.key.request
            if (
                (request.client_id, request.server_id) == (client_id, server_id)
                and request.ring_degree == ring_degree
                and request.moduli[: len(moduli)] == moduli
                and request.keys >= keys
            ):
                return enrolment
        return None

    def add_enrolled_key(self, enrolment: Enrolment) -> None:
        """Keep an enrolled key and its proof, which evidence needs."""
        digest = enrolment.key.digest
        write_private(self._key_path(digest), encode_enrolment(enrolment))
        self._update(lambda content: replace(content, enrolled=(digest, *content.enrolled)))

    def forget_enrolled_key(self, digest: bytes) -> None:
        """Drop a key the server no longer knows."""
        self._update(
            lambda content: replace(
                content, enrolled=tuple(kept for kept in content.enrolled if kept != digest)
            )
        )
        self._key_path(digest).unlink(missing_ok=True)

    def count_disclosure(self, values: int) -> None:
        """Add to the number of values released."""
        self._update(lambda content: replace(content, disclosed=content.disclosed + values))

    def rotate(self) -> None:
        """Throw the secrets and enrolled keys away; new ones are made when next needed."""
        dropped = self._read().enrolled
        self._update(lambda content: replace(_Secrets.fresh(), client_id=content.client_id))
        for digest in dropped:
            self._key_path(digest).unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self._path / "secrets.bin"

    def _key_path(self, digest: bytes) -> Path:
        return self._path / "keys" / f"{digest.hex()}.key"

    def _load_key(self, digest: bytes) -> Enrolment:
        path = self._key_path(digest)
        try:
            enrolment = decode_enrolment(read_bounded(path, MAX_KEY_BYTES))
        except (OSError, EncodingError, EnrolmentError, ParameterError) as error:
            raise KeyStoreError(f"enrolled key {path} is missing or damaged") from error
        if enrolment.key.digest != digest:
            raise KeyStoreError(f"enrolled key {path} is not the one this store enrolled")
        return enrolment

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other processes, and other threads, from reading, changing and writing."""
        descriptor = os.open(self._path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _update(self, change: Callable[[_Secrets], _Secrets]) -> _Secrets:
        with self._locked():
            content = change(self._read())
            self._write(content)
            return content

    def _parts(self) -> tuple[bytes, bytes, bytes]:
        """Salt, nonce and ciphertext."""
        try:
            fields = expect_tuple(decode(read_bounded(self._file, MAX_STORE_BYTES)), "store", 4)
            if fields[0] != FORMAT:
                raise EncodingError(f"not a '{FORMAT}'")
            return (
                expect_bytes(fields[1], "salt", _SALT_BYTES),
                expect_bytes(fields[2], "nonce", _NONCE_BYTES),
                expect_bytes(fields[3], "ciphertext"),
            )
        except (OSError, EncodingError) as error:
            raise KeyStoreError(f"key store {self._path} cannot be read: {error}") from error

    def _read(self) -> _Secrets:
        _, nonce, ciphertext = self._parts()
        try:
            plain = self._cipher.decrypt(nonce, ciphertext, self._associated)
        except InvalidTag as error:
            raise KeyStoreError(
                f"key store {self._path}: wrong passphrase, or the file was altered"
            ) from error
        return _Secrets.from_value(decode(plain))

    def _write(self, content: _Secrets) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ciphertext = self._cipher.encrypt(nonce, encode(content.value()), self._associated)
        write_private(self._file, encode((FORMAT, self._salt, nonce, ciphertext)))

    @property
    def _associated(self) -> bytes:
        return encode((FORMAT, self._salt))


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    kdf = Scrypt(
        salt=salt, length=_KEY_BYTES, n=1 << SCRYPT_LOG2_COST, r=SCRYPT_BLOCK, p=SCRYPT_LANES
    )
    return AESGCM(kdf.derive(passphrase.encode()))


def _passphrase(given: str | None, *, new: bool) -> str:
    """The passphrase given, or the environment's, or the terminal's."""
    chosen = given if given is not None else os.environ.get(PASSPHRASE_VARIABLE)
    if chosen is None and sys.stdin is not None and sys.stdin.isatty():
        chosen = getpass.getpass("Passphrase of the key store: ")
        if new and getpass.getpass("The same again: ") != chosen:
            raise KeyStoreError("the two passphrases differ")
    if not chosen:
        raise KeyStoreError(
            f"the key store needs a passphrase: pass one, set {PASSPHRASE_VARIABLE}, "
            "or run in a terminal"
        )
    return chosen
