"""A model with encrypted and plaintext columns of every kind, and answers about it in process."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from blindproof.network_publishing import NetworkModel, bundle_network
from blindproof.publishing import LinearModel, bundle_linear
from client_sdk.encryption import CkksContext, encrypt
from client_sdk.evidence import Evidence
from fhe_layers.inputs import request_inputs
from fhe_layers.spec import SQUARE, DenseSpec, NetworkSpec, PolynomialSpec
from protocol.features import Category, Feature, Privacy, Thermometer, encode_columns
from protocol.keys import KeyRequest
from protocol.parameters import Mode, Packing
from protocol.plaintext import PlaintextColumns
from server.bundles import ModelBundle
from server.inference import InferenceEngine
from server.jobs import Job, request_of
from wire.inference import InferenceHeader, Response, input_ciphertexts
from wire.stored_key import Enrolment
from zk_layers.prove import EnrolmentProver

OPEN = Privacy.PLAINTEXT
COLUMNS = (
    Feature("marker", -4.0, 6.0, 1.0, 5.0),
    Feature("age", 18.0, 90.0, 50.0, 40.0, privacy=OPEN),
    Category("ward", ("north", "south", "west"), privacy=OPEN),
    Category("group", ("a", "b")),
    Thermometer("dose", 0.0, 10.0, (2.0, 5.0, 7.0), privacy=OPEN),
    Feature("stay", 18.0, 90.0, 50.0, 40.0, privacy=OPEN),
)
"""Units: marker 0, age 1, ward 2-4, group 5-6, dose 7-9, stay 10."""
OPEN_COLUMNS = (1, 2, 4, 5)
OPEN_UNITS = (1, 2, 3, 4, 7, 8, 9, 10)
EXPANSION = ((0,), (1,), (0, 1), (1, 1), (2, 7))
OPEN_MONOMIALS = (1, 3, 4)
AGE, WARD, DOSE, STAY = range(4)
"""Among the plaintext columns."""
SERVER = "server"
ENGINE = InferenceEngine(bytes(range(32)))


def mixed_model(expansion: tuple[tuple[int, ...], ...] = ()) -> LinearModel:
    inputs = len(expansion) or 11
    rng = np.random.default_rng(11)
    return LinearModel(
        name="mixed",
        version="1",
        purpose="tests",
        features=COLUMNS,
        weights=rng.uniform(0.2, 1, (1, inputs)),
        intercept=[0.25],
        outputs=("y",),
        labels=("no", "yes"),
        link="logistic",
        expansion=expansion,
    )


@cache
def mixed_bundle(
    mode: Mode = Mode.PRIVATE, expansion: tuple[tuple[int, ...], ...] = ()
) -> ModelBundle:
    return bundle_linear(
        mixed_model(expansion),
        bytes(range(32)),
        mode=mode,
        packings=tuple(Packing),
        precision_bits=16.0,
    )


def mixed_records(count: int, seed: int = 5) -> np.ndarray:
    """Raw values (count, 6) inside their ranges."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.uniform(-4, 6, count),
        rng.integers(18, 91, count),
        rng.integers(0, 3, count),
        rng.integers(0, 2, count),
        rng.uniform(0, 10, count),
        rng.uniform(18, 90, count),
    ]
    return np.column_stack(columns).astype(np.float64)


def exact_values(served: ModelBundle, raw: np.ndarray) -> np.ndarray:
    """The integer model in double precision, float64 (records, J)."""
    units = encode_columns(COLUMNS, raw)
    expansion = served.card.expansion or tuple((unit,) for unit in range(units.shape[1]))
    inputs = np.column_stack([units[:, list(part)].prod(axis=1) for part in expansion])
    return (inputs @ served.weights.T + served.bias) * served.card.unit / 2**15


@cache
def secret() -> np.ndarray:
    return np.random.default_rng(8).integers(-1, 2, 8192).astype(np.int8)


