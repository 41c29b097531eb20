"""What `blindproof demo` does: honest round trips of three models, the trail, a server that cheats.

Everything is the product's own: models are published as any other, the server is a process of its
own behind TLS, and the cheating server differs from it in single steps of its engine.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blindproof.authority import Authority
from blindproof.collapsed_publishing import publish_collapsed
from blindproof.demo import tenseal_baseline
from blindproof.demo.answers import DemonstrationError, HonestAnswer, Study, compare
from blindproof.demo.audit_trail import Audit, audited, export_trail
from blindproof.demo.cheats import Cheat, DishonestEngine
from blindproof.demo.networks import OneRecord, Trained, breast_cancer_mlp, digits_cnn
from blindproof.demo.patients import Patients, fit
from blindproof.loopback import server_process, server_thread
from blindproof.network_publishing import publish_network
from blindproof.publishing import publish_linear
from client_sdk import Client, KeyStore, Phase, VerificationError
from protocol.model import ModelCard
from server.inference import SECRET_BYTES
from server.settings import ServerSettings
from wire.files import make_private_directory, read_or_create_secret

Floats = npt.NDArray[np.float64]
Report = Callable[[str], None]

NETWORKS: tuple[tuple[str, Callable[[], Trained], bool], ...] = (
    ("MLP", breast_cancer_mlp, True),
    ("CNN", digits_cnn, False),
)
"""Title, training, and whether it is shallow enough to be multiplied out for one record."""
NETWORK_CHEATS = (Cheat.OTHER_MODEL, Cheat.ALTERED_WORD, Cheat.REPLAY)


@dataclass(frozen=True)
class RefusedCheat:
    """A dishonest answer and the check that refused it."""

    cheat: Cheat
    asked: str
    check: str
    decryptions: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the demonstration showed."""

    cards: tuple[ModelCard, ...]
    answers: tuple[HonestAnswer, ...]
    refused: tuple[RefusedCheat, ...]
    audit: Audit
    server_start_seconds: float
    enrolment_seconds: tuple[float, ...]


@dataclass(frozen=True, eq=False, repr=False)
class _Network:
    """A network of the story, published; perhaps once more for single records."""

    title: str
    trained: Trained
    card: ModelCard
    single: ModelCard | None


def play(report: Report) -> Outcome:
    """Play everything in a temporary directory; `report` is told each step.

    Raises:
        DemonstrationError: a cheat was accepted, or an honest answer was wrong.
        BlindproofError: anything else that failed.
    """
    with tempfile.TemporaryDirectory(prefix="blindproof-") as directory:
        return _Story(Path(directory), report).play()


