"""The client's secrets on disk, encrypted under a passphrase.

    secrets.bin     scrypt and AES-256-GCM over: client identity, epoch, release key, ternary
                    secrets, digests and epochs of the enrolled keys, units of disclosure, and the
                    key that signs receipts
    keys/*.key      enrolled public keys; used only if their digest is in secrets.bin
    logs.bin        under the same key: the audit logs that were met, `client_sdk.log_memory`
    pseudonyms/     keys of the subjects' pseudonyms, one for each tenant, `audit.pseudonyms`: apart
                    from the rest, and not encrypted, so that each can be destroyed by itself

There is one secret per ring, and the secrets of two rings are independent: models over different
rings can be asked in turn, and each enrols keys of its own ring's secret.

Rotation replaces all secrets but the key that signs receipts, and begins an epoch, under a fresh
random name; identity, logs and pseudonyms stay.  What belongs together is read together, as a
`Snapshot`; what is written back names the epoch it belongs to and is refused in any other.  A
rotation by another thread or process can therefore never pair an enrolled key with a secret it was
not made from.

Of what is secret, only the key derived from the passphrase stays in memory: the rest is decrypted
when asked for.
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from audit.errors import NoteError
from audit.head import Head
from audit.keys import KEY_BYTES as RECEIPT_KEY_BYTES
from audit.keys import SigningKey
from audit.pseudonyms import PseudonymKeys
from audit.signed_note import NoteKey
from client_sdk.log_memory import KnownLog, LogMemory
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
from protocol.keys import KeyRequest
from wire.files import make_private_directory, read_bounded, write_private
from wire.stored_key import MAX_KEY_BYTES, Enrolment, decode_enrolment, encode_enrolment

PASSPHRASE_VARIABLE = "BLINDPROOF_PASSPHRASE"  # noqa: S105  (the name of a variable)
FORMAT = "blindproof key store 3"
LOGS_FORMAT = "blindproof known logs 1"
MAX_STORE_BYTES = 16 << 20
MAX_LOGS_BYTES = 16 << 20
RELEASE_KEY_BYTES = 32
EPOCH_BYTES = 16

LOADED_KEYS = 2
"""Enrolled keys, which are public, kept in memory: forty at N = 16384 have 31 MB, and as much again
once their uniform halves are expanded, which takes longer than reading them."""

SCRYPT_LOG2_COST, SCRYPT_BLOCK, SCRYPT_LANES = 15, 8, 1
"""32 MiB and about a tenth of a second for each guess."""
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32

_FIELDS_BEFORE_RECEIPTS = 6
"""Of stores that were made before clients signed receipts; they are read as they are."""

_Stamp: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Ring:
    """What one ternary secret is for.

    Attributes:
        degree: N.
        moduli: the data primes, all of them: another chain is another ring.
    """

    degree: int
    moduli: tuple[int, ...]

    @classmethod
    def of(cls, request: KeyRequest) -> Ring:
        """The ring whose secret a key was, or is to be, enrolled for."""
        return cls(request.ring_degree, request.moduli)

    def value(self) -> Value:
        """The canonical value."""
        return (self.degree, self.moduli)

    @classmethod
    def from_value(cls, value: Value) -> Ring:
        """Rebuild from a decoded value.  Raises EncodingError."""
        degree, moduli = expect_tuple(value, "ring", 2)
        primes = expect_tuple(moduli, "moduli")
        return cls(expect_int(degree, "degree"), tuple(expect_int(q, "modulus") for q in primes))


class StaleSnapshotError(KeyStoreError):
    """The secrets a snapshot holds were rotated away or used up: start again from a fresh one."""


@dataclass(frozen=True, eq=False, repr=False)
class Snapshot:
    """What one prediction needs of a store, all of one epoch.

    Attributes:
        epoch: names the secrets; nothing may be written back to a store in another epoch.
        secret: ternary, int8 (N,).
        release_key: the PRF key of the noise on released values.
        enrolment: an enrolled key of this secret that fits, or None.
    """

    epoch: bytes
    secret: npt.NDArray[np.int8]
    release_key: bytes
    enrolment: Enrolment | None


@dataclass(frozen=True)
class StoreSummary:
    """What may be shown of a store.

    Attributes:
        client_id: the identity drawn when the store was made.
        disclosed: units of disclosure (`client_sdk.disclosure`) of the values released, or
            reserved for release, under the present secrets of all rings together.
        enrolled: the enrolled keys, newest first: digest, and what each was enrolled for.
    """

    client_id: str
    disclosed: int
    enrolled: tuple[tuple[bytes, KeyRequest], ...]


@dataclass(frozen=True, repr=False)
class _Secrets:
    """The decrypted content of a store."""

    client_id: str
    epoch: bytes = field(default_factory=lambda: secrets.token_bytes(EPOCH_BYTES))
    release_key: bytes = field(default_factory=lambda: secrets.token_bytes(RELEASE_KEY_BYTES))
    ternary: tuple[tuple[Ring, bytes], ...] = ()  # (ring, int8 coefficients)
    enrolled: tuple[tuple[bytes, bytes], ...] = ()  # (digest, epoch), newest first
    disclosed: int = 0
    receipt_key: bytes | None = None  # made when first used

    def value(self) -> Value:
        return (
            self.client_id,
            self.epoch,
            self.release_key,
            tuple((ring.value(), secret) for ring, secret in self.ternary),
            self.enrolled,
            self.disclosed,
            self.receipt_key,
        )

    @classmethod
    def from_value(cls, value: Value) -> _Secrets:
        parts = expect_tuple(value, "secrets")
        if len(parts) == _FIELDS_BEFORE_RECEIPTS:
            parts = (*parts, None)
        client, epoch, release, ternary, enrolled, disclosed, signing = expect_tuple(
            parts, "secrets", _FIELDS_BEFORE_RECEIPTS + 1
        )
        pairs = [expect_tuple(pair, "secret", 2) for pair in expect_tuple(ternary, "secrets")]
        keys = [expect_tuple(pair, "key", 2) for pair in expect_tuple(enrolled, "enrolled keys")]
        return cls(
            expect_text(client, "client identity"),
            expect_bytes(epoch, "epoch", EPOCH_BYTES),
            expect_bytes(release, "release key", RELEASE_KEY_BYTES),
            tuple((Ring.from_value(ring), expect_bytes(s, "secret")) for ring, s in pairs),
            tuple(
                (
                    expect_bytes(digest, "key digest", DIGEST_BYTES),
                    expect_bytes(made_in, "epoch", EPOCH_BYTES),
                )
                for digest, made_in in keys
            ),
            expect_int(disclosed, "disclosed values"),
            None if signing is None else expect_bytes(signing, "receipt key", RECEIPT_KEY_BYTES),
        )

    @classmethod
    def fresh(cls) -> _Secrets:
        return cls(f"client-{secrets.token_hex(8)}")

    def rotated(self) -> _Secrets:
        """The same client in a new epoch, with nothing of the old one but its signature."""
        return _Secrets(self.client_id, receipt_key=self.receipt_key)

    def require(self, epoch: bytes) -> None:
        """Refuse what belongs to another epoch."""
        if self.epoch != epoch:
            raise StaleSnapshotError("the secrets were rotated meanwhile: start again")

    def without_key(self, digest: bytes) -> _Secrets:
        kept = tuple(pair for pair in self.enrolled if pair[0] != digest)
        return replace(self, enrolled=kept)


class KeyStore:
    """Secret key, enrolled keys and release key of one client, in one directory.

    A store that does not exist is created.  Several processes may use one store.
    """

    def __init__(
        self, path: str | Path, passphrase: str | None = None, *, create: bool = True
    ) -> None:
        """Open or create a store.

        Args:
            path: a directory; created with mode 0700 if missing, else its mode is left as it is.
            passphrase: if None, the environment variable BLINDPROOF_PASSPHRASE is used, and
                without it the terminal is asked.
            create: whether to make a store where there is none.

        Raises:
            KeyStoreError: no passphrase, a wrong one, no store or an unreadable one, or a
                directory with other things in it.
        """
        self._path = Path(path)
        self._loaded: dict[bytes, tuple[_Stamp, Enrolment]] = {}
        try:
            self._require_place(create=create)
            make_private_directory(self._path)
            make_private_directory(self._path / "keys")
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
    def disclosed(self) -> int:
        """Units of disclosure of the values released, or reserved, under the present secrets."""
        return self._read().disclosed

    def summary(self) -> StoreSummary:
        """What may be shown of this store.  Forgets enrolled keys whose files are damaged."""
        with self._locked():
            content = self._read()
            found = [
                (digest, enrolment.key.request)
                for digest, _ in content.enrolled
                if (enrolment := self._sound_key(digest)) is not None
            ]
        return StoreSummary(content.client_id, content.disclosed, tuple(found))

    def snapshot(
        self,
        ring: Ring,
        generate: Callable[[], npt.NDArray[np.int8]],
        *,
        wanted: KeyRequest | None = None,
        room: int = 0,
        limit: int | None = None,
    ) -> Snapshot:
        """The secrets for a ring, all of one epoch, read under one lock.

        Args:
            ring: its ternary secret is made the first time it is asked for.
            generate: makes a ternary secret, int8 (N,).
            wanted: look for a key of this ring, enrolled under these identities, with at least so
                many public keys.
            room: units that are to be disclosed; the secrets are rotated first if `limit` would be
                exceeded.  Nothing is reserved: see `count_disclosure`.
            limit: units that may be disclosed in one epoch; no limit if None.

        Raises:
            KeyStoreError: the store cannot be read or written, or is damaged.
        """
        with self._locked():
            content = self._read()
            if limit is not None and content.disclosed + room > limit:
                content = self._rotate(content)
            stored = dict(content.ternary).get(ring)
            if stored is None:
                stored = generate().astype(np.int8).tobytes()
                content = replace(content, ternary=(*content.ternary, (ring, stored)))
                self._write(content)
            if len(stored) != ring.degree:
                raise KeyStoreError(f"key store {self._path}: damaged secret")
            enrolment = None if wanted is None else self._fitting_key(content, wanted)
        secret = np.frombuffer(stored, dtype=np.int8).copy()
        return Snapshot(content.epoch, secret, content.release_key, enrolment)

    def add_enrolled_key(self, enrolment: Enrolment, epoch: bytes) -> None:
        """Keep a key enrolled in an epoch, and its proof, which evidence needs.

        Raises:
            StaleSnapshotError: the secret it was made from is no longer the store's.
        """
        digest = enrolment.key.digest

        def add(content: _Secrets) -> _Secrets:
            content.require(epoch)
            write_private(self._key_path(digest), encode_enrolment(enrolment))
            return replace(content, enrolled=((digest, epoch), *content.enrolled))

        self._update(add)

    def forget_enrolled_key(self, digest: bytes) -> None:
        """Drop a key the server no longer knows."""
        self._update(lambda content: content.without_key(digest))
        self._key_path(digest).unlink(missing_ok=True)

    def count_disclosure(self, units: int, epoch: bytes, limit: int | None = None) -> None:
        """Reserve the disclosure of so many units, before anything is sent.

        What is reserved stays counted when the request fails.

        Raises:
            StaleSnapshotError: the epoch has ended, or the limit would be exceeded.
        """

        def reserve(content: _Secrets) -> _Secrets:
            content.require(epoch)
            disclosed = content.disclosed + units
            if limit is not None and disclosed > limit:
                raise StaleSnapshotError("as much as these secrets may disclose is taken")
            return replace(content, disclosed=disclosed)

        self._update(reserve)

    def rotate(self) -> None:
        """Throw the secrets and enrolled keys away; new ones are made when next needed."""
        with self._locked():
            self._rotate(self._read())

    def receipt_key(self) -> SigningKey:
        """The key that signs receipts of answers this client has verified; made when first used.

        Raises:
            KeyStoreError: the store cannot be read or written.
        """
        secret = self._read().receipt_key
        if secret is None:
            fresh = SigningKey.generate().secret()

            def keep(content: _Secrets) -> _Secrets:
                return content if content.receipt_key else replace(content, receipt_key=fresh)

            secret = self._update(keep).receipt_key
        assert secret is not None  # noqa: S101 -- it was there or has just been kept
        return SigningKey.from_secret(secret)

    def pseudonym(self, tenant: str, identifier: str) -> bytes:
        """What stands for a subject in receipts, 32 bytes: see `audit.pseudonyms`.

        Args:
            tenant: whose subject it is.
            identifier: what the tenant calls the subject; it goes no further than this method.

        Raises:
            ReceiptError: an identifier that is empty or too long.
            KeyStoreError: the key of the tenant's pseudonyms cannot be read or made.
        """
        with self._locked():
            return self._pseudonyms.pseudonym(tenant, identifier)

    def erase_pseudonyms(self, tenant: str) -> bool:
        """Destroy the key of a tenant's pseudonyms; true if there was one.

        No receipt of the tenant's can be linked to its subject any more; all verify as before.
        Copies of the store are not reached.
        """
        with self._locked():
            return self._pseudonyms.erase(tenant)

    def known_log(self, address: str) -> KnownLog | None:
        """The log of the server at an address; None before its first receipt was verified.

        Raises:
            KeyStoreError: what is remembered cannot be read, or was altered.
        """
        return self._read_logs().at(address)

    def log(self, key: NoteKey) -> KnownLog:
        """A log by its key.  Raises KeyStoreError, as `known_log`."""
        return self._read_logs().of(key)

    def advance_log(
        self, address: str, seen: KnownLog, head: Head, *, pinned: bool = False
    ) -> Head:
        """Remember a verified head, if what is kept is still what was seen.

        Several clients may share a store: whoever finds another head kept joins that one with its
        own first, and tries again.  So the largest head stays, and two that cannot be joined are
        never both accepted.

        Args:
            address: of the server whose log it is.
            seen: what was read before.
            head: joined to `seen.head`, and not smaller.
            pinned: whether the log's key is from elsewhere than the server, so that it takes the
                place of one that was remembered.

        Returns:
            What is kept now: `head`, unless it has to be joined.

        Raises:
            LogKeyError: the server's log is remembered under another key.
            KeyStoreError: the store cannot be read or written.
        """
        with self._locked():
            memory = self._read_logs()
            advanced = memory.advanced(address, seen, head, pinned=pinned)
            if advanced != memory:
                self._write_logs(advanced)
        return advanced.heads[seen.key]

    def forget_log(self, address: str) -> None:
        """Forget the log of a server, its key and how far it was verified.

        Nothing that the server has shown so far holds it to its log then: only for one that was
        lost or restored, and whose operator says so.

        Raises:
            KeyStoreError: the store cannot be read or written.
        """
        with self._locked():
            self._write_logs(self._read_logs().without(address))

    @property
    def _pseudonyms(self) -> PseudonymKeys:
        return PseudonymKeys(self._path / "pseudonyms")

    @property
    def _file(self) -> Path:
        return self._path / "secrets.bin"

    @property
    def _logs_file(self) -> Path:
        return self._path / "logs.bin"

    def _key_path(self, digest: bytes) -> Path:
        return self._path / "keys" / f"{digest.hex()}.key"

    def _require_place(self, *, create: bool) -> None:
        """Refuse to make a store in somebody else's directory, or where none is wanted."""
        if self._file.exists():
            return
        if not create:
            raise KeyStoreError(
                f"{self._path} is not a key store: name another directory, or let the first "
                "enrolment or prediction make one there"
            )
        if self._path.is_dir() and not all(_of_a_store(entry) for entry in self._path.iterdir()):
            raise KeyStoreError(
                f"{self._path} is not a key store and not empty: name another directory"
            )

    def _rotate(self, content: _Secrets) -> _Secrets:
        """Begin an epoch; the caller holds the lock."""
        rotated = content.rotated()
        self._write(rotated)
        for digest, _ in content.enrolled:
            self._key_path(digest).unlink(missing_ok=True)
        return rotated

    def _fitting_key(self, content: _Secrets, wanted: KeyRequest) -> Enrolment | None:
        """The newest sound key of this epoch that covers a wish; the caller holds the lock."""
        for digest, epoch in content.enrolled:
            if epoch != content.epoch:
                continue
            enrolment = self._sound_key(digest)
            if enrolment is not None and _covers(enrolment.key.request, wanted):
                return enrolment
        return None

    def _sound_key(self, digest: bytes) -> Enrolment | None:
        """An enrolled key, or None after forgetting a missing or damaged one; under the lock.

        A lost key costs an enrolment, a store that refuses to work costs the user a store.
        """
        path = self._key_path(digest)
        try:
            stamp = _stamp(path)
            if digest in self._loaded and self._loaded[digest][0] == stamp:
                return self._loaded[digest][1]
            enrolment = decode_enrolment(read_bounded(path, MAX_KEY_BYTES))
            if enrolment.key.digest == digest:
                self._remember(digest, stamp, enrolment)
                return enrolment
        except (FileNotFoundError, EncodingError, EnrolmentError, ParameterError):
            pass
        except OSError as error:
            raise KeyStoreError(f"enrolled key {path}: {error.strerror}") from error
        self._write(self._read().without_key(digest))
        path.unlink(missing_ok=True)
        return None

    def _remember(self, digest: bytes, stamp: _Stamp, enrolment: Enrolment) -> None:
        """Keep the keys used last; under the lock."""
        self._loaded.pop(digest, None)
        self._loaded[digest] = (stamp, enrolment)
        while len(self._loaded) > LOADED_KEYS:
            del self._loaded[next(iter(self._loaded))]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other processes, and other threads, from reading, changing and writing."""
        descriptor = os.open(self._path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise KeyStoreError(f"key store {self._path}: {error.strerror}") from error
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
        try:
            return _Secrets.from_value(decode(plain))
        except EncodingError as error:
            raise KeyStoreError(f"key store {self._path} cannot be read: {error}") from error

    def _write(self, content: _Secrets) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ciphertext = self._cipher.encrypt(nonce, encode(content.value()), self._associated)
        write_private(self._file, encode((FORMAT, self._salt, nonce, ciphertext)))

    def _read_logs(self) -> LogMemory:
        try:
            data = read_bounded(self._logs_file, MAX_LOGS_BYTES)
        except FileNotFoundError:
            return LogMemory()
        except (OSError, EncodingError) as error:
            raise KeyStoreError(f"{self._logs_file} cannot be read: {error}") from error
        try:
            form, nonce, ciphertext = expect_tuple(decode(data), "known logs", 3)
            if form != LOGS_FORMAT:
                raise EncodingError(f"not '{LOGS_FORMAT}'")
            plain = self._cipher.decrypt(
                expect_bytes(nonce, "nonce", _NONCE_BYTES),
                expect_bytes(ciphertext, "ciphertext"),
                encode((LOGS_FORMAT, self._salt)),
            )
            return LogMemory.from_value(decode(plain))
        except (EncodingError, NoteError, InvalidTag) as error:
            raise KeyStoreError(
                f"{self._logs_file} was altered or is another store's: what this client knew of "
                "audit logs is lost.  Remove the file to meet them anew, with their keys as log_key"
            ) from error

    def _write_logs(self, memory: LogMemory) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        associated = encode((LOGS_FORMAT, self._salt))
        ciphertext = self._cipher.encrypt(nonce, encode(memory.value()), associated)
        write_private(self._logs_file, encode((LOGS_FORMAT, nonce, ciphertext)))

    @property
    def _associated(self) -> bytes:
        return encode((FORMAT, self._salt))


def _of_a_store(path: Path) -> bool:
    """Whether a file is one that a store which was not finished may have left."""
    return path.name in {"keys", ".lock"} or path.name.startswith(".secrets.bin.")


def _stamp(path: Path) -> _Stamp:
    """What changes with a file's content."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _covers(enrolled: KeyRequest, wanted: KeyRequest) -> bool:
    return (
        (enrolled.client_id, enrolled.server_id) == (wanted.client_id, wanted.server_id)
        and Ring.of(enrolled) == Ring.of(wanted)
        and enrolled.keys >= wanted.keys
    )


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
