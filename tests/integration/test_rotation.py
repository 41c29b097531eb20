"""Certificates and settings that change while a server works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from blindproof.authority import Authority, Purpose
from client_sdk import Client, EphemeralKeyStore
from tests.integration import example_models
from tests.integration.asking import eventually
from tests.integration.conftest import World
from wire import rpc
from wire.models import encode_list_request

ROTATIONS = 20
LOOK_SECONDS = 0.05
SECONDS = 20.0
COMMAND = [sys.executable, "-m", "server"]


class Pki:
    """Two authorities, both trusted on both sides, and the files that change."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.authorities = (Authority.fresh("one"), Authority.fresh("two"))
        self.ca = home / "ca.pem"
        parts = [authority.write(home / "part.pem").read_bytes() for authority in self.authorities]
        self.ca.write_bytes(b"".join(parts))
        self.rotate(0)

    def rotate(self, number: int) -> int:
        """Other certificates for server and client, of one authority or the other.

        The files are replaced one by one, as operators and their tools do.  Returns the serial of
        the server's.
        """
        authority, drafts = self.authorities[number % 2], self.home / "drafts"
        drafts.mkdir(exist_ok=True)
        server = authority.issue(drafts, "localhost", purpose=Purpose.SERVER)
        client = authority.issue(drafts, "ward seven", purpose=Purpose.CLIENT)
        serial = x509.load_pem_x509_certificate(server[0].read_bytes()).serial_number
        for path in (*server, *client):
            shutil.copy(path, self.home / path.name)
            time.sleep(LOOK_SECONDS / 3)
        return serial

    @property
    def client(self) -> dict[str, Path]:
        """What a client is given."""
        return {
            "ca": self.ca,
            "certificate": self.home / "ward seven.pem",
            "certificate_key": self.home / "ward seven.key.pem",
        }

    @contextmanager
    def connected(self, address: str) -> Iterator[grpc.Channel]:
        """A channel of the client's."""
        ca, certificate, key = (path.read_bytes() for path in self.client.values())
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.secure_channel(address, credentials, options) as channel:
            yield channel

    def shown(self, address: str) -> int:
        """The serial of the certificate that a server shows now."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.set_alpn_protocols(["h2"])
        host, port = address.split(":")
        with (
            socket.create_connection((host, int(port)), SECONDS) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as secured,
        ):
            return x509.load_der_x509_certificate(secured.getpeercert(True)).serial_number


@dataclass
class Running:
    """A server in a process of its own, with a file of settings."""

    process: subprocess.Popen[bytes]
    config: Path
    log: Path
    address: str

    def lines(self, event: str) -> list[dict]:
        """What it has logged of one kind."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"].startswith(event)]


def silent(channel: grpc.Channel, method: rpc.Method) -> str:
    """What a client is told who begins a call and says nothing."""
    said = threading.Event()

    def messages() -> Iterator[bytes]:
        said.wait(SECONDS)
        yield from ()

    call = channel.stream_stream(method.path)(messages(), timeout=SECONDS)
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    said.set()
    return caught.value.details()


def configure(path: Path, **settings: object) -> None:
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()))


@pytest.fixture
def pki(tmp_path) -> Pki:
    (tmp_path / "pki").mkdir()
    return Pki(tmp_path / "pki")


@pytest.fixture
def given(world: World, pki: Pki, tmp_path) -> dict[str, object]:
    return {
        "listen": "127.0.0.1:0",
        "tls_certificate": str(pki.home / "localhost.pem"),
        "tls_key": str(pki.home / "localhost.key.pem"),
        "tls_client_ca": str(pki.ca),
        "models": str(world.home / "models"),
        "state": str(tmp_path / "state"),
        "address_file": str(tmp_path / "address"),
        "reload_seconds": LOOK_SECONDS,
    }


@contextmanager
def running(home: Path, settings: dict[str, object]) -> Iterator[Running]:
    config, log, address = home / "blindproof.toml", home / "log", home / "address"
    configure(config, **settings)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BLINDPROOF_")}
    environment |= {"BLINDPROOF_CONFIG": str(config), "PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "server"], env=environment, stdout=output
        ) as process,
    ):
        try:
            eventually(lambda: address.exists() or process.poll() is not None)
            yield Running(process, config, log, address.read_text())
        finally:
            process.terminate()


