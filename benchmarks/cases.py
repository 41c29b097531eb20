"""The measured cases: real client, real server process, TLS on loopback.

Every figure is a median over runs, seconds and bytes unless its name says otherwise.  Server
figures are the server's own clock, client figures the client's.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from benchmarks import tenseal_baseline
from blindproof.demo.authority import Authority
from blindproof.demo.local_server import server_process
from blindproof.demo.patients import Patients, fit
from blindproof.publishing import bundle_linear, publish_linear
from client_sdk import Client, KeyStore, Result
from fhe_layers.ckks import CkksContext
from fhe_layers.quantise import quantise
from protocol.keys import ENROLMENT_NONCE_BYTES, KeyRequest
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing
from server.settings import ServerSettings
from zk_layers.prove import EnrolmentProver, prove_registration
from zk_layers.verify import verify_enrolment, verify_registration

Figures = dict[str, float]
PRECISION_BITS = {Packing.BATCH: 24.0, Packing.SINGLE: 30.0}


@dataclass(frozen=True)
class Case:
    """One benchmarked way to ask a model."""

    name: str
    mode: Mode
    packing: Packing


CASES = (
    Case("linear_private_batch", Mode.PRIVATE, Packing.BATCH),
    Case("linear_private_single", Mode.PRIVATE, Packing.SINGLE),
    Case("linear_public_batch", Mode.PUBLIC, Packing.BATCH),
)


@contextmanager
def serving(directory: Path, patients: Patients) -> Iterator[tuple[str, dict[Mode, ModelCard]]]:
    """A server process on loopback with the model published in both modes."""
    models = directory / "models"
    cards = {}
    for mode in Mode:
        model = replace(patients.model, name=f"{patients.model.name}-{mode}")
        cards[mode] = publish_linear(
            models, model, mode=mode, precision_bits=min(PRECISION_BITS.values())
        )
    authority = Authority.fresh()
    authority.write(directory / "ca.pem")
    certificate, key = authority.issue(directory, "localhost")
    settings = ServerSettings(
        listen="127.0.0.1:0",
        tls_certificate=certificate,
        tls_key=key,
        models=models,
        state=directory / "state",
        address_file=directory / "address",
    )
    with server_process(settings) as address:
        yield address, cards


def measure_all(runs: int, progress: Callable[[str], None]) -> Figures:
    """Measure every case; keys are `case.metric`."""
    patients = fit()
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        progress("server start")
        started = time.perf_counter()
        with serving(directory, patients) as (address, cards):
            figures["server.publish_and_start_s"] = time.perf_counter() - started
            keys = KeyStore(directory / "keys", passphrase=secrets.token_hex(16))
            for case in CASES:
                progress(case.name)
                with Client(
                    address,
                    model=cards[case.mode].digest,
                    keys=keys,
                    ca=directory / "ca.pem",
                ) as client:
                    measured = _predictions(client, cards[case.mode], case, patients, runs)
                measured["server_peak_mib"] = _server_peak_mib()
                figures |= {f"{case.name}.{metric}": value for metric, value in measured.items()}
    progress("enrolment")
    card = cards[Mode.PRIVATE]
    figures |= {f"enrolment.{name}": value for name, value in _enrolment(card, runs).items()}
    progress("registration")
    figures |= {f"registration.{name}": v for name, v in _registration(patients, runs).items()}
    progress("start-up")
    figures["client_sdk.import_s"] = _fresh_interpreter_seconds("import client_sdk", runs)
    figures["server.import_s"] = _fresh_interpreter_seconds("import server.main", runs)
    return figures


def _predictions(
    client: Client, card: ModelCard, case: Case, patients: Patients, runs: int
) -> Figures:
    records = patients.held_out if case.packing is Packing.BATCH else patients.held_out[:1]
    client.predict(records, packing=str(case.packing))  # enrols, warms tables
    results = [client.predict(records, packing=str(case.packing)) for _ in range(runs)]
    weights = patients.model.weights[0]
    bias = float(patients.model.intercept[0])
    scaled = (records - [f.centre for f in card.features]) / [f.scale for f in card.features]
    if case.packing is Packing.BATCH:
        baseline = tenseal_baseline.batch_seconds(scaled, weights, bias, runs)
    else:
        baseline = tenseal_baseline.single_seconds(scaled[0], weights, bias, runs)

    def middle(figure: Callable[[Result], float]) -> float:
        return median(figure(result) for result in results)

    return {
        "encrypt_s": middle(lambda r: r.timings.encrypt),
        "expand_s": middle(lambda r: r.timings.server.expand),
        "evaluate_s": middle(lambda r: r.timings.server.evaluate + r.timings.server.sanitise),
        "prove_s": middle(lambda r: r.timings.server.prove),
        "verify_s": middle(lambda r: r.timings.verify),
        "decrypt_s": middle(lambda r: r.timings.decrypt),
        "exchange_s": middle(lambda r: r.timings.exchange),
        "request_bytes": middle(lambda r: r.sent_bytes),
        "response_bytes": middle(lambda r: r.received_bytes),
        "proof_bytes": middle(lambda r: sum(len(e.proof) for e in r.evidence)),
        "records": float(len(records)),
        "precision_bits": results[0].precision_bits,
        "soundness_bits": results[0].soundness_bits,
        "error_bound": results[0].error_bound,
        "max_error": max(_largest_error(result, patients, scaled) for result in results),
        "tenseal_evaluate_s": baseline,
    }


def _largest_error(result: Result, patients: Patients, scaled: tenseal_baseline.Floats) -> float:
    """Against the integer model the card commits to, evaluated in the clear."""
    exact = quantise(patients.model.weights, patients.model.intercept)
    expected = (scaled @ exact.weights.T + exact.bias) * exact.step
    return float(np.abs(result.values - expected).max())


def _server_peak_mib() -> float:
    """Peak resident memory of the one server process below this one."""
    for child in psutil.Process().children(recursive=True):
        if "server" in child.cmdline():
            status = Path(f"/proc/{child.pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
            return int(peak.split()[1]) / 1024
    raise RuntimeError("the server process is gone")


def _enrolment(card: ModelCard, runs: int) -> Figures:
    request = KeyRequest("client", "server", card.ring_degree, card.key_moduli, card.keys_needed)
    secret = CkksContext(card.profile(Packing.BATCH).parameters).generate_secret()
    prove, verify, sizes = [], [], []
    for _ in range(runs + 1):
        nonce = secrets.token_bytes(ENROLMENT_NONCE_BYTES)
        clock = [time.perf_counter()]
        key, proof = EnrolmentProver(request, secret).answer(nonce)
        clock.append(time.perf_counter())
        report = verify_enrolment(key, proof)
        clock.append(time.perf_counter())
        prove.append(clock[1] - clock[0])
        verify.append(clock[2] - clock[1])
        sizes.append(len(proof))
    return {
        "prove_s": median(prove[1:]),
        "verify_s": median(verify[1:]),
        "proof_bytes": median(sizes),
        "soundness_bits": report.bits,
    }


def _registration(patients: Patients, runs: int) -> Figures:
    bundle = bundle_linear(
        patients.model,
        secrets.token_bytes(32),
        mode=Mode.PRIVATE,
        packings=tuple(Packing),
        precision_bits=min(PRECISION_BITS.values()),
    )
    prove, verify = [], []
    for _ in range(runs + 1):
        clock = [time.perf_counter()]
        proof = prove_registration(bundle.card, bundle.integers, bundle.opening, bytes(32))
        clock.append(time.perf_counter())
        report = verify_registration(bundle.card, proof)
        clock.append(time.perf_counter())
        prove.append(clock[1] - clock[0])
        verify.append(clock[2] - clock[1])
    return {
        "prove_s": median(prove[1:]),
        "verify_s": median(verify[1:]),
        "proof_bytes": float(len(proof)),
        "soundness_bits": report.bits,
    }


def _fresh_interpreter_seconds(statement: str, runs: int) -> float:
    """Wall time of an import in a new interpreter, the interpreter's own start not counted."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    return median(
        float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)  # noqa: S603
        for _ in range(runs)
    )
