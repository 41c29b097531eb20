"""A real server process to be attacked, valid messages to begin from, and its memory."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from blindproof.authority import Authority
from blindproof.loopback import server_process
from client_sdk import Client, KeyStore
from client_sdk.result import Result
from protocol.accountability import Account
from protocol.keys import KeyRequest
from protocol.parameters import Mode, Packing
from server.bundles import parts_of
from server.registry import ModelBundle, ModelRegistry
from server.settings import ServerSettings
from tests.faults.asking import Prepared
from tests.integration import example_models
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
from wire.bundle_file import encode_bundle
from wire.enrolment import encode_begin, encode_completion
from wire.models import encode_list_request, encode_model_request
from wire.publication import encode_publication, encode_withdrawal

ATTACKER = "attacker"
ATTACKED = ("public", "private")
SPARE = "spare"
"""A model that may be withdrawn and published meanwhile."""
TENANT = "ward"
ACCOUNT = Account(TENANT)
PASSPHRASE = "a passphrase for tests"
SERVER_ID = "attacked server"
SAMPLE_SECONDS = 0.2
TENANTS = f"""
[[tenants]]
name = "{TENANT}"
[tenants.certificates]
"{ATTACKER}" = ["predict", "publish", "audit"]
"""


@dataclass
class Memory:
    """What the processes of a server have had in memory.

    Attributes:
        before: resident bytes before the attack.
        peak: the most there were since.
        after: those there are now.
    """

    server: psutil.Process
    before: int = 0
    peak: int = 0
    after: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def sample(self) -> int:
        """Resident bytes of all of them."""
        total = 0
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (self.server, *self.server.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss
        self.peak = max(self.peak, total)
        return total

    @contextmanager
    def watched(self) -> Iterator[None]:
        self.before = self.sample()
        self.peak = self.before
        watch = threading.Thread(target=self._watch)
        watch.start()
        try:
            yield
        finally:
            self._ended.set()
            watch.join()
            self.after = self.sample()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.sample()


@dataclass(frozen=True)
class Target:
    """A running server.

    Attributes:
        address: of gRPC.
        gateway: host and port of REST.
        home: where everything is.
        models: that it serves.
        prepared: a request of each model, as it was answered.
        valid: what an honest client would send to each procedure but Infer.
        receipt_id: of an answer.
    """

    address: str
    gateway: str
    home: Path
    settings: ServerSettings
    process: psutil.Process
    models: dict[str, ModelBundle]
    prepared: dict[str, Prepared]
    valid: dict[rpc.Method, list[bytes]]
    receipt_id: bytes

    @property
    def ca(self) -> Path:
        return self.home / "ca.pem"

    @property
    def certificate(self) -> tuple[Path, Path]:
        return self.home / f"{ATTACKER}.pem", self.home / f"{ATTACKER}.key.pem"

    def predict(self, model: str) -> Result:
        """As an honest client, to the end."""
        with client(self.home, self.address, self.models[model]) as honest:
            return honest.predict(example_models.records(1))

    @property
    def is_alive(self) -> bool:
        return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE

    def check_log(self) -> str:
        """What `blindproof audit fsck --deep` says of the tenant's log; fails if it complains."""
        state = self.settings.state / "tenants" / TENANT
        line = [sys.executable, "-m", "blindproof", "audit", "fsck", "--deep"]
        ran = subprocess.run(
            [*line, "--state", str(state)], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.splitlines()[0]


def client(home: Path, address: str, bundle: ModelBundle) -> Client:
    return Client(
        address,
        model=bundle.digest,
        keys=KeyStore(home / "keys", passphrase=PASSPHRASE),
        ca=home / "ca.pem",
        certificate=home / f"{ATTACKER}.pem",
        certificate_key=home / f"{ATTACKER}.key.pem",
        tenant=TENANT,
    )


@contextmanager
def target(home: Path) -> Iterator[Target]:
    """A server with two models, whose attacker has every role."""
    models = {
        "public": example_models.bundle(
            example_models.linear_model(name="public"), Mode.PUBLIC, (Packing.SINGLE,)
        ),
        "private": example_models.bundle(example_models.linear_model(), packings=(Packing.SINGLE,)),
        SPARE: example_models.bundle(
            example_models.linear_model(name=SPARE), Mode.PUBLIC, (Packing.SINGLE,)
        ),
    }
    registry = ModelRegistry(home / "models" / TENANT)
    for bundle in models.values():
        registry.publish(bundle)
    authority = Authority.fresh()
    ca = authority.write(home / "ca.pem")
    certificate, key = authority.issue(home, "localhost")
    authority.issue(home, ATTACKER)
    tenants = home / "tenants.toml"
    tenants.write_text(TENANTS)
    with socket.create_server(("localhost", 0)) as listening:
        gateway = f"localhost:{listening.getsockname()[1]}"
    settings = ServerSettings(
        listen="127.0.0.1:0",
        server_id=SERVER_ID,
        tls_certificate=certificate,
        tls_key=key,
        tls_client_ca=ca,
        models=home / "models",
        state=home / "state",
        address_file=home / "address",
        tenants=tenants,
        gateway=gateway,
        header_seconds=1.0,
        idle_seconds=1.0,
        max_streams=256,
    )
    with server_process(settings) as running:
        prepared, receipt_id = {}, b""
        for name in ATTACKED:
            with client(home, running.address, models[name]) as honest:
                result = honest.predict(example_models.records(1))
            prepared[name] = Prepared.of(result.evidence[0])
            receipt_id = result.receipt.signed.receipt.receipt_id
        yield Target(
            running.address,
            gateway,
            home,
            settings,
            psutil.Process(running.process),
            models,
            prepared,
            _valid(models, receipt_id),
            receipt_id,
        )


def _valid(models: dict[str, ModelBundle], receipt_id: bytes) -> dict[rpc.Method, list[bytes]]:
    """Of every procedure but Infer, whose requests have an id of their own each."""
    card, digest = models["private"].card, models["private"].digest
    spare = models[SPARE]
    request = KeyRequest(ATTACKER, SERVER_ID, card.ring_degree, card.key_moduli, card.keys_needed)
    identifier = secrets.token_bytes(16)
    b = np.zeros((request.keys, len(request.moduli), request.ring_degree), dtype=np.uint64)
    signed = Countersignature(receipt_id, bytes(32), bytes(64))
    stream = {
        rpc.PUBLISH_MODEL: list(
            encode_publication(identifier, spare.digest, encode_bundle(parts_of(spare)))
        ),
        rpc.COMPLETE_ENROLMENT: list(encode_completion(identifier, b, bytes(1000))),
    }
    unary = {
        rpc.LIST_MODELS: encode_list_request(),
        rpc.GET_MODEL: encode_model_request(digest),
        rpc.WITHDRAW_MODEL: encode_withdrawal(identifier, spare.digest),
        rpc.BEGIN_ENROLMENT: encode_begin(request, bytes(32)),
        rpc.GET_LOG: encode_log_request(),
        rpc.GET_CHECKPOINT: encode_checkpoint_request(CheckpointRequest(1, 1)),
        rpc.GET_RECEIPT: encode_receipt_request(receipt_id, 1),
        rpc.GET_INCLUSION: encode_inclusion_request(0, 2),
        rpc.GET_CONSISTENCY: encode_consistency_request(1, 2),
        rpc.READ_ENTRIES: encode_entries_request(0, 4),
        rpc.COUNTERSIGN: encode_countersignature(signed),
    }
    return {**{method: [message] for method, message in unary.items()}, **stream}