@dataclass
class Load:
    """Clients that ask again and again, each in a thread; none may fail."""

    served: int = 0
    failures: list[Exception] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def of(self, *clients: Callable[[], None]) -> Iterator[None]:
        """Ask while the context lasts."""
        threads = [threading.Thread(target=self._ask, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _ask(self, client: Callable[[], None]) -> None:
        while not self._ended.is_set():
            try:
                client()
                self.served += 1
            except Exception as error:  # noqa: BLE001 -- every kind of failure counts
                self.failures.append(error)


def test_twenty_rotations_under_load_fail_nobody(world: World, pki: Pki, given, tmp_path):
    """Predictions on one client whose own certificate rotates, and connections made all the time.

    The client repeats nothing; each stranger makes a connection for one call.
    """
    trusted = pki.ca.read_bytes()
    certificate, key = (
        pki.client[name].read_bytes() for name in ("certificate", "certificate_key")
    )

    def stranger() -> None:
        credentials = grpc.ssl_channel_credentials(trusted, key, certificate)
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.secure_channel(server.address, credentials, options) as channel:
            channel.unary_unary(rpc.LIST_MODELS.path)(encode_list_request(), timeout=SECONDS)

    rows = example_models.records(1)
    model = world.models["public"].digest
    with running(tmp_path, given) as server, EphemeralKeyStore() as keys:
        with Client(server.address, model=model, keys=keys, retries=0, **pki.client) as client:

            def predict() -> None:
                client.predict(rows)

            predict()
            load = Load()
            with load.of(predict, stranger, stranger):
                for number in range(1, ROTATIONS + 1):
                    serial = pki.rotate(number)
                    eventually(lambda serial=serial: pki.shown(server.address) == serial)
        assert not load.failures, load.failures
        assert load.served > 2 * ROTATIONS
        assert len(server.lines("certificate replaced")) >= ROTATIONS
        # A certificate before its key is no reason for a complaint, if the key follows soon.
        assert not [line for line in server.lines("") if line["level"] == "error"]


def test_an_authority_that_is_trusted_no_more_is_out_once_connections_are_made_anew(
    pki: Pki, given, tmp_path
):
    one, two = pki.authorities
    certificate, key = one.issue(tmp_path, "ward eight", purpose=Purpose.CLIENT)
    credentials = grpc.ssl_channel_credentials(
        pki.ca.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    settings = {**given, "connection_seconds": 1.0}
    with (
        running(tmp_path, settings) as server,
        grpc.secure_channel(server.address, credentials) as channel,
    ):

        def refused() -> bool:
            try:
                channel.unary_unary(rpc.LIST_MODELS.path)(encode_list_request(), timeout=SECONDS)
            except grpc.RpcError as error:
                return error.code() is grpc.StatusCode.UNAVAILABLE
            return False

        assert not refused()
        two.write(pki.ca)
        eventually(lambda: bool(server.lines("certificate replaced")))
        eventually(refused)


def test_sighup_has_all_read_again_or_nothing(pki: Pki, given, tmp_path):
    patient = {**given, "reload_seconds": 3600.0}  # nothing is looked at without being asked

    def reload(server: Running, outcome: str, **settings: object) -> dict:
        before = len(server.lines(outcome))
        configure(server.config, **{**patient, **settings})
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(server.lines(outcome)) > before)
        return server.lines(outcome)[-1]

    with running(tmp_path, patient) as server:
        line = reload(server, "reloaded", idle_seconds=3.0, server_id="another")
        assert (line["changed"], line["need_restart"]) == (["idle_seconds"], ["server_id"])

        shown = pki.shown(server.address)
        (pki.home / "localhost.key.pem").write_text("junk")
        line = reload(server, "not reloaded", idle_seconds=4.0)
        assert "not a PEM private key" in line["error"]
        assert pki.shown(server.address) == shown

        serial = pki.rotate(1)
        line = reload(server, "not reloaded", idle_seconds=0)
        assert "idle_seconds" in line["error"]
        assert pki.shown(server.address) == shown

        line = reload(server, "reloaded", idle_seconds=4.0, server_id="another")
        assert line["changed"] == ["idle_seconds"]  # that from 3 to 4 had not come into force
        assert pki.shown(server.address) == serial

        # New limits are those of the calls that come.
        with pki.connected(server.address) as channel:
            reload(server, "reloaded", header_seconds=0.2)
            for method in (rpc.INFER, rpc.COMPLETE_ENROLMENT):
                assert silent(channel, method) == "no message within 0.2 seconds"
            reload(server, "reloaded", request_seconds=0.2)
            assert "longer than this server allows" in silent(channel, rpc.INFER)
    assert server.process.returncode == 0
