"""Releasing values, and the attack it is for: the key from two raw results.

The attack.  Decryption gives v with D v = real slots of (c0 + c1 s), so encoding 2 v again gives
the integers A = p + p*, where p = c0 + c1 s and p*(X) = p(1/X).  In NTT order 1/X pairs word i with
word N-1-i, and s is the same polynomial in two results: for each pair two linear equations

    c1[i] s[i] + c1[i'] s[i'] = A[i] - c0[i] - c0[i']

in the two unknowns s[i] and s[i'].
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from client_sdk.disclosure import (
    DISCLOSURE_LIMIT,
    DecryptionError,
    disclosure_units,
    in_units,
    release,
    require_distance,
    require_possible,
)
from client_sdk.encryption import CkksContext, decrypt, encrypt
from fhe_layers import rns
from fhe_layers.layers.linear import evaluate_batch
from fhe_layers.moduli import modulus_chain
from fhe_layers.seal_stream import read_plaintext, save
from protocol.bounds import Bounds
from protocol.errors import ModelError
from protocol.graph import Dense, Graph, linear_graph, square
from protocol.model import Feature, ModelCard, Profile
from protocol.parameters import CkksParameters, Mode, Packing
from wire.inference import BatchOutputs

DEGREE = 8192
SCALE_LOG2 = 30
WEIGHTS = np.array([[1200, -700]], dtype=np.int64)
BIAS = np.array([55], dtype=np.int64)


@pytest.fixture(scope="module")
def card() -> ModelCard:
    """A public model at the small scale where CKKS is usually run."""
    moduli, special = modulus_chain(DEGREE, 1)
    parameters = CkksParameters(DEGREE, moduli, special, SCALE_LOG2)
    return ModelCard(
        name="attack",
        version="1",
        purpose="",
        mode=Mode.PUBLIC,
        features=(Feature("a", -1, 1, 0, 1), Feature("b", -1, 1, 0, 1)),
        graph=linear_graph(2, 1),
        outputs=("y",),
        labels=(),
        link="identity",
        unit=1.0,
        row_l1_bounds=(2048,),
        profiles=(Profile(Packing.BATCH, parameters, None),),
        commitment=b"",
        public_weights=((1200, -700, 55),),
    )


@pytest.fixture(scope="module")
def context(card):
    unsecret = CkksContext(card.profiles[0].parameters)
    secret = unsecret.generate_secret()
    return unsecret.with_secret(secret), secret


def answer(card: ModelCard, context, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The server's words (2, N) and what the client decrypts, integers (N/2, 1)."""
    parameters = card.profiles[0].parameters
    values = np.random.default_rng(seed).uniform(-1, 1, (DEGREE // 2, 2))
    inputs = encrypt(context, card, Packing.BATCH, values).words
    words = evaluate_batch(
        inputs, WEIGHTS, BIAS, input_scale_log2=SCALE_LOG2, moduli=parameters.moduli
    )
    return words[0, :, 0], decrypt(context, card, BatchOutputs(words))


def recovered_secret(card: ModelCard, context, results) -> np.ndarray:
    """Solve the equations above for s; int64 (N,), centred."""
    modulus = card.profiles[0].parameters.moduli[0]
    scale = math.ldexp(1.0, card.bounds(Packing.BATCH).output_scale_log2)
    rows = []
    for words, values in results:
        plaintext = context.context.library.Plaintext()
        context.context.encoder.encode((2 * values[:, 0]).tolist(), scale, plaintext)
        sums = [int(word) for word in read_plaintext(save(plaintext)).words]
        rows.append((*(list(map(int, polynomial)) for polynomial in words), sums))
    solved = np.zeros(DEGREE, dtype=np.uint64)
    for i in range(DEGREE // 2):
        j = DEGREE - 1 - i
        (a, b, e), (c, d, f) = (
            (c1[i], c1[j], (sums[i] - c0[i] - c0[j]) % modulus) for c0, c1, sums in rows
        )
        inverse = pow(a * d - b * c, -1, modulus)
        solved[i] = (e * d - b * f) * inverse % modulus
        solved[j] = (a * f - e * c) * inverse % modulus
    coefficients = rns.transform(modulus, DEGREE).inverse(solved).astype(np.int64)
    return np.where(coefficients > modulus // 2, coefficients - modulus, coefficients)


def released(card: ModelCard, values: np.ndarray, digest: bytes) -> np.ndarray:
    return release(values, card.bounds(Packing.BATCH), bytes(32), digest)


def test_two_raw_results_give_the_whole_key_away(card, context):
    encryption, secret = context
    bounds = card.bounds(Packing.BATCH)
    answers = [answer(card, encryption, seed) for seed in (1, 2)]
    results = [(words, in_units(values, bounds)) for words, values in answers]
    assert np.array_equal(recovered_secret(card, encryption, results), secret)


@pytest.mark.rejects("C-41")
def test_two_released_results_do_not(card, context):
    encryption, secret = context
    results = [answer(card, encryption, seed) for seed in (1, 2)]
    blurred = [
        (words, released(card, values, bytes([index]) * 32))
        for index, (words, values) in enumerate(results)
    ]
    guess = recovered_secret(card, encryption, blurred)
    assert (np.abs(guess) <= 1).mean() < 0.01
    assert (guess == secret).mean() < 0.01


def test_the_noise_is_large_beside_all_that_depends_on_the_key(card):
    bounds = card.bounds(Packing.BATCH)
    assert bounds.disclosure_noise >= bounds.secret_error << 32


BOUNDS = Bounds(
    output_scale_log2=100,
    error=1 << 72,
    secret_error=1 << 38,
    mean_secret_error=1 << 38,
    disclosure_noise=(1 << 70) + 12345,
    precision_bits=27.0,
    no_wrap_bits=2.0,
    flooding_distance_log2=-62.0,
)
VALUES = np.random.default_rng(4).uniform(-50, 50, (500, 2))
EXACT = np.array([[int(x * 2**50) << 50 for x in row] for row in VALUES], dtype=object)


@pytest.mark.accepts("C-41")
def test_released_values_stay_within_the_noise_and_on_the_grid():
    values = release(EXACT, BOUNDS, bytes(32), bytes(32))
    largest = math.ldexp(1.5 * BOUNDS.disclosure_noise, -100)
    assert np.abs(values - VALUES).max() <= largest
    assert np.abs(values - VALUES).max() > largest / 2
    grid = math.ldexp(1.0, 69 - 100)
    assert np.array_equal(np.rint(values / grid) * grid, values)


@pytest.mark.rejects("C-42")
def test_the_noise_is_a_function_of_key_and_output():
    again = [release(EXACT, BOUNDS, bytes(32), bytes(32)) for _ in range(2)]
    assert np.array_equal(*again)
    for key, digest in ((bytes([1]) * 32, bytes(32)), (bytes(32), bytes([1]) * 32)):
        assert not np.array_equal(release(EXACT, BOUNDS, key, digest), again[0])


def test_the_noise_is_spread_evenly():
    flat = np.zeros((20_000, 1), dtype=object)
    values = release(flat, BOUNDS, bytes(32), bytes(32)) / math.ldexp(BOUNDS.disclosure_noise, -100)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1 / math.sqrt(3)) < 0.05


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_answer_may_be_released(card, sign: int):
    bounds = card.bounds(Packing.BATCH)
    largest = bounds.largest_values[-1] + bounds.error
    require_possible(np.array([[0], [sign * largest]], dtype=object), card, Packing.BATCH)


@pytest.mark.rejects("C-47")
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("excess", [1, 1 << 100])
def test_an_impossible_answer_is_refused_without_being_shown(card, sign: int, excess: int):
    bounds = card.bounds(Packing.BATCH)
    value = sign * (bounds.largest_values[-1] + bounds.error + excess)
    with pytest.raises(DecryptionError, match="nothing was released") as caught:
        require_possible(np.array([[0], [value]], dtype=object), card, Packing.BATCH)
    assert str(abs(value)) not in str(caught.value)


def test_an_answer_decrypted_with_another_secret_is_refused(card, context):
    encryption, secret = context
    values = np.random.default_rng(6).uniform(-1, 1, (DEGREE // 2, 2))
    words = evaluate_batch(
        encrypt(encryption, card, Packing.BATCH, values).words,
        WEIGHTS,
        BIAS,
        input_scale_log2=SCALE_LOG2,
        moduli=card.profiles[0].parameters.moduli,
    )
    require_possible(decrypt(encryption, card, BatchOutputs(words)), card, Packing.BATCH)
    another = encryption.context.with_secret(np.roll(secret, 1))
    garbage = decrypt(another, card, BatchOutputs(words))
    with pytest.raises(DecryptionError):
        require_possible(garbage, card, Packing.BATCH)


def at_distance(card: ModelCard, disclosure_log2: int) -> ModelCard:
    (profile,) = card.profiles
    return replace(card, profiles=(replace(profile, disclosure_log2=disclosure_log2),))


def network_at(disclosure_log2: int, degree: int = DEGREE) -> ModelCard:
    """A public network with one squaring."""
    moduli, special = modulus_chain(degree, 3)
    graph = Graph(2, (Dense(0, 3), square(1), Dense(2, 2)))
    parameters = CkksParameters(degree, moduli, special, 50)
    return ModelCard(
        name="network",
        version="1",
        purpose="",
        mode=Mode.PUBLIC,
        features=(Feature("a", -1, 1, 0, 1), Feature("b", -1, 1, 0, 1)),
        graph=graph,
        outputs=("y", "z"),
        labels=(),
        link="identity",
        unit=1.0,
        row_l1_bounds=(60_000,) * 5,
        profiles=(Profile(Packing.BATCH, parameters, None, 0, disclosure_log2),),
        commitment=b"",
        public_weights=((20_000, -20_000, 20_000),) * 3 + ((15_000, 15_000, -15_000, 15_000),) * 2,
    )


@pytest.mark.rejects("C-41")
def test_a_linear_model_that_hides_the_key_less_than_usual_is_refused(card):
    require_distance(card, Packing.BATCH, None)
    near = at_distance(card, 31)
    with pytest.raises(ModelError, match=r"2\^31.*wants 2\^32.*min_disclosure_log2"):
        require_distance(near, Packing.BATCH, None)
    require_distance(near, Packing.BATCH, 31)


def test_a_network_may_have_less_unless_the_client_says_otherwise():
    network = network_at(8)
    require_distance(network, Packing.BATCH, None)
    require_distance(network, Packing.BATCH, 8)
    with pytest.raises(ModelError, match="more distance"):
        require_distance(network, Packing.BATCH, 9)


@pytest.mark.parametrize("disclosure_log2", [8, 12, 20, 32, 64])
def test_no_store_discloses_more_than_an_eighth_in_all(card, disclosure_log2: int):
    for model in (at_distance(card, disclosure_log2), network_at(disclosure_log2)):
        units = disclosure_units(model, Packing.BATCH, 1)
        outputs = len(model.outputs)
        assert disclosure_units(model, Packing.BATCH, 1000) == 1000 * units >= 1000 * outputs
        distance = model.bounds(Packing.BATCH).disclosed_distance * outputs
        assert distance * (DISCLOSURE_LIMIT // units) <= Fraction(1, 8)


def test_values_of_linear_models_weigh_one_and_close_ones_more(card):
    assert disclosure_units(card, Packing.BATCH, 7) == 7
    assert disclosure_units(at_distance(card, 8), Packing.BATCH, 1) > 1 << 10
    close, far = (disclosure_units(network_at(c), Packing.BATCH, 1) for c in (10, 30))
    assert far == 2
    assert 2 * 32 <= close <= 2 * 65


@pytest.mark.parametrize("degree", [4096, 8192])
def test_fresh_noise_does_on_average_a_256th_of_its_worst(degree: int):
    """What the units of networks count on, for the slots of sampled noise."""
    rng = np.random.default_rng(9)
    noise = rng.binomial(42, 0.5, (20, degree)) - 21.0
    twisted = noise * np.exp(1j * np.pi * np.arange(degree) / degree)
    mean = np.abs(np.fft.fft(twisted)).mean()
    worst = 21 / math.sin(math.pi / (2 * degree))
    assert worst / 2**12 < mean < worst / 2**8
