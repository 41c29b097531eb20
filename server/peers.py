"""What a transport knows of its peer, as `server.identity` takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cryptography import x509
from cryptography.x509.oid import NameOID

from server.identity import Shown
from server.refusals import Refusal
from wire.rpc import Reason

_BEARER = "bearer "


def shown(
    properties: Mapping[str, Iterable[bytes]], metadata: Iterable[tuple[str, str | bytes]]
) -> Shown:
    """What a peer shows.

    Args:
        properties: what TLS knows, by gRPC's names.
        metadata: what came with the call, names in lower case.

    Raises:
        Refusal: a certificate that cannot be read, or several headers for one token
            (unauthenticated).
    """
    headers = [str(value) for name, value in metadata if name == "authorization"]
    if len(headers) > 1:
        raise Refusal(Reason.UNAUTHENTICATED, "more than one authorization")
    tokens = [
        header[len(_BEARER) :].strip()
        for header in headers
        if header[: len(_BEARER)].lower() == _BEARER
    ]
    return Shown(_common_names(properties), tokens[0] if tokens else None)


def _common_names(properties: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """All there are: gRPC's own property has the first one only, and another reader takes the last.

    A transport that has no certificate to show says the names instead.
    """
    certificates = tuple(properties.get("x509_pem_cert", ()))
    if not certificates:
        names = properties.get("x509_common_name", ())
        return tuple(name.decode("utf-8", "replace") for name in names)
    try:
        subjects = [x509.load_pem_x509_certificate(data).subject for data in certificates]
    except ValueError:
        raise Refusal(Reason.UNAUTHENTICATED, "the certificate cannot be read") from None
    return tuple(
        str(attribute.value)
        for subject in subjects
        for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )
