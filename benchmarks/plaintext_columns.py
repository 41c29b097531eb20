"""What plaintext columns save: ``python -m benchmarks.plaintext_columns``.

A private linear model of 30 numbers, asked about a batch, with some columns in clear.  In process:
no network, and a key whose enrolment is not verified.  Medians; megabytes are 10^6 bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from blindproof.publishing import LinearModel, bundle_linear
from client_sdk.encryption import CkksContext, encrypt
from client_sdk.evidence import Evidence
from client_sdk.verification import verify_answer
from fhe_layers.encoding import encode_slots
from fhe_layers.inputs import request_inputs
from fhe_layers.interpolation import coefficients_of_slots
from fhe_layers.moduli import ntt_primes
from protocol.features import Feature, Privacy
from protocol.inputs import RequestInputs
from protocol.keys import KeyRequest
from protocol.parameters import Mode, Packing
from protocol.plaintext import PlaintextColumns
from server.inference import InferenceEngine
from server.jobs import Job, request_of
from wire.inference import InferenceHeader, encode_request
from wire.stored_key import Enrolment
from zk_layers.prove import EnrolmentProver

FEATURES = 30
SERVER = "server"
RUNS = 7


def measured(open_columns: int, records: int) -> dict[str, float]:
    """Bytes and seconds of one request with so many of 30 columns in clear."""
    rng = np.random.default_rng(7)
    features = tuple(
        Feature(f"x{k}", -4.0, 4.0, 0.0, 4.0, privacy=Privacy.PLAINTEXT)
        if k < open_columns
        else Feature(f"x{k}", -4.0, 4.0, 0.0, 4.0)
        for k in range(FEATURES)
    )
    model = LinearModel(
        name="plaintext",
        version="1",
        purpose="benchmark",
        features=features,
        weights=rng.uniform(-1, 1, (1, FEATURES)),
        intercept=np.zeros(1),
        outputs=("y",),
        labels=(),
        link="identity",
    )
    served = bundle_linear(
        model, bytes(32), mode=Mode.PRIVATE, packings=(Packing.BATCH,), precision_bits=24.0
    )
    card = served.card
    unsecret = CkksContext(card.profiles[0].parameters)
    secret = unsecret.generate_secret()
    context = unsecret.with_secret(secret)
    asked = KeyRequest("client", SERVER, card.ring_degree, card.key_moduli, 1)
    enrolment = Enrolment(*EnrolmentProver(asked, secret).answer(bytes(32)))
    engine = InferenceEngine(bytes(32))
    raw = rng.uniform(-4, 4, (records, FEATURES))

    def client_inputs() -> RequestInputs:
        plaintext = None
        if open_columns:
            plaintext = PlaintextColumns(raw[:, :open_columns].T, bytes(32))
        ciphertexts = encrypt(context, card, Packing.BATCH, raw)
        return request_inputs(card, Packing.BATCH, records, ciphertexts, plaintext)

    inputs = client_inputs()
    header = InferenceHeader(
        request_id=bytes(16),
        nonce=bytes(32),
        client_id="client",
        server_id=SERVER,
        model_digest=served.digest,
        registration_digest=served.registration_digest,
        key_digest=enrolment.key.digest,
        packing=Packing.BATCH,
        records=records,
        ciphertexts=len(inputs.encrypted),
        plaintext_columns=open_columns,
    )
    request = request_of(header, served, inputs)
    response = engine.answer(Job(served, enrolment.key, request, inputs))

    def received() -> RequestInputs:
        fresh = replace(inputs.ciphertexts)
        return request_inputs(card, Packing.BATCH, records, fresh, inputs.plaintext)

    def verified() -> None:
        verify_answer(
            Evidence(
                request,
                served.registration_proof,
                enrolment,
                replace(inputs, ciphertexts=replace(inputs.ciphertexts)),
                response.outputs,
                response.proof,
            )
        )

    verified()
    return {
        "megabytes": sum(map(len, encode_request(request, inputs))) / 1e6,
        "encrypt": seconds(client_inputs),
        "words": seconds(lambda: received().words),
        "verify": seconds(verified),
    }


def seconds(work: Callable[[], object]) -> float:
    """Median seconds of some work."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def encoding_seconds() -> dict[str, float]:
    """Encoding 30 full columns at N = 8192 with 3 limbs, and its transform beside NumPy's.

    NumPy's is a complex FFT of length N, the shortest that needs no symmetry of the slots.
    """
    degree, moduli = 8192, tuple(ntt_primes(8192, 60, 3))
    values = np.random.default_rng(7).uniform(-1, 1, (FEATURES, degree // 2))
    points = np.zeros((FEATURES, degree), dtype=np.complex128)
    points[:, : degree // 2] = points[:, degree // 2 :] = values
    return {
        "all of it": seconds(lambda: encode_slots(values, degree, 60, moduli)),
        "its transform": seconds(lambda: coefficients_of_slots(values, degree)),
        "NumPy's FFT": seconds(lambda: np.fft.fft(points, axis=1)),
    }


def main() -> None:
    """Print two tables."""
    table = Table("records", "in clear", "request", "client encrypts", "server's words", "verify")
    for records in (100, 4096):
        for count in (0, 15, 29):
            found = measured(count, records)
            times = (f"{found[name] * 1e3:.0f} ms" for name in ("encrypt", "words", "verify"))
            table.add_row(
                str(records), f"{count} of {FEATURES}", f"{found['megabytes']:.2f} MB", *times
            )
    console = Console()
    console.print(table)
    encoding = Table("encoding 30 columns", "")
    for name, taken in encoding_seconds().items():
        encoding.add_row(name, f"{taken * 1e3:.1f} ms")
    console.print(encoding)


if __name__ == "__main__":
    main()
