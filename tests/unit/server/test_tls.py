from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from blindproof.authority import Authority, Purpose
from server.settings import ServerSettings
from server.tls import ServerTls, TlsError, TlsFiles


@dataclass
class Files:
    """The PEM files of a server, and what is put into their place."""

    home: Path
    settings: ServerSettings

    def replace(self, authority: Authority, *names: str) -> None:
        """Put files of another authority into the place of these; all if none is named."""
        other = self.home / "other"
        other.mkdir(exist_ok=True)
        certificate, key = authority.issue(other, "localhost")
        new = {"certificate": certificate, "key": key, "client_ca": authority.write(other / "ca")}
        for name in names or new:
            shutil.copy(new[name], getattr(self.settings, f"tls_{name}"))


@pytest.fixture
def authority() -> Authority:
    return Authority.fresh()


@pytest.fixture
def files(tmp_path, authority) -> Files:
    certificate, key = authority.issue(tmp_path, "localhost")
    settings = ServerSettings(
        tls_certificate=certificate,
        tls_key=key,
        tls_client_ca=authority.write(tmp_path / "ca.pem"),
        models=tmp_path,
        state=tmp_path,
    )
    return Files(tmp_path, settings)


def opened(files: Files) -> ServerTls:
    return ServerTls(TlsFiles.of(files.settings))


def self_signed(
    directory: Path, key: CertificateIssuerPrivateKeyTypes, begins: int, ends: int
) -> TlsFiles:
    """A certificate which is valid between so many hours from now."""
    now = dt.datetime.now(dt.UTC)
    hashing = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now + dt.timedelta(hours=begins))
        .not_valid_after(now + dt.timedelta(hours=ends))
        .sign(key, hashes.SHA256() if isinstance(key, hashing) else None)
    )
    files = TlsFiles(directory / "odd.pem", directory / "odd.key.pem")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tls_certificate": "missing"}, r"missing: No such file"),
        ({"tls_key": "junk"}, r"junk: not a PEM private key without passphrase"),
        ({"tls_certificate": "junk"}, r"junk: no PEM certificate"),
        ({"tls_client_ca": "junk"}, r"junk: no PEM certificate"),
        ({"tls_key": "other.key.pem"}, r"other\.key\.pem is not the key of .*localhost\.pem"),
        ({"tls_key": "large"}, r"large has more than"),
    ],
)
def test_files_which_no_connection_could_be_made_with_are_named(files, authority, change, message):
    (files.home / "junk").write_text("junk")
    (files.home / "large").write_bytes(bytes((1 << 20) + 1))
    authority.issue(files.home, "other")
    given = {name: files.home / value for name, value in change.items()}
    with pytest.raises(TlsError, match=message):
        TlsFiles.of(files.settings.model_copy(update=given)).read()


@pytest.mark.parametrize(("begins", "ends"), [(-2, -1), (1, 2)], ids=["expired", "of the future"])
def test_a_certificate_that_is_not_valid_now_is_refused(tmp_path, begins, ends):
    odd = self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()), begins, ends)
    with pytest.raises(TlsError, match=r"odd\.pem is valid from .* UTC only"):
        odd.read()


def test_what_openssl_would_refuse_is_refused_before(tmp_path):
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 -- which is the point
    weak = self_signed(tmp_path, short, -1, 1)
    with pytest.raises(TlsError, match="cannot be used for TLS: ee key too small"):
        weak.read()


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ed448.Ed448PrivateKey.generate(),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=["Ed25519", "Ed448", "P-521", "secp256k1"],
)
def test_what_grpc_would_not_serve_is_refused_before(tmp_path, key):
    with pytest.raises(TlsError, match=r"odd\.pem has a key of a kind that gRPC does not serve"):
        self_signed(tmp_path, key, -1, 1).read()


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-384", "RSA"],
)
def test_keys_that_grpc_serves_are_taken(tmp_path, key):
    odd = self_signed(tmp_path, key, -1, 1)
    server = grpc.server(ThreadPoolExecutor(1))
    assert server.add_secure_port("127.0.0.1:0", ServerTls(odd).grpc_credentials())
    server.stop(None)


def test_a_certificate_of_a_client_is_refused(files, authority):
    for purpose in (Purpose.SERVER, Purpose.CLIENT):
        authority.issue(files.home, "localhost", purpose=purpose)
        if purpose is Purpose.SERVER:
            TlsFiles.of(files.settings).read()
            continue
        with pytest.raises(TlsError, match=r"localhost\.pem is no certificate of a server"):
            TlsFiles.of(files.settings).read()


def test_authorities_that_no_client_has_any_more_are_refused(files, authority):
    expired = Authority.fresh(lifetime=-dt.timedelta(minutes=1))
    expired.write(files.settings.tls_client_ca)
    with pytest.raises(TlsError, match=r"ca\.pem: no authority in it is valid now"):
        TlsFiles.of(files.settings).read()
    both = files.settings.tls_client_ca.read_bytes() + authority.certificate.public_bytes(
        serialization.Encoding.PEM
    )
    files.settings.tls_client_ca.write_bytes(both)
    assert TlsFiles.of(files.settings).read().client_ca == both


