"""Measure the cases: real client, real server process, TLS on loopback.

Every figure is a median over runs, seconds and bytes unless its name says otherwise. Server figures
are the server's own clock, client figures the client's. Every case has a server of its own, so that
peak memory is that case's.
"""

from __future__ import annotations

import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from benchmarks import ezkl_peer
from benchmarks.cases import LINEAR_PRECISION_BITS, Case
from blindproof.authority import Authority
from blindproof.demo.patients import fit
from blindproof.loopback import server_process
from blindproof.publishing import bundle_linear
from client_sdk import Client, KeyStore, Result
from fhe_layers.ckks import CkksContext
from protocol.keys import ENROLMENT_NONCE_BYTES, KeyRequest
from protocol.parameters import Mode, Packing
from server.registry import ModelBundle
from server.settings import ServerSettings
from zk_layers.prove import EnrolmentProver, prove_registration
from zk_layers.verify import verify_enrolment, verify_registration

Figures = dict[str, float]

PEER_RUNS = 3
"""A peer's proof takes up to seconds: as many runs as the slowest cases get by default."""


def machine(runs: int) -> dict[str, float | str]:
    """What absolute times belong to; nothing that names the machine."""
    peers = {"machine.ezkl": metadata.version("ezkl")} if ezkl_peer.installed() else {}
    return {
        **peers,
        "machine.cpus": float(psutil.cpu_count() or 1),
        "machine.memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "machine.architecture": platform.machine(),
        "machine.python": platform.python_version(),
        "machine.numpy": np.__version__,
        "machine.tenseal": metadata.version("tenseal"),
        "machine.runs": float(runs),
    }


def measure_all(cases: tuple[Case, ...], runs: int, progress: Callable[[str], None]) -> Figures:
    """Measure every case; keys are `case.metric`."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        keys = KeyStore(directory / "keys", passphrase=secrets.token_hex(16))
        for case in cases:
            progress(case.name)
            measured = _measure(case, directory, keys, case.runs(runs))
            figures |= {f"{case.name}.{metric}": value for metric, value in measured.items()}
    started = [
        figures.get(f"{name}.{metric}", 0.0)
        for name, metric in (
            ("linear_private_batch", "publish_s"),
            ("linear_public_batch", "publish_s"),
            ("linear_public_batch", "server_start_s"),
        )
    ]
    if all(started):
        figures["server.publish_and_start_s"] = sum(started)
    progress("enrolment")
    bundle = _reference_bundle()
    figures |= {f"enrolment.{name}": value for name, value in _enrolment(bundle, runs).items()}
    progress("registration")
    figures |= {f"registration.{name}": v for name, v in _registration(bundle, runs).items()}
    progress("start-up")
    figures["client_sdk.import_s"] = _fresh_interpreter_seconds("import client_sdk", runs)
    figures["server.import_s"] = _fresh_interpreter_seconds("import server.main", runs)
    return figures


@contextmanager
def _serving(directory: Path) -> Iterator[str]:
    """A server process on loopback; yields its address."""
    if not (directory / "ca.pem").exists():
        authority = Authority.fresh()
        authority.write(directory / "ca.pem")
        authority.issue(directory, "localhost")
    settings = ServerSettings(
        listen="127.0.0.1:0",
        tls_certificate=directory / "localhost.pem",
        tls_key=directory / "localhost.key.pem",
        models=directory / "models",
        state=directory / "state",
        address_file=directory / "address",
    )
    with server_process(settings) as (address, _):
        yield address


def _measure(case: Case, directory: Path, keys: KeyStore, runs: int) -> Figures:
    started = time.perf_counter()
    card = case.publish(directory / "models")
    figures = {"publish_s": time.perf_counter() - started}
    started = time.perf_counter()
    with _serving(directory) as address:
        figures["server_start_s"] = time.perf_counter() - started
        with Client(address, model=card.digest, keys=keys, ca=directory / "ca.pem") as client:
            if card.mode is Mode.PRIVATE:
                started = time.perf_counter()
                client.enrol()
                figures["enrol_s"] = time.perf_counter() - started
            client.predict(case.records, packing=str(case.packing))  # warms tables
            results = [client.predict(case.records, packing=str(case.packing)) for _ in range(runs)]
            if case.fill:
                figures |= _full_batch(client, case, card.profile(case.packing).parameters.slots)
        figures["server_peak_mib"] = _server_peak_mib()
    figures |= _medians(results)
    errors = (np.abs(result.values - case.exact).max() for result in results)
    return figures | {
        "records": float(len(case.records)),
        "precision_bits": results[0].precision_bits,
        "soundness_bits": results[0].soundness_bits,
        "error_bound": results[0].error_bound,
        "max_error": max(map(float, errors)),
        case.baseline_metric: case.baseline(runs),
        **peer_figures(case, runs),
    }


def _full_batch(client: Client, case: Case, slots: int) -> Figures:
    """One request with every slot in use, from raw records to released values."""
    records = np.resize(case.records, (slots, case.records.shape[1]))
    started = time.perf_counter()
    result = client.predict(records, packing=str(case.packing))
    figures = {
        "full_batch_s": time.perf_counter() - started,
        "full_batch_records": float(slots),
    }
    exact = np.resize(case.exact, (slots, case.exact.shape[1]))
    if np.abs(result.values - exact).max() > result.error_bound:
        raise RuntimeError("a full batch is further from its model than was proved")
    return figures


def peer_figures(case: Case, runs: int) -> Figures:
    """EZKL's, if the case is compared with it and the extra `peers` is installed."""
    if case.peer is None or not ezkl_peer.installed():
        return {}
    return case.peer(min(runs, PEER_RUNS))


def _medians(results: list[Result]) -> Figures:
    """Of sanitising, which `evaluate_s` contains, `sanitise_s` is the part."""

    def middle(figure: Callable[[Result], float]) -> float:
        return median(figure(result) for result in results)

    return {
        "encrypt_s": middle(lambda r: r.timings.encrypt),
        "expand_s": middle(lambda r: r.timings.server.expand),
        "evaluate_s": middle(lambda r: r.timings.server.evaluate + r.timings.server.sanitise),
        "sanitise_s": middle(lambda r: r.timings.server.sanitise),
        "prove_s": middle(lambda r: r.timings.server.prove),
        "verify_s": middle(lambda r: r.timings.verify),
        "decrypt_s": middle(lambda r: r.timings.decrypt),
        "exchange_s": middle(lambda r: r.timings.exchange),
        "request_bytes": middle(lambda r: r.sent_bytes),
        "response_bytes": middle(lambda r: r.received_bytes),
        "proof_bytes": middle(lambda r: sum(map(len, r.proofs))),
    }


def _server_peak_mib() -> float:
    """Peak resident memory of the one server process below this one."""
    for child in psutil.Process().children(recursive=True):
        if "server" in child.cmdline():
            status = Path(f"/proc/{child.pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
            return int(peak.split()[1]) / 1024
    raise RuntimeError("the server process is gone")


def _reference_bundle() -> ModelBundle:
    """The linear model, private, in both packings: what enrolment and registration are of."""
    return bundle_linear(
        fit().model,
        secrets.token_bytes(32),
        mode=Mode.PRIVATE,
        packings=tuple(Packing),
        precision_bits=LINEAR_PRECISION_BITS,
    )


def _enrolment(bundle: ModelBundle, runs: int) -> Figures:
    card = bundle.card
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


def _registration(bundle: ModelBundle, runs: int) -> Figures:
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
