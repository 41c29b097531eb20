"""A certificate authority for trials and development: one key, kept in a file.

It has no register of what it signed and revokes nothing: certificates end by expiring.  Where an
organisation has an authority of its own, its certificates serve as well.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocol.errors import BlindproofError, EncodingError
from wire.files import read_regular, write_private

LIFETIME = dt.timedelta(days=1)
LOOPBACK = ("localhost", "127.0.0.1")
CERTIFICATE, KEY = "ca.pem", "ca.key.pem"
MAX_COMMON_NAME = 64
"""ub-common-name of RFC 5280."""
MAX_PEM_BYTES = 1 << 16

_PARTS = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_BACKDATED = dt.timedelta(minutes=5)
"""Clocks of clients and servers differ."""


class AuthorityError(BlindproofError):
    """A certificate cannot be made or kept as it is asked for."""


class Purpose(Enum):
    """What a certificate is for."""

    SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
    CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True)
class Authority:
    """A signing key, ECDSA on P-256, and its self-signed certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def fresh(cls, name: str = "blindproof trial", lifetime: dt.timedelta = LIFETIME) -> Authority:
        """A new authority.  Raises AuthorityError."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        certificate = (
            _builder(subject, subject, key.public_key(), _now() + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def load(cls, directory: Path) -> Authority:
        """The authority that `save` has kept.

        Raises:
            AuthorityError: there is none, or its files do not belong together.
        """
        try:
            certificate = x509.load_pem_x509_certificate(
                read_regular(directory / CERTIFICATE, MAX_PEM_BYTES)
            )
            key = serialization.load_pem_private_key(
                read_regular(directory / KEY, MAX_PEM_BYTES), password=None
            )
        except OSError as error:
            raise AuthorityError(
                f"{error.filename}: {error.strerror}: `blindproof ca create` makes an authority"
            ) from error
        except (ValueError, TypeError, EncodingError):
            raise AuthorityError(f"{directory} holds no authority") from None
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or key.public_key() != certificate.public_key()
        ):
            raise AuthorityError(f"the key in {directory} is not the one of its certificate")
        return cls(key, certificate)

    def save(self, directory: Path) -> Path:
        """Keep key and certificate in a directory; returns the path of the certificate.

        Raises:
            AuthorityError: an authority is there already, whose certificates would be worthless.
        """
        _require_absent(directory / CERTIFICATE, directory / KEY)
        write_private(directory / KEY, _private_pem(self.key))
        return self.write(directory / CERTIFICATE)

    def write(self, path: Path) -> Path:
        """Write the authority's certificate as PEM."""
        write_private(path, self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(
        self,
        directory: Path,
        common_name: str,
        *,
        hosts: Sequence[str] = LOOPBACK,
        purpose: Purpose = Purpose.BOTH,
        lifetime: dt.timedelta = LIFETIME,
        replace: bool = True,
    ) -> tuple[Path, Path]:
        """Write a certificate with a new key, as NAME.pem and NAME.key.pem; returns their paths.

        Args:
            directory: where they go.
            common_name: of the certificate's subject; a client's identity.
            hosts: names and addresses of a server.
            purpose: what the certificate is for.
            lifetime: how long, but no longer than the authority itself.
            replace: put them into the place of earlier ones.

        Raises:
            AuthorityError: a name that no certificate has, the authority has expired, or files are
                there that are not to be replaced.
        """
        unfit = common_name.startswith(".") or "/" in common_name or not common_name.isprintable()
        # NAME.pem must be no authority's certificate, and no key: neither the authority's.
        if unfit or f"{common_name}.pem" == CERTIFICATE or common_name.endswith(".key"):
            raise AuthorityError(f"'{common_name}' cannot be a part of a file's name")
        certificate_path = directory / f"{common_name}.pem"
        key_path = directory / f"{common_name}.key.pem"
        if not replace:
            _require_absent(certificate_path, key_path)
        ends = min(_now() + lifetime, self.certificate.not_valid_after_utc)
        if ends <= _now():
            raise AuthorityError("this authority has expired: make a new one")
        key = ec.generate_private_key(ec.SECP256R1())
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = (
            _builder(_name(common_name), self.certificate.subject, key.public_key(), ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purpose.value), critical=False)
            .add_extension(issuer_key, critical=False)
        )
        if purpose is not Purpose.CLIENT:
            names = [_host(host) for host in hosts]
            if not names:
                raise AuthorityError("a server's certificate needs the name or address it is at")
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        write_private(key_path, _private_pem(key))
        write_private(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
        return certificate_path, key_path


def _require_absent(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise AuthorityError(f"{path} is there already, and is not replaced")


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _name(common_name: str) -> x509.Name:
    if not 0 < len(common_name) <= MAX_COMMON_NAME:
        raise AuthorityError(f"a common name has 1 to {MAX_COMMON_NAME} characters")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        if not _PARTS.fullmatch(host.removeprefix("*.")):
            raise AuthorityError(f"'{host}' is neither the name of a host nor an address") from None
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, ends: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _BACKDATED)
        .not_valid_after(ends)
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
