"""A server of several tenants with its identities, and raw calls under any of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from blindproof.authority import Authority
from server.rooms import Place
from server.settings import ServerSettings
from server.trail_files import TrailFiles, open_trail_files
from tests.integration import asking
from wire import rpc

ISSUER, AUDIENCE = "https://login.example", "blindproof"
SERVER_ID = "test server"


def tenants_file(members: Mapping[str, Mapping[str, Sequence[str]]], extra: str = "") -> str:
    """The text of a file: certificates and their roles by tenant."""
    lines = [extra]
    for tenant, certificates in members.items():
        lines += ["[[tenants]]", f'name = "{tenant}"', "[tenants.certificates]"]
        lines += [f'"{name}" = {list(roles)}' for name, roles in certificates.items()]
    return "\n".join(lines) + "\n"


@dataclass
class TenantWorld:
    """Files of a server, and its authority.

    Attributes:
        home: directory of everything.
        members: certificates and their roles by tenant.
    """

    home: Path
    members: dict[str, dict[str, list[str]]]
    authority: Authority = field(default_factory=Authority.fresh)

    def __post_init__(self) -> None:
        (self.home / "models").mkdir(parents=True, exist_ok=True)
        self.ca = self.authority.write(self.home / "ca.pem")
        self.write(self.members)

    def write(self, members: Mapping[str, Mapping[str, Sequence[str]]], extra: str = "") -> None:
        """Replace the tenants file, as an operator does."""
        draft = self.home / "tenants.toml.new"
        draft.write_text(tenants_file(members, extra))
        draft.replace(self.home / "tenants.toml")

    def settings(self, **changes: object) -> ServerSettings:
        """Of the server."""
        certificate, key = self.authority.issue(self.home, "localhost")
        given = {
            "listen": "127.0.0.1:0",
            "server_id": SERVER_ID,
            "tls_certificate": certificate,
            "tls_key": key,
            "tls_client_ca": self.ca,
            "tenants": self.home / "tenants.toml",
            "models": self.home / "models",
            "state": self.home / "state",
            "reload_seconds": 0.05,
            "executor": "threads",
            **changes,
        }
        return ServerSettings(**given)  # type: ignore[arg-type]

    def identity(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of a client."""
        certificate, key = self.home / f"{name}.pem", self.home / f"{name}.key.pem"
        if not certificate.exists():
            self.authority.issue(self.home, name)
        return certificate, key

    @contextmanager
    def connected(self, address: str, name: str | None = None) -> Iterator[grpc.Channel]:
        """A channel under a certificate, or without one."""
        files = (None, None) if name is None else self.identity(name)[::-1]
        credentials = grpc.ssl_channel_credentials(
            self.ca.read_bytes(), *(None if file is None else file.read_bytes() for file in files)
        )
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.secure_channel(address, credentials, options) as channel:
            yield channel

    @contextmanager
    def trail(self, tenant: str) -> Iterator[TrailFiles]:
        """A tenant's trail, opened beside the server."""
        place = Place.of_tenant(self.settings(), tenant)
        files = open_trail_files(place.state)
        try:
            yield files
        finally:
            files.close()


class Issuer:
    """Who signs tokens."""

    def __init__(self, name: str = "key-1") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name

    def key_set(self) -> str:
        """As it is published."""
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key())
        return '{"keys":[' + jwk.replace("{", f'{{"kid":"{self.name}","use":"sig",', 1) + "]}"

    def token(self, subject: str, seconds: float = 300, **claims: object) -> str:
        """A token."""
        now = time.time()
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + seconds,
            **claims,
        }
        return jwt.encode(payload, self.key, "ES256", {"kid": self.name})


def ask(
    channel: grpc.Channel, method: rpc.Method, data: bytes, *tokens: str
) -> tuple[bytes, asking.Outcome]:
    """A unary call, with as many tokens as are given."""
    outcome = asking.Outcome()
    metadata = tuple(("authorization", f"Bearer {token}") for token in tokens)
    try:
        call = channel.unary_unary(method.path)
        return call(data, timeout=asking.SECONDS, metadata=metadata), outcome
    except grpc.RpcError as error:
        asking.refuse(outcome, error)
    return b"", outcome
