"""One record of a network, over monomials which the client computes; TLS and real ciphertexts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np
import pytest

from blindproof.collapsed_publishing import collapsed_model
from blindproof.demo.cheats import Cheat
from blindproof.network_publishing import NetworkModel, quantised_model
from blindproof.publishing import rounding_of
from client_sdk import Client, ModelError, RangeError, VerificationError, verify_evidence
from client_sdk.verification import accept_model
from fhe_layers.packing import fixed_point
from fhe_layers.quantise_network import simulate
from fhe_layers.spec import SQUARE, DenseSpec, NetworkSpec, PolynomialSpec
from protocol.ciphertexts import SeededCiphertexts
from protocol.model import Feature, ModelCard
from protocol.parameters import Mode, Packing
from server.registry import ModelBundle, ModelRegistry
from tests.integration.conftest import World
from tests.integration.example_models import bundle

FEATURES = 5


def network_model() -> NetworkModel:
    """A network 5-7-2 with a square, on columns in [-4, 6]."""
    rng = np.random.default_rng(4)
    hidden = DenseSpec(rng.uniform(-0.3, 0.3, (7, FEATURES)), rng.uniform(-0.3, 0.3, 7))
    output = DenseSpec(rng.uniform(-1, 1, (2, 7)), rng.uniform(-0.3, 0.3, 2))
    return NetworkModel(
        name="network",
        version="1",
        purpose="tests",
        features=tuple(Feature(f"x{k}", -4.0, 6.0, 1.0, 5.0) for k in range(FEATURES)),
        network=NetworkSpec((FEATURES,), (hidden, PolynomialSpec(SQUARE), output)),
        outputs=("y0", "y1"),
        labels=("class 0", "class 1"),
        link="argmax",
    )


MODEL = network_model()


def records(count: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(-4, 6, (count, FEATURES))


def exact_values(served: ModelBundle, rows: np.ndarray) -> np.ndarray:
    """The committed polynomial in exact arithmetic, float64 (records, 2)."""
    card = served.card
    integers = served.integers.reshape(len(card.outputs), -1).tolist()
    step = Fraction(card.unit) / 2**15
    values = []
    for row in (rows - 1.0) / 5.0:
        record = [Fraction(value) for value in row.tolist()]
        inputs = [prod(record[k] for k in monomial) for monomial in card.expansion]
        values.append(
            [
                float(step * (sum(w * x for w, x in zip(weights, inputs, strict=True)) + bias))
                for *weights, bias in integers
            ]
        )
    return np.array(values)


@pytest.fixture(scope="module", params=["private", "public"])
def served(world: World, request: pytest.FixtureRequest) -> ModelBundle:
    """The collapsed network, in both packings."""
    model = replace(collapsed_model(MODEL), name=f"collapsed {request.param}")
    published = bundle(model, Mode(request.param))
    ModelRegistry(world.home / "models").publish(published)
    return published


def client_of(world: World, model: ModelBundle) -> Client:
    return Client(world.address, model=model.digest, keys=world.keys, ca=world.ca)


@pytest.fixture(autouse=True)
def honest(world: World) -> None:
    world.engine.cheat = Cheat.NONE


@pytest.mark.accepts("C-71")
@pytest.mark.accepts("C-72")
@pytest.mark.parametrize("packing", ["single", "batch"])
def test_answers_are_those_of_the_network(world: World, served: ModelBundle, packing: str):
    rows = records(1 if packing == "single" else 20)
    with client_of(world, served) as client:
        result = client.predict(rows, packing=packing)
    assert np.abs(result.values - exact_values(served, rows)).max() <= result.error_bound
    assert result.soundness_bits >= 100

    quantised = quantised_model(MODEL)
    network = simulate(quantised.graph, quantised.integers, MODEL.normalised(rows))
    network = network * quantised.unit
    bound = result.error_bound + rounding_of(collapsed_model(MODEL)).errors.max()
    assert np.abs(result.values - network).max() <= bound
    assert result.labels == tuple(f"class {index}" for index in network.argmax(axis=1))


def test_one_ciphertext_holds_all_monomials(world: World, served: ModelBundle):
    with client_of(world, served) as client:
        result = client.predict(records(1))
    (answer,) = result.evidence
    assert answer.request.packing is Packing.SINGLE
    assert len(answer.ciphertexts.seeds) == 1
    assert len(served.card.expansion) == 20


def test_evidence_verifies_offline(world: World, served: ModelBundle, tmp_path):
    with client_of(world, served) as client:
        client.predict(records(1)).save(tmp_path / "evidence")
    (answer,) = verify_evidence(tmp_path / "evidence", served.digest)
    assert answer.model_digest == served.digest


def test_records_are_those_of_the_features(world: World, served: ModelBundle):
    rows = records(1)
    by_name = dict(zip((f"x{k}" for k in range(FEATURES)), rows[0].tolist(), strict=True))
    with client_of(world, served) as client:
        results = [client.predict(form) for form in (rows, by_name)]
        with pytest.raises(RangeError, match="'x3'"):
            client.predict({**by_name, "x3": 7.0})
    assert np.abs(results[0].values - results[1].values).max() <= 2 * results[0].error_bound


def test_monomials_are_part_of_what_is_pinned(served: ModelBundle):
    """Whoever reorders or replaces them has another model."""
    card = served.card
    others = [
        replace(card, expansion=(*card.expansion[:-1], (0, 0, 0))),
        replace(card, expansion=((0,), *card.expansion[2:], (0, 0, 0))),
    ]
    assert len({model.digest for model in (card, *others)}) == 3
    assert ModelCard.decoded(card.encoded()) == card


@pytest.mark.accepts("C-72")
def test_the_bound_on_inputs_is_that_of_the_largest_monomial(served: ModelBundle):
    card = served.card
    wide = tuple(replace(feature, scale=0.5) for feature in card.features)
    assert card.input_bound == 1.0
    assert replace(card, features=wide).input_bound == 100.0
    assert replace(card, features=(*card.features[:-1], wide[-1])).input_bound == 100.0
    outside = tuple(replace(feature, low=-7.5, scale=0.5) for feature in card.features)
    assert replace(card, features=outside).input_bound == 17.0**2


@pytest.mark.rejects("C-72")
def test_products_of_features_beyond_any_scale_are_refused(served: ModelBundle):
    """2^40 is a range that a feature may have, its square is none."""
    features = tuple(replace(f, low=0.0, high=2.0**40, centre=0.0) for f in served.card.features)
    large = replace(features[0], scale=1.0)
    with pytest.raises(ModelError, match="2\\^64"):
        replace(served.card, features=(large, *features[1:]))


@pytest.mark.rejects("C-72")
def test_a_card_with_other_monomials_is_not_the_pinned_one(served: ModelBundle):
    changed = replace(served.card, expansion=(*served.card.expansion[:-1], (0, 0, 0)))
    with pytest.raises(ModelError, match="pinned model digest mismatch"):
        accept_model(changed.encoded(), served.registration_proof, served.digest)


@pytest.mark.rejects("C-71")
@pytest.mark.parametrize(
    "expansion",
    [
        pytest.param(lambda e: (e[1], e[0], *e[2:]), id="unsorted"),
        pytest.param(lambda e: (*e[:-1], e[-2]), id="twice the same"),
        pytest.param(lambda e: (*e[:-1], (4, 3)), id="descending features"),
        pytest.param(lambda e: (*e[:-1], (4, 5)), id="a feature that there is not"),
        pytest.param(lambda e: (*e[:-1], (-1, 4)), id="a negative index"),
        pytest.param(lambda e: (*e[:-1], (4,) * 9), id="too high a degree"),
        pytest.param(lambda e: ((), *e[1:]), id="the constant"),
        pytest.param(lambda e: (*e, (4, 4, 4)), id="one more than the network takes"),
        pytest.param(lambda _: (), id="none"),
    ],
)
def test_cards_with_other_lists_are_refused(served: ModelBundle, expansion):
    with pytest.raises(ModelError, match=r"monomial|network takes"):
        replace(served.card, expansion=expansion(served.card.expansion))


@pytest.mark.parametrize("cheat", [c for c in Cheat if c is not Cheat.NONE])
def test_forgeries_are_refused(world: World, cheat: Cheat):
    private = bundle(collapsed_model(MODEL))
    ModelRegistry(world.home / "models").publish(private)
    with client_of(world, private) as client:
        client.predict(records(1))  # an answer to replay
        world.engine.cheat = cheat
        with pytest.raises(VerificationError):
            client.predict(records(1))


def test_values_that_are_no_monomials_read_a_coefficient(world: World, monkeypatch):
    """What SECURITY.md grants: nothing makes a client encrypt products that belong together."""
    private = bundle(collapsed_model(MODEL))
    ModelRegistry(world.home / "models").publish(private)
    chosen = np.zeros((1, private.card.inputs_count))

    def encrypt_chosen(context, card, packing, raw):
        del raw
        scale = card.profile(packing).parameters.input_scale_log2
        seed, body = context.encrypt_coefficients(fixed_point(chosen[0], scale))
        return SeededCiphertexts((seed,), body[None], context.parameters.moduli)

    monkeypatch.setattr("client_sdk.aio.encrypt", encrypt_chosen)
    step = private.card.unit / 2**15
    read = []
    with client_of(world, private) as client:
        for column in (None, 0, 7, 19):
            chosen[:] = 0
            if column is not None:
                chosen[0, column] = 1
            read.append(np.rint(client.predict(records(1), packing="single").values[0] / step))
    constant, *columns = read
    integers = private.integers.reshape(2, -1)
    assert np.array_equal(constant, integers[:, -1])
    for column, values in zip((0, 7, 19), columns, strict=True):
        assert np.array_equal(values - constant, integers[:, column])
