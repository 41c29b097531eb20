"""Both doors of a server of several tenants: whoever is denied at one is denied at the other."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blindproof.loopback import server_thread
from protocol.keys import KeyRequest
from tests.integration import asking
from tests.integration.tenant_world import AUDIENCE, ISSUER, Issuer, TenantWorld
from wire import rpc
from wire.audit import (
    CheckpointRequest,
    Countersignature,
    encode_checkpoint_request,
    encode_consistency_request,
    encode_countersignature,
    encode_entries_request,
    encode_inclusion_request,
    encode_log_request,
    encode_receipt_request,
)
from wire.delimited import MEDIA_TYPE, delimited
from wire.enrolment import encode_begin
from wire.models import encode_list_request, encode_model_request
from wire.publication import encode_withdrawal

DIGEST, NAME = bytes(32), bytes(16)
ENROLMENT = {
    "client_id": "predict",
    "server_id": "another server",
    "ring_degree": 8192,
    "moduli": ["1152921504606584833"],
    "keys": 1,
    "root": DIGEST.hex(),
}
SIGNED = {"client_key": DIGEST.hex(), "client_signature": (DIGEST + DIGEST).hex()}
STREAM = {"content": delimited(b"\xff"), "headers": {"content-type": MEDIA_TYPE}}
DOORS: dict[rpc.Method, tuple[list[bytes], str, str, dict]] = {
    rpc.LIST_MODELS: ([encode_list_request()], "GET", "/models", {}),
    rpc.GET_MODEL: ([encode_model_request(DIGEST)], "GET", f"/models/{DIGEST.hex()}", {}),
    rpc.PUBLISH_MODEL: ([b"\xff"], "POST", "/models", STREAM),
    rpc.WITHDRAW_MODEL: (
        [encode_withdrawal(NAME, DIGEST)],
        "DELETE",
        f"/models/{DIGEST.hex()}",
        {},
    ),
    rpc.BEGIN_ENROLMENT: (
        [
            encode_begin(
                KeyRequest("predict", "another server", 8192, (1152921504606584833,), 1), DIGEST
            )
        ],
        "POST",
        "/enrolments",
        {"json": ENROLMENT},
    ),
    rpc.COMPLETE_ENROLMENT: ([b"\xff"], "POST", "/keys", STREAM),
    rpc.INFER: ([b"\xff"], "POST", "/predictions", STREAM),
    rpc.GET_LOG: ([encode_log_request()], "GET", "/log", {}),
    rpc.GET_CHECKPOINT: (
        [encode_checkpoint_request(CheckpointRequest())],
        "GET",
        "/log/checkpoint",
        {},
    ),
    rpc.GET_RECEIPT: ([encode_receipt_request(NAME)], "GET", f"/receipts/{NAME.hex()}", {}),
    rpc.GET_INCLUSION: (
        [encode_inclusion_request(1, 1 << 40)],
        "GET",
        f"/log/inclusion?index=1&size={1 << 40}",
        {},
    ),
    rpc.GET_CONSISTENCY: (
        [encode_consistency_request(1, 1 << 40)],
        "GET",
        f"/log/consistency?old_size=1&new_size={1 << 40}",
        {},
    ),
    rpc.READ_ENTRIES: ([encode_entries_request(0)], "GET", "/log/entries", {}),
    rpc.COUNTERSIGN: (
        [encode_countersignature(Countersignature(NAME, DIGEST, DIGEST + DIGEST))],
        "PUT",
        f"/receipts/{NAME.hex()}/countersignature",
        {"json": SIGNED},
    ),
}
MEMBERS = {"solo": {"nobody": [], **{role: [role] for role in ("predict", "publish", "audit")}}}


@contextmanager
def two_doors(world: TenantWorld, **changes: object) -> Iterator[tuple[str, str]]:
    """Addresses of a server for gRPC and for HTTP."""
    with socket.create_server(("localhost", 0)) as listening:
        gateway = f"localhost:{listening.getsockname()[1]}"
    with server_thread(world.settings(gateway=gateway, **changes)) as address:
        yield address, f"https://{gateway}/v1"


def by_grpc(channel: grpc.Channel, method: rpc.Method, *tokens: str) -> str | None:
    """Why a call is refused; None if it is answered."""
    messages, *_ = DOORS[method]
    metadata = tuple(("authorization", f"Bearer {token}") for token in tokens)
    call = channel.stream_stream(method.path)
    outcome = asking.Outcome()
    try:
        list(call(iter(messages), timeout=asking.SECONDS, metadata=metadata))
    except grpc.RpcError as error:
        asking.refuse(outcome, error)
    return outcome.reason or None


def by_http(client: httpx.Client, method: rpc.Method, *tokens: str) -> str | None:
    """The same at the other door."""
    _, verb, path, given = DOORS[method]
    headers = [*given.get("headers", {}).items()]
    headers += [("authorization", f"Bearer {token}") for token in tokens]
    response = client.request(verb, path, **{**given, "headers": headers})
    return None if response.is_success else response.json()["reason"]


def two_names(world: TenantWorld, *names: str) -> None:
    """A certificate of the authority with two common names."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]))
        .issuer_name(world.authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(world.authority.key.public_key()),
            critical=False,
        )
        .sign(world.authority.key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (world.home / "two.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (world.home / "two.key.pem").write_bytes(private)


def client_of(world: TenantWorld, url: str, files: tuple[Path, Path] | None = None) -> httpx.Client:
    context = ssl.create_default_context(cafile=world.ca)
    if files is not None:
        context.load_cert_chain(*files)
    return httpx.Client(base_url=url, verify=context, timeout=30)


@pytest.mark.accepts("C-102")
@pytest.mark.rejects("C-102")
def test_a_certificate_may_do_the_same_at_both_doors(tmp_path):
    assert set(DOORS) == set(rpc.METHODS)
    world = TenantWorld(tmp_path, MEMBERS)
    two_names(world, "predict", "audit")
    everywhere = {
        "stranger": rpc.Reason.IDENTITY_REFUSED,
        "two": rpc.Reason.UNAUTHENTICATED,
        "nobody": rpc.Reason.ROLE_MISSING,
    }
    with two_doors(world) as (address, url):
        for name in (*MEMBERS["solo"], "stranger", "two"):
            with (
                client_of(world, url, world.identity(name)) as client,
                world.connected(address, name) as channel,
            ):
                for method in DOORS:
                    seen = by_grpc(channel, method), by_http(client, method)
                    assert seen[0] == seen[1], (name, method)
                    assert everywhere.get(name, seen[0]) == seen[0], (name, method)


@pytest.mark.rejects("C-102")
def test_a_token_may_do_the_same_at_both_doors(tmp_path):
    issuer = Issuer()
    (tmp_path / "keys.json").write_text(issuer.key_set())
    world = TenantWorld(tmp_path, {})
    (tmp_path / "tenants.toml").write_text(
        f'[oidc]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks = "keys.json"\n'
        'tenant_claim = "org"\nroles_claim = "roles"\n[[tenants]]\nname = "solo"\n'
    )
    auditor = issuer.token("x", org="solo", roles="audit")
    shown = {
        (): rpc.Reason.UNAUTHENTICATED,
        ("nonsense",): rpc.Reason.UNAUTHENTICATED,
        (auditor, auditor): rpc.Reason.UNAUTHENTICATED,
        (issuer.token("x", -120, org="solo", roles="audit"),): rpc.Reason.UNAUTHENTICATED,
        (issuer.token("x", org="other", roles="audit"),): rpc.Reason.IDENTITY_REFUSED,
        (issuer.token("x", org="solo", roles=[]),): rpc.Reason.ROLE_MISSING,
        (auditor,): None,
    }
    with (
        two_doors(world, tls_client_ca=None) as (address, url),
        client_of(world, url) as client,
        world.connected(address) as channel,
    ):
        for tokens, reason in shown.items():
            assert by_grpc(channel, rpc.READ_ENTRIES, *tokens) == reason
            assert by_http(client, rpc.READ_ENTRIES, *tokens) == reason