@cache
def network_bundle(mode: Mode = Mode.PRIVATE) -> ModelBundle:
    """A network with one squaring over the same columns."""
    rng = np.random.default_rng(4)
    layers = (
        DenseSpec(rng.uniform(-0.3, 0.3, (2, 11)), rng.uniform(-0.3, 0.3, 2)),
        PolynomialSpec(SQUARE),
        DenseSpec(rng.uniform(-1, 1, (1, 2)), rng.uniform(-0.3, 0.3, 1)),
    )
    model = NetworkModel(
        name="mixed network",
        version="1",
        purpose="tests",
        features=COLUMNS,
        network=NetworkSpec((11,), layers),
        outputs=("y",),
        labels=(),
        link="identity",
    )
    return bundle_network(model, bytes(range(32)), mode=mode, precision_bits=12.0)


def enrolment(served: ModelBundle | None = None) -> Enrolment:
    """Keys that a model takes, the linear one if none is given."""
    card = (served or mixed_bundle()).card
    keys = card.keys_needed
    return _enrolled(KeyRequest("client", SERVER, card.ring_degree, card.key_moduli, keys))


@cache
def _enrolled(request: KeyRequest) -> Enrolment:
    return Enrolment(*EnrolmentProver(request, secret()).answer(bytes(32)))


def plaintext_of(raw: np.ndarray, salt: bytes = bytes(32)) -> PlaintextColumns:
    return PlaintextColumns(raw[:, list(OPEN_COLUMNS)].T, salt)


def asked(
    packing: Packing,
    raw: np.ndarray,
    mode: Mode = Mode.PRIVATE,
    expansion: tuple[tuple[int, ...], ...] = (),
) -> Job:
    """An honest request to a linear model about raw values (records, 6)."""
    return asked_of(mixed_bundle(mode, expansion), packing, raw)


def asked_of(served: ModelBundle, packing: Packing, raw: np.ndarray) -> Job:
    """An honest request to any model of these columns."""
    card = served.card
    key = enrolment(served).key if card.mode is Mode.PRIVATE else None
    context = CkksContext(card.profile(packing).parameters).with_secret(secret())
    ciphertexts = encrypt(context, card, packing, raw)
    inputs = request_inputs(card, packing, len(raw), ciphertexts, plaintext_of(raw))
    header = InferenceHeader(
        request_id=bytes(16),
        nonce=bytes(32),
        client_id="client",
        server_id=SERVER,
        model_digest=served.digest,
        registration_digest=served.registration_digest,
        key_digest=bytes(32) if key is None else key.digest,
        packing=packing,
        records=len(raw),
        ciphertexts=input_ciphertexts(card, packing),
        plaintext_columns=len(OPEN_COLUMNS),
        plaintext_salt=bytes(32),
    )
    return Job(served, key, request_of(header, served, inputs), inputs)


def with_plaintext(job: Job, plaintext: PlaintextColumns, *, renamed: bool = True) -> Job:
    """The same ciphertexts beside other columns; the request names them, or still the old ones."""
    request = job.request
    inputs = request_inputs(
        request.card, request.packing, request.records, job.inputs.ciphertexts, plaintext
    )
    if renamed:
        request = replace(request, plaintext_digest=inputs.plaintext_digest)
    return replace(job, request=request, inputs=inputs)


def altered(job: Job, column: int, value: float, record: int = 0) -> PlaintextColumns:
    """A request's plaintext columns with one value changed."""
    plaintext = job.inputs.plaintext
    assert plaintext is not None
    values = plaintext.values.copy()
    assert values[column, record] != value
    values[column, record] = value
    return PlaintextColumns(values, plaintext.salt)


def evidence_of(job: Job, response: Response) -> Evidence:
    """What the client who sent the job's request keeps of a response."""
    return Evidence(
        job.request,
        job.bundle.registration_proof,
        None if job.key is None else enrolment(job.bundle),
        job.inputs,
        response.outputs,
        response.proof,
    )
