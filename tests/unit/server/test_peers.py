"""What a transport shows of its peer."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.identity import Shown
from server.peers import shown
from server.refusals import Refusal
from wire.rpc import Reason


def certificate(*names: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def test_every_common_name_is_shown_whichever_one_the_transport_prefers():
    for names in ((), ("one",), ("one", "two"), ("Ärztin",)):
        properties = {
            "x509_pem_cert": [certificate(*names)],
            "x509_common_name": [name.encode() for name in names[:1]],
        }
        assert shown(properties, ()) == Shown(names)


def test_a_transport_without_certificates_says_names():
    assert shown({"x509_common_name": [b"one", b"\xff"]}, ()) == Shown(
        ("one", "\N{REPLACEMENT CHARACTER}")
    )
    assert shown({}, ()) == Shown()


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("BEARER abc", "abc"),
        ("Basic abc", None),
        ("abc", None),
        ("Bearer ", ""),
        ("", None),
    ],
)
def test_a_token_is_what_a_bearer_header_holds(header, token):
    assert shown({}, [("authorization", header), ("other", "Bearer x")]) == Shown((), token)


def test_two_tokens_and_an_unreadable_certificate_are_refused():
    twice = [("authorization", "Bearer a"), ("authorization", "Bearer a")]
    for properties, metadata in (({}, twice), ({"x509_pem_cert": [b"nonsense"]}, ())):
        with pytest.raises(Refusal) as caught:
            shown(properties, metadata)
        assert caught.value.reason is Reason.UNAUTHENTICATED
