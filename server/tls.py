"""What the server shows its peers, and whom it believes: PEM files, replaced while it runs.

gRPC and `ssl` say little or nothing of files that do not fit together: every handshake just fails.
So files are read and checked first, and what was checked is used, from memory, even if the files
change meanwhile.  New files are for new connections; those that are open go on as they began.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from protocol.errors import BlindproofError, EncodingError
from server.settings import ServerSettings
from wire.files import read_regular

MAX_PEM_BYTES = 1 << 20

_CURVES = frozenset({"secp256r1", "secp384r1"})
_SERVERS = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
_log = structlog.get_logger("blindproof.server")


class TlsError(BlindproofError):
    """PEM files that no connection could be made with; the message names the file."""


@dataclass(frozen=True)
class TlsFiles:
    """Where the PEM files are.

    Attributes:
        certificate: the server's, then those that lead to its authority.
        key: of the certificate, without passphrase.
        client_ca: the authority of clients; None if they need no certificate.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, settings: ServerSettings) -> TlsFiles:
        """Those that settings name."""
        return cls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        optional = () if self.client_ca is None else (self.client_ca,)
        return (self.certificate, self.key, *optional)

    def read(self) -> TlsIdentity:
        """Read and check.

        Raises:
            TlsError: a file that cannot be read, is not PEM, a key with a passphrase, the key of
                another certificate, a certificate that no client would take, or authorities of
                clients that are all not valid now.
        """
        certificate = _read(self.certificate)
        key = _read(self.key)
        shown = _certificates(certificate, self.certificate)[0]
        _require_servers(shown, self.certificate)
        try:
            private = serialization.load_pem_private_key(key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise TlsError(f"{self.key}: not a PEM private key without passphrase") from None
        if private.public_key() != shown.public_key():
            raise TlsError(f"{self.key} is not the key of {self.certificate}")
        client_ca = None
        if self.client_ca is not None:
            authorities = _certificates(_read(self.client_ca), self.client_ca)
            if not any(map(_is_valid, authorities)):
                raise TlsError(f"{self.client_ca}: no authority in it is valid now")
            # Written anew: around certificates a PEM file may hold any text.
            client_ca = b"".join(
                authority.public_bytes(serialization.Encoding.PEM) for authority in authorities
            )
        identity = TlsIdentity(certificate, key, client_ca, shown.not_valid_after_utc)
        try:
            # OpenSSL's own judgement, such as of keys that are too short.
            _context(identity, require_clients=client_ca is not None)
        except ssl.SSLError as error:
            named = " and ".join(map(str, self.paths))
            reason = (error.reason or "for another reason").replace("_", " ").lower()
            raise TlsError(f"{named} cannot be used for TLS: {reason}") from None
        return identity


@dataclass(frozen=True)
class TlsIdentity:
    """PEM that was read and fits together; see `TlsFiles`.

    Attributes:
        expires: when the certificate does.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    expires: dt.datetime


class ServerTls:
    """The TLS of every port of a server, which follows its files; see `server.reloading`."""

    def __init__(self, files: TlsFiles) -> None:
        """Begin with what the files hold.

        Whether clients need a certificate is settled here: gRPC decides that once for a port.

        Raises:
            TlsError: they cannot be used.
        """
        self._files = files
        self._identity = files.read()
        self._demands_clients = files.client_ca is not None
        self._contexts: list[ReplaceableContext] = []
        self._replacement: grpc.ServerCertificateConfiguration | None = None
        self._lock = threading.Lock()  # gRPC asks from threads of its own

    @property
    def files(self) -> tuple[Path, ...]:
        """The PEM files."""
        return self._files.paths

    @property
    def expires(self) -> dt.datetime:
        """When the certificate does that is shown now."""
        return self._identity.expires

    def prepare(self, settings: ServerSettings) -> Callable[[], None]:
        """Read and judge the files that settings name; see `server.reloading.Reloadable`.

        Raises:
            TlsError: they cannot be used, or not without a restart.
        """
        files = TlsFiles.of(settings)
        if (files.client_ca is not None) is not self._demands_clients:
            raise TlsError("whether clients need a certificate cannot change without a restart")
        identity = files.read()
        contexts = {context: context.prepared(identity) for context in tuple(self._contexts)}
        configuration = _configuration(identity)

        def replace() -> None:
            with self._lock:
                self._files = files
                if identity == self._identity:
                    return
                self._identity = identity
                self._replacement = configuration
                for context in self._contexts:
                    # One that was made meanwhile is not prepared; the same files can be used again.
                    context.follow(contexts.get(context) or context.prepared(identity))
            _log.info("certificate replaced", expires=identity.expires.isoformat())

        return replace

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Credentials of the one port that gRPC serves."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._identity),
            self._replaced,  # type: ignore[arg-type]  # gRPC's own documentation has None
            self._demands_clients,
        )

    def context(self, *, require_clients: bool = False) -> ssl.SSLContext:
        """A context for a server of asyncio's; it follows the files.

        Args:
            require_clients: ask peers for a certificate, if there is an authority of clients.
        """
        demands = require_clients and self._demands_clients
        with self._lock:
            context = ReplaceableContext.of(self._identity, require_clients=demands)
            self._contexts.append(context)
        return context

    def _replaced(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks before each handshake: another configuration, or None for the same."""
        with self._lock:
            replacement, self._replacement = self._replacement, None
            return replacement


class ReplaceableContext(ssl.SSLContext):
    """A context which hands each new connection to another one, which can be replaced.

    Loading other files into one context would leave it the authorities it has, and sessions of
    clients that they signed could be resumed.
    """

    _current: ssl.SSLContext
    _require_clients: bool

    @classmethod
    def of(cls, identity: TlsIdentity, *, require_clients: bool) -> ReplaceableContext:
        """A context that begins with an identity."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._require_clients = require_clients
        context.follow(context.prepared(identity))
        return context

    def prepared(self, identity: TlsIdentity) -> ssl.SSLContext:
        """What is to be followed for an identity.  Raises ssl.SSLError."""
        return _context(identity, require_clients=self._require_clients)

    def follow(self, context: ssl.SSLContext) -> None:
        """Hand over connections that begin from now on."""
        self._current = context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401
        """As `ssl.SSLContext.wrap_bio`, which is what asyncio begins a connection with."""
        return self._current.wrap_bio(*arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401
        """As `ssl.SSLContext.wrap_socket`."""
        return self._current.wrap_socket(*arguments, **options)


def _configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(identity.key, identity.certificate)], root_certificates=identity.client_ca
    )


def _context(identity: TlsIdentity, *, require_clients: bool) -> ssl.SSLContext:
    """Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # `ssl` reads files only; this one is in memory, without a name, and gone when it is closed.
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    with open(descriptor, "wb", buffering=0) as memory:  # noqa: PTH123 -- a descriptor
        memory.write(identity.key + b"\n" + identity.certificate)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    if require_clients and identity.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=identity.client_ca.decode("ascii"))
    return context


