"""REST against a real server: what a client without gRPC gets, and what its document promises."""

from __future__ import annotations

import base64
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from audit.receipt import Action, Outcome
from blindproof.loopback import server_thread
from client_sdk import Client, KeyStore
from protocol.parameters import Packing
from server.gateway.problems import STATUS
from server.settings import ServerSettings
from tests.integration.asking import Outcome as Asked
from tests.integration.asking import eventually, receipt_of, receipts, receipts_of, trail_of
from tests.integration.conftest import PASSPHRASE, World
from tests.integration.example_models import exact_values, records
from tests.integration.raw_requests import messages_like
from wire.delimited import MEDIA_TYPE, DelimitedReader, delimited
from wire.inference import decode_header

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "gateway.md").read_text()
RECORD = np.array([[1.5, -3.0, 0.25]])
STREAM = {"content-type": MEDIA_TYPE}


@dataclass
class Gateway:
    """A server of its own with a gateway, and one answered request to send others like it."""

    world: World
    settings: ServerSettings
    address: str
    like: list[bytes]
    log_key: str

    @property
    def url(self) -> str:
        return f"https://{self.settings.gateway}"

    def client(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.world.ca)
        return httpx.Client(base_url=self.url, verify=context, timeout=30)

    def fresh(self) -> list[bytes]:
        return messages_like(self.like)

    def predict(self, messages: list[bytes]) -> httpx.Response:
        with self.client() as client:
            body = b"".join(map(delimited, messages))
            return client.post("/v1/predictions", content=body, headers=STREAM)


@pytest.fixture(scope="module")
def gateway(world: World, tmp_path_factory) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("gateway")
    with socket.create_server(("localhost", 0)) as listening:
        port = listening.getsockname()[1]
    settings = world.settings.model_copy(
        update={"state": home / "state", "gateway": f"localhost:{port}", "idle_seconds": 2.0}
    )
    digest = world.models["private"].digest
    with server_thread(settings) as address:
        keys = KeyStore(home / "keys", passphrase=PASSPHRASE)
        with Client(address, model=digest, keys=keys, ca=world.ca) as client:
            evidence = client.predict(records(1), packing="single").evidence[0]
            log_key = client.log_key
        yield Gateway(world, settings, address, evidence, log_key)


def split(body: bytes) -> list[bytes]:
    reader = DelimitedReader()
    reader.feed(body)
    found = []
    while (message := reader.next()) is not None:
        found.append(message)
    reader.finish()
    return found


