"""What a client shows of itself, and whom it trusts: PEM files and bearer tokens.

Files are those of the present: certificates and tokens that live for hours are replaced by others
while a client runs.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from client_sdk.transport_errors import TransportError
from protocol.errors import EncodingError
from wire.files import read_regular

MAX_TOKEN_BYTES = 8192
"""gRPC's servers take 8 KiB of metadata, unless they are told otherwise."""

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""b64token of RFC 6750, section 2.1."""

Stamp: TypeAlias = "tuple[tuple[int, int, int, int] | None, ...]"
"""Which files were read: device, inode, size and time of change of each, None if it is missing."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of a connection.

    Attributes:
        ca: authority that signed the server's certificate; None for the system's authorities.
        certificate, key: the client's own, for servers that ask for one.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(
        cls,
        ca: str | Path | None,
        certificate: str | Path | None,
        key: str | Path | None,
    ) -> TlsFiles:
        """From paths as users give them."""
        return cls(*(None if path is None else Path(path) for path in (ca, certificate, key)))

    def stamp(self) -> Stamp:
        """What tells these files from those that will replace them."""
        return tuple(
            _stamp(path) for path in (self.ca, self.certificate, self.key) if path is not None
        )

    def credentials(self) -> grpc.ChannelCredentials:
        """Credentials for gRPC, which aborts the process or never connects if they are unfit.

        Raises:
            TransportError: a file cannot be read or holds something else, a certificate came
                without its key or the other way round, or with another one's.
        """
        if (self.certificate is None) != (self.key is None):
            raise TransportError("a client certificate and its key are given together, or neither")
        ca = None if self.ca is None else _read(self.ca)
        if ca is not None:
            _certificate(ca, self.ca)
        if self.certificate is None or self.key is None:
            return grpc.ssl_channel_credentials(ca)
        certificate, key = _read(self.certificate), _read(self.key)
        try:
            private = serialization.load_pem_private_key(key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise TransportError(f"{self.key} is not a PEM private key without password") from None
        if _certificate(certificate, self.certificate).public_key() != private.public_key():
            raise TransportError(f"{self.key} is not the key of {self.certificate}")
        return grpc.ssl_channel_credentials(ca, key, certificate)

    @property
    def common_name(self) -> str | None:
        """The name in the client's certificate, None without one.  Raises TransportError."""
        if self.certificate is None:
            return None
        subject = _certificate(_read(self.certificate), self.certificate).subject
        names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else None


@dataclass(frozen=True)
class Bearer:
    """A bearer token, such as an OpenID provider issues, or the file in which it is renewed.

    It is sent over TLS only: there is no other transport.

    Attributes:
        text: the token itself.
        file: where it is read before each call.
    """

    text: str | None = field(default=None, repr=False)
    file: Path | None = None

    @classmethod
    def of(cls, token: str | None, token_file: str | Path | None) -> Bearer | None:
        """As users give it; None if they do not.

        Raises:
            TransportError: both are given, or what is there is no token.
        """
        if token is None and token_file is None:
            return None
        if token is not None and token_file is not None:
            raise TransportError("a token is given as text or as a file, not both")
        bearer = cls(token, None if token_file is None else Path(token_file))
        bearer.read()
        return bearer

    def read(self) -> str:
        """The token.  Raises TransportError."""
        if self.file is None:
            token, place = self.text or "", "the token"
        else:
            token, place = _token_text(self.file), str(self.file)
        if not _TOKEN.fullmatch(token) or len(token) > MAX_TOKEN_BYTES:
            raise TransportError(f"{place} is no bearer token")  # its text stays out of messages
        return token

    def metadata(self) -> tuple[str, str]:
        """The entry of a call's metadata that shows the token.  Raises TransportError."""
        return "authorization", f"Bearer {self.read()}"

    @property
    def subject(self) -> str | None:
        """Whom a JSON Web Token is about (`sub`), unverified: the server judges it.

        None if the token is another kind.  Raises TransportError.
        """
        parts = self.read().split(".")
        if len(parts) != 3:
            return None
        try:
            claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        except (binascii.Error, ValueError):
            return None
        subject = claims.get("sub") if isinstance(claims, dict) else None
        return subject if isinstance(subject, str) and subject else None


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _token_text(path: Path) -> str:
    try:
        return read_regular(path, MAX_TOKEN_BYTES + 2).decode("ascii").strip()
    except OSError as error:
        raise TransportError(f"cannot read {path}: {error.strerror}") from error
    except (EncodingError, UnicodeDecodeError):
        raise TransportError(f"{path} is no bearer token") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TransportError(f"cannot read {path}: {error.strerror}") from error


def _certificate(data: bytes, path: Path | None) -> x509.Certificate:
    """The first certificate of a PEM file."""
    try:
        return x509.load_pem_x509_certificates(data)[0]
    except ValueError:
        raise TransportError(f"{path} is not a PEM certificate") from None