def _require_servers(shown: x509.Certificate, path: Path) -> None:
    """Judge what OpenSSL leaves to clients, and what gRPC's other library does not take.

    Raises:
        TlsError: no client would take the certificate now.
    """
    if not _is_valid(shown):
        raise TlsError(
            f"{path} is valid from {shown.not_valid_before_utc:%Y-%m-%d %H:%M} to "
            f"{shown.not_valid_after_utc:%Y-%m-%d %H:%M} UTC only"
        )
    key = shown.public_key()
    curve = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else None
    if not isinstance(key, rsa.RSAPublicKey) and curve not in _CURVES:
        # Given others, gRPC goes on with the certificate before, or no client of its agrees.
        raise TlsError(f"{path} has a key of a kind that gRPC does not serve: take RSA or P-256")
    with contextlib.suppress(x509.ExtensionNotFound):
        usage = shown.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if not _SERVERS.intersection(usage):
            raise TlsError(f"{path} is no certificate of a server")


def _is_valid(certificate: x509.Certificate) -> bool:
    now = dt.datetime.now(dt.UTC)
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_PEM_BYTES)
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror}") from error
    except EncodingError as error:
        raise TlsError(f"{path}: {error}") from None


def _certificates(data: bytes, path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one.  Raises TlsError."""
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise TlsError(f"{path}: no PEM certificate") from None