def test_the_program_of_the_document_gets_verified_predictions(gateway, tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    script = tmp_path / "predict.py"
    script.write_text(program)
    bundle = gateway.world.models["private"]
    arguments = [gateway.url, gateway.world.ca, bundle.digest.hex(), gateway.log_key]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BLINDPROOF_PASSPHRASE": PASSPHRASE,
    }
    (exact,) = exact_values(bundle, RECORD).ravel()
    bound = bundle.card.bounds(Packing.SINGLE).released_error * bundle.card.unit + 1e-6  # printed
    indices = []
    for _ in range(2):  # the second time with the key that the first one has enrolled
        ran = subprocess.run(
            [sys.executable, script, *arguments, tmp_path / "keys"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr + ran.stdout
        value, bits, index = re.fullmatch(
            r"released: \[\[(.*)\]\], (\d+) bits, entry (\d+) of the log\n", ran.stdout
        ).groups()
        assert abs(float(value) - exact) <= bound
        assert int(bits) >= 100
        indices.append(int(index))
    with trail_of(gateway.settings) as files:
        found = receipts(files)
    assert [found[index].action for index in indices] == [Action.PREDICT] * 2
    client_id = found[indices[0]].actor
    enrolled = [one for one in found if one.action is Action.ENROL_KEY and one.actor == client_id]
    assert len(enrolled) == 1


def test_the_document_lists_all_routes_and_all_reasons(gateway):
    with gateway.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    described = {f"{method.upper()} {path}" for path in paths for method in paths[path]}
    assert set(re.findall(r"^\| `([A-Z]+ /v1/\S+)` \|", DOCUMENT, re.MULTILINE)) == described
    table = {}
    for status, reasons in re.findall(r"^\| (\d{3}) \| (.*) \|$", DOCUMENT, re.MULTILINE):
        table |= dict.fromkeys(re.findall(r"`([a-z-]+)`", reasons), int(status))
    assert table == {str(reason): int(status) for reason, status in STATUS.items()}


def test_the_same_request_again_is_answered_with_the_same_bytes(gateway):
    messages = gateway.fresh()
    first, second = gateway.predict(messages), gateway.predict(messages)
    assert (first.status_code, second.status_code) == (200, 200)
    *answer, _ = split(first.content)
    *again, _ = split(second.content)
    assert answer == again
    with trail_of(gateway.settings) as files:
        assert len(receipts_of(files, messages)) == 1


def test_a_refusal_names_its_receipt_which_can_be_read(gateway):
    messages = gateway.fresh()
    response = gateway.predict([messages[0], messages[1][:-8]])
    problem = response.json()
    assert (response.status_code, problem["reason"]) == (400, "malformed")
    with gateway.client() as client:
        kept = client.get(f"/v1/receipts/{problem['receipt']}").json()
    with trail_of(gateway.settings) as files:
        denied = receipt_of(files, Asked(receipt_id=bytes.fromhex(problem["receipt"])))
        entry = files.log.find_receipt(denied.receipt_id)
    assert (denied.outcome, denied.reason) == (Outcome.DENIED, "malformed")
    assert denied.request_id == decode_header(messages[0]).request_id
    assert base64.b64decode(kept["receipt"]["entry"]) == entry.data
    assert kept["countersignature"] is None


def test_an_upload_that_breaks_is_recorded_and_may_begin_again(gateway):
    messages = gateway.fresh()
    body = b"".join(map(delimited, messages))
    place = gateway.settings.gateway.rpartition(":")
    context = ssl.create_default_context(cafile=gateway.world.ca)
    with context.wrap_socket(
        socket.create_connection((place[0], int(place[2])), timeout=10), server_hostname="localhost"
    ) as connection:
        head = f"POST /v1/predictions HTTP/1.1\r\nhost: x\r\ncontent-type: {MEDIA_TYPE}\r\n"
        connection.sendall(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode())
        connection.sendall(body[: len(body) // 2])

    def recorded() -> bool:
        with trail_of(gateway.settings) as files:
            return [one.outcome for one in receipts_of(files, messages)] == [Outcome.FAILED]

    eventually(recorded)
    assert gateway.predict(messages).status_code == 200
    with trail_of(gateway.settings) as files:
        outcomes = [one.outcome for one in receipts_of(files, messages)]
    assert outcomes == [Outcome.FAILED, Outcome.ANSWERED]


def test_a_certificate_decides_who_asks(world, tmp_path):
    with socket.create_server(("localhost", 0)) as listening:
        port = listening.getsockname()[1]
    world.authority.issue(tmp_path, "clinic")
    settings = world.settings.model_copy(
        update={
            "state": tmp_path / "state",
            "gateway": f"localhost:{port}",
            "tls_client_ca": world.ca,
        }
    )
    context = ssl.create_default_context(cafile=world.ca)
    document = {
        "client_id": "clinic",
        "server_id": settings.server_id,
        "ring_degree": world.models["private"].card.ring_degree,
        "moduli": [str(prime) for prime in world.models["private"].card.key_moduli],
        "keys": 1,
        "root": "00" * 32,
    }
    with server_thread(settings):
        with (
            httpx.Client(base_url=f"https://localhost:{port}", verify=context) as nobody,
            pytest.raises(httpx.HTTPError),
        ):
            nobody.get("/v1/models")
        context.load_cert_chain(tmp_path / "clinic.pem", tmp_path / "clinic.key.pem")
        with httpx.Client(base_url=f"https://localhost:{port}", verify=context) as clinic:
            assert clinic.post("/v1/enrolments", json=document).status_code == 200
            other = clinic.post("/v1/enrolments", json={**document, "client_id": "another"})
            assert (other.status_code, other.json()["reason"]) == (403, "identity-refused")
            assert clinic.get("/v1/log/entries").json()["reason"] == "role-missing"