class _Story:
    """Three models, one client's keys, one directory."""

    def __init__(self, home: Path, report: Report) -> None:
        self._report = report
        self._home = home
        self._models = home / "models"
        self._keys = KeyStore(home / "keys", passphrase=secrets.token_hex(16))
        authority = Authority.fresh()
        self._ca = authority.write(home / "ca.pem")
        certificate, key = authority.issue(home, "localhost")
        self._settings = ServerSettings(
            listen="127.0.0.1:0",
            server_id="demonstration",
            tls_certificate=certificate,
            tls_key=key,
            models=self._models,
            state=make_private_directory(home / "state"),
            address_file=home / "address",
        )

    def play(self) -> Outcome:
        """All three acts."""
        self._report("training logistic regression on the breast-cancer data")
        patients = fit()
        self._report("publishing it as a private model, with a proof of its ranges")
        card = publish_linear(self._models, patients.model)
        networks = tuple(self._publish_networks())
        early, late = self._home / "early.zip", self._home / "late.zip"
        self._report("starting a TLS gRPC server on loopback, in its own process")
        started = time.perf_counter()
        with server_process(self._settings) as (address, _):
            start_seconds = time.perf_counter() - started
            enrolled, answers = self._linear_answers(address, card, patients)
            export_trail(self._settings.state, early)
            enrolments = [enrolled]
            for network in networks:
                for enrolled, answer in self._network_answers(address, network):
                    enrolments.append(enrolled)
                    answers.append(answer)
            self._report("exporting the server's audit trail, while it runs")
            log_key = export_trail(self._settings.state, late)
        self._report("replacing the server by one that cheats")
        refused = tuple(self._cheats(card, patients, networks[0]))
        self._report("verifying the audit trail offline, from its export alone")
        audit = audited(early, late, log_key, answers[0].result.receipt)
        return Outcome(
            cards=(card, *(network.card for network in networks)),
            answers=tuple(answers),
            refused=refused,
            audit=audit,
            server_start_seconds=start_seconds,
            enrolment_seconds=tuple(enrolments),
        )

    def _publish_networks(self) -> Iterator[_Network]:
        for title, train, shallow in NETWORKS:
            self._report(f"{title}: training and publishing it as a private network")
            trained = train()
            bits = trained.precision_bits
            card = publish_network(self._models, trained.model, precision_bits=bits)
            single = None
            if shallow:
                single = publish_collapsed(self._models, trained.model, precision_bits=bits)
            yield _Network(title, trained, card, single)

    def _client(
        self, address: str, card: ModelCard, observer: Callable[[Phase], None] | None = None
    ) -> Client:
        return Client(address, model=card.digest, keys=self._keys, ca=self._ca, observer=observer)

    def _linear_answers(
        self, address: str, card: ModelCard, patients: Patients
    ) -> tuple[float, list[HonestAnswer]]:
        """Seconds of enrolment, and the answers for a batch and for one record."""
        with self._client(address, card) as client:
            self._report("enrolling the client's public keys")
            seconds = _timed(client.enrol)
            self._report(f"encrypting {len(patients.held_out)} held-out patients, then one alone")
            client.predict(patients.held_out[:1], packing="single")  # warms both sides up
            return seconds, [
                compare(title, client.predict(rows, packing=packing), patients)
                for title, rows, packing in (
                    ("logistic", patients.held_out, "batch"),
                    ("logistic single", patients.held_out[:1], "single"),
                )
            ]

    def _network_answers(
        self, address: str, network: _Network
    ) -> Iterator[tuple[float, HonestAnswer]]:
        """Seconds of enrolment and an answer: for every unseen record, perhaps for one alone."""
        trained = network.trained
        self._report(f"{network.title}: one record with TenSEAL, without proof")
        record = trained.model.normalised(trained.held_out[:1])[0]
        unverified = tenseal_baseline.network_seconds(trained.model.network, record, runs=1)
        asked: list[tuple[str, ModelCard, Study]] = [(network.title, network.card, trained)]
        if network.single is not None:
            one = OneRecord.of(trained)
            asked.append((f"{network.title} single", network.single, one))
        for title, card, study in asked:
            with self._client(address, card) as client:
                self._report(f"{title}: enrolling public keys, {card.keys_needed} of them")
                seconds = _timed(client.enrol)
                self._report(f"{title}: encrypting records, {len(study.held_out)} of them")
                yield seconds, compare(title, client.predict(study.held_out), study, unverified)

    def _cheats(
        self, card: ModelCard, patients: Patients, network: _Network
    ) -> Iterator[RefusedCheat]:
        """Every cheat against the linear model, those that fit against a network."""
        secret = read_or_create_secret(self._settings.state / "server.secret", SECRET_BYTES)
        engine = DishonestEngine(secret)
        every = tuple(Cheat)[1:]
        with server_thread(self._settings, engine) as address:
            for title, model, rows, packing, cheats in (
                ("logistic", card, patients.held_out, "batch", every),
                ("logistic single", card, patients.held_out[:1], "single", every),
                (network.title, network.card, network.trained.held_out, "batch", NETWORK_CHEATS),
            ):
                phases: list[Phase] = []
                with self._client(address, model, phases.append) as client:
                    engine.cheat = Cheat.NONE
                    client.predict(rows, packing=packing)  # gives the server what it replays
                    for cheat in cheats:
                        engine.cheat = cheat
                        phases.clear()
                        check = _refusal(client, rows, packing)
                        decryptions = phases.count(Phase.DECRYPT)
                        if check is None or decryptions:
                            raise DemonstrationError(f"the client accepted {cheat} ({title})")
                        yield RefusedCheat(cheat, title, check, decryptions)


def _refusal(client: Client, rows: Floats, packing: str) -> str | None:
    """The check that refused an answer, None if it was accepted."""
    try:
        client.predict(rows, packing=packing)
    except VerificationError as error:
        return error.check
    return None


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