def test_text_around_certificates_is_no_certificate(files):
    for path in (files.settings.tls_client_ca, files.settings.tls_certificate):
        path.write_bytes("Prüfstelle\n".encode() + path.read_bytes())
    assert "Prüf".encode() not in (TlsFiles.of(files.settings).read().client_ca or b"")


def test_the_private_key_is_not_shown(files):
    identity = TlsFiles.of(files.settings).read()
    assert b"PRIVATE KEY" in identity.key
    assert "PRIVATE KEY" not in repr(identity)


def test_an_identity_is_shown_by_grpc_once_it_is_in_force(files):
    tls = opened(files)
    assert tls._replaced() is None
    files.replace(Authority.fresh())
    step = tls.prepare(files.settings)
    assert tls._replaced() is None  # judged, and not in force
    step()
    assert tls._replaced() is not None
    assert tls._replaced() is None  # it has it now
    tls.prepare(files.settings)()
    assert tls._replaced() is None  # the same files are no replacement


def test_other_paths_are_followed_from_then_on(files, authority):
    tls = opened(files)
    certificate, key = authority.issue(files.home, "moved", hosts=["localhost"])
    moved = files.settings.model_copy(update={"tls_certificate": certificate, "tls_key": key})
    tls.prepare(moved)
    assert tls.files == TlsFiles.of(files.settings).paths  # judged, and not in force
    tls.prepare(moved)()
    assert tls.files == TlsFiles.of(moved).paths


def test_grpc_demands_a_certificate_of_clients_if_they_have_an_authority(files, authority):
    ca = files.settings.tls_client_ca.read_bytes()
    certificate, key = authority.issue(files.home, "client")
    shown = (key.read_bytes(), certificate.read_bytes())
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("localhost:0", opened(files).grpc_credentials())
    server.start()
    codes = []
    for credentials in (
        grpc.ssl_channel_credentials(ca),
        grpc.ssl_channel_credentials(ca, *shown),
    ):
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            with pytest.raises(grpc.RpcError) as failed:
                channel.unary_unary("/nothing/Here")(b"", timeout=10)
            codes.append(failed.value.code())
    server.stop(None).wait()
    assert codes == [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED]


def test_files_that_do_not_fit_replace_nothing(files):
    tls = opened(files)
    files.replace(Authority.fresh(), "certificate")
    with pytest.raises(TlsError, match="is not the key of"):
        tls.prepare(files.settings)
    assert tls._replaced() is None


def test_whether_clients_need_a_certificate_takes_a_restart(files):
    tls = opened(files)
    without = files.settings.model_copy(update={"tls_client_ca": None})
    with pytest.raises(TlsError, match="without a restart"):
        tls.prepare(without)
    with pytest.raises(TlsError, match="without a restart"):
        ServerTls(TlsFiles.of(without)).prepare(files.settings)


async def shake_hands(context: ssl.SSLContext, ca: Path, client: tuple[Path, Path] | None) -> str:
    """Connect to a server of asyncio's and read what it says, nothing if one refuses the other."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peercert")
        names = [value for rdn in peer.get("subject", ()) for _, value in rdn] if peer else []
        writer.write(f"hello {' '.join(names)}".encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        trusting = ssl.create_default_context(cafile=str(ca))
        if client is not None:
            trusting.load_cert_chain(*client)
        port = server.sockets[0].getsockname()[1]
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
            )
            said = await reader.read()
            writer.close()
        except (ssl.SSLError, ConnectionError):
            return ""
        return said.decode()


@pytest.mark.asyncio
async def test_a_context_follows_with_certificate_and_authority(files, authority, tmp_path):
    tls = opened(files)
    page, gateway = tls.context(), tls.context(require_clients=True)
    old_ca = authority.write(tmp_path / "old.pem")
    old_client = authority.issue(tmp_path, "client one")
    assert await shake_hands(page, old_ca, None) == "hello "
    assert await shake_hands(gateway, old_ca, old_client) == "hello client one"
    assert not await shake_hands(gateway, old_ca, None)

    other = Authority.fresh()
    files.replace(other)
    tls.prepare(files.settings)()
    new_ca = other.write(tmp_path / "new.pem")
    assert await shake_hands(page, new_ca, None) == "hello "
    assert await shake_hands(gateway, new_ca, other.issue(tmp_path, "two")) == "hello two"
    assert not await shake_hands(page, old_ca, None)
    assert not await shake_hands(gateway, new_ca, old_client)


@pytest.mark.asyncio
async def test_a_context_that_is_made_during_a_reload_follows_too(files, tmp_path):
    tls = opened(files)
    other = Authority.fresh()
    files.replace(other)
    step = tls.prepare(files.settings)
    page = tls.context()
    step()
    assert await shake_hands(page, other.write(tmp_path / "new.pem"), None) == "hello "
