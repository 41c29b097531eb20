"""What `blindproof demo` does: one honest round trip, then a server that cheats.

Everything is the product's own: the model is published as any other, the server is a process of its
own behind TLS, and the cheating server differs from it in single steps of its engine.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blindproof.demo.authority import Authority
from blindproof.demo.cheats import Cheat, DishonestEngine
from blindproof.demo.local_server import server_process, server_thread
from blindproof.demo.patients import Patients, fit
from blindproof.publishing import publish_linear
from client_sdk import Client, KeyStore, Phase, Result, VerificationError
from fhe_layers.quantise import quantise
from protocol.errors import BlindproofError
from protocol.model import ModelCard
from server.inference import SECRET_BYTES
from server.settings import ServerSettings
from wire.files import make_private_directory, read_or_create_secret

Floats = npt.NDArray[np.float64]


class DemonstrationError(BlindproofError):
    """The demonstration saw something it should not have."""


@dataclass(frozen=True, eq=False)
class HonestAnswer:
    """One verified prediction beside the plaintext model's.

    Attributes:
        title: for the table.
        result: as the client released it.
        accuracy, plaintext_accuracy: share of right labels, from ciphertexts and in the clear.
        same_labels: whether both models agree on every patient.
        largest_error: distance of the released values from the exact committed model.
        plaintext_distance: their distance from the plaintext model, whose weights have all bits.
    """

    title: str
    result: Result
    accuracy: float
    plaintext_accuracy: float
    same_labels: bool
    largest_error: float
    plaintext_distance: float


@dataclass(frozen=True)
class RefusedCheat:
    """A dishonest answer and the check that refused it."""

    cheat: Cheat
    packing: str
    check: str
    decryptions: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the demonstration showed."""

    card: ModelCard
    answers: tuple[HonestAnswer, ...]
    refused: tuple[RefusedCheat, ...]
    server_start_seconds: float
    enrolment_seconds: float


def play(report: Callable[[str], None]) -> Outcome:
    """Play everything in a temporary directory; `report` is told each step.

    Raises:
        DemonstrationError: a cheat was accepted, or an honest answer was wrong.
        BlindproofError: anything else that failed.
    """
    with tempfile.TemporaryDirectory(prefix="blindproof-") as directory:
        return _play(Path(directory), report)


def _play(home: Path, report: Callable[[str], None]) -> Outcome:
    report("training logistic regression on the breast-cancer data")
    patients = fit()
    report("publishing it as a private model, with a proof of its ranges")
    card = publish_linear(home / "models", patients.model)
    authority = Authority.fresh()
    ca = authority.write(home / "ca.pem")
    certificate, key = authority.issue(home, "localhost")
    settings = ServerSettings(
        listen="127.0.0.1:0",
        server_id="demonstration",
        tls_certificate=certificate,
        tls_key=key,
        models=home / "models",
        state=make_private_directory(home / "state"),
        address_file=home / "address",
    )
    keys = KeyStore(home / "keys", passphrase=secrets.token_hex(16))

    report("starting a TLS gRPC server on loopback, in its own process")
    started = time.perf_counter()
    with server_process(settings) as address:
        start_seconds = time.perf_counter() - started
        with Client(address, model=card.digest, keys=keys, ca=ca) as client:
            report("enrolling the client's public keys")
            started = time.perf_counter()
            client.enrol()
            enrolment_seconds = time.perf_counter() - started
            report(f"encrypting {len(patients.held_out)} held-out patients, then one alone")
            client.predict(patients.held_out[:1], packing="single")  # warms both sides up
            answers = tuple(
                _compare(title, client.predict(rows, packing=packing), patients, card)
                for title, rows, packing in (
                    ("batch", patients.held_out, "batch"),
                    ("single record", patients.held_out[:1], "single"),
                )
            )

    report("replacing the server by one that cheats")
    secret = read_or_create_secret(settings.state / "server.secret", SECRET_BYTES)
    engine = DishonestEngine(secret)
    refused: list[RefusedCheat] = []
    with server_thread(settings, engine) as address:
        phases: list[Phase] = []
        with Client(address, model=card.digest, keys=keys, ca=ca, observer=phases.append) as client:
            for packing, rows in (("batch", patients.held_out), ("single", patients.held_out[:1])):
                engine.cheat = Cheat.NONE
                client.predict(rows, packing=packing)  # honest: gives the server what it replays
                for cheat in list(Cheat)[1:]:
                    engine.cheat = cheat
                    phases.clear()
                    check = _refusal(client, rows, packing)
                    decryptions = phases.count(Phase.DECRYPT)
                    if check is None or decryptions:
                        raise DemonstrationError(f"the client accepted {cheat} ({packing})")
                    refused.append(RefusedCheat(cheat, packing, check, decryptions))
    return Outcome(card, answers, tuple(refused), start_seconds, enrolment_seconds)


def _refusal(client: Client, rows: Floats, packing: str) -> str | None:
    """The check that refused an answer, None if it was accepted."""
    try:
        client.predict(rows, packing=packing)
    except VerificationError as error:
        return error.check
    return None


def _compare(title: str, result: Result, patients: Patients, card: ModelCard) -> HonestAnswer:
    count = len(result.values)
    labels, truth = result.labels or (), patients.truth[:count]
    plaintext = patients.plaintext_labels[:count]
    answer = HonestAnswer(
        title=title,
        result=result,
        accuracy=_share(labels, truth),
        plaintext_accuracy=_share(plaintext, truth),
        same_labels=labels == plaintext,
        largest_error=float(np.abs(result.values - _exact(patients, card)[:count]).max()),
        plaintext_distance=float(np.abs(result.values - patients.plaintext_values[:count]).max()),
    )
    if answer.largest_error > result.error_bound or not answer.same_labels:
        raise DemonstrationError(
            f"{title}: error {answer.largest_error:.3g} against a bound of "
            f"{result.error_bound:.3g}, labels equal: {answer.same_labels}"
        )
    return answer


def _exact(patients: Patients, card: ModelCard) -> Floats:
    """The committed integer model's outputs, (patients, 1), in double precision."""
    quantised = quantise(patients.model.weights, patients.model.intercept)
    centre = np.array([feature.centre for feature in card.features])
    scale = np.array([feature.scale for feature in card.features])
    normalised = (patients.held_out - centre) / scale
    exact: Floats = (normalised @ quantised.weights.T + quantised.bias) * quantised.step
    return exact


def _share(labels: tuple[str, ...], truth: tuple[str, ...]) -> float:
    return sum(a == b for a, b in zip(labels, truth, strict=True)) / len(truth)
