"""Networks against SEAL's evaluator, word for word, and against plain numbers once decrypted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fhe_layers import rns, seal_stream
from fhe_layers.ckks import CkksContext, CkksSecretContext
from fhe_layers.moduli import modulus_chain
from fhe_layers.network import evaluate_network
from fhe_layers.sanitise import sanitise_network
from protocol.graph import (
    Add,
    Conv2d,
    Dense,
    Gather,
    Graph,
    GroupedSelection,
    Mul,
    Polynomial,
    PrivateSelection,
    Scale,
    Selection,
    SumPool,
    square,
)
from protocol.parameters import CkksParameters
from tests.reference import layerwise
from tests.reference.expansion import expand

DEGREE = 8192
WEIGHT_BITS = 15
SEED = bytes(range(32))

GRAPHS = {
    "dense, square, dense": Graph(3, (Dense(0, 2), square(1), Dense(2, 2))),
    "two squares": Graph(2, (Dense(0, 2), square(1), Dense(2, 1), square(3))),
    "convolution": Graph(
        18, (Conv2d(0, (2, 3, 3), 2, (2, 3), (2, 1), (1, 0)), square(1), Dense(2, 1))
    ),
    "pooling": Graph(12, (SumPool(0, (1, 3, 4), (2, 2), (1, 2)), square(1))),
    "residual": Graph(2, (Dense(0, 2), square(1), Add(2, 0), Add(1, 3))),
    "scaled selection": Graph(4, (Selection(0, 2), Scale(1, -3), Mul(1, 2))),
    "chosen comparisons": Graph(
        6, (Selection(0, 4, 2), GroupedSelection(1, 4), Gather(2, (3, 0, 0)), Mul(3, 3))
    ),
    "degree 3": Graph(2, (Polynomial(0, (5, -3, 0, 2), 4), Dense(1, 1))),
    "degree 4": Graph(1, (Polynomial(0, (-1, 2, 3, -4, 1), 7),)),
    "products": Graph(2, (Dense(0, 2), square(1), Mul(2, 1), Mul(3, 0))),
}


class SealValue:
    """A ciphertext of SEAL's that adds and multiplies with SEAL's evaluator.

    Scales are all said to be 1: SEAL is asked for the words only, and integers are exact.
    """

    def __init__(self, context: CkksContext, ciphertext: Any) -> None:
        self.context = context
        self.ciphertext = ciphertext

    @classmethod
    def from_words(cls, context: CkksContext, words: np.ndarray) -> SealValue:
        parms_id = tuple(context.seal.first_parms_id())
        stream = seal_stream.write_ciphertext(words, parms_id, 1.0, context.stream_version)
        loaded = context.library.Ciphertext()
        seal_stream.load(loaded, context.seal, stream)
        return cls(context, loaded)

    @property
    def words(self) -> np.ndarray:
        return seal_stream.read_ciphertext(seal_stream.save(self.ciphertext)).words

    def _apply(self, operation: str, other: Any) -> SealValue:
        result = self.context.library.Ciphertext()
        evaluator = self.context.library.Evaluator(self.context.seal)
        getattr(evaluator, operation)(self.ciphertext, *other, result)
        result.scale = 1.0
        return SealValue(self.context, result)

    def _constant(self, value: int) -> Any:
        assert value == int(float(value))  # what SEAL's encoder takes without rounding
        encoded = self.context.library.Plaintext()
        parms_id = self.context.seal.first_parms_id()
        self.context.encoder.encode(float(value), parms_id, 1.0, encoded)
        return encoded

    def __add__(self, other: SealValue | int) -> SealValue:
        if isinstance(other, int):
            return self._apply("add_plain", [self._constant(other)])
        return self._apply("add", [other.ciphertext])

    def __mul__(self, other: SealValue | int) -> SealValue:
        if isinstance(other, int):
            return self._apply("multiply_plain", [self._constant(other)])
        if other is self:
            return self._apply("square", [])
        return self._apply("multiply", [other.ciphertext])


def model_integers(graph: Graph, rng: np.random.Generator, bound: int) -> np.ndarray:
    integers = rng.integers(1, bound, graph.integers_count) * rng.choice(
        [-1, 1], graph.integers_count
    )
    for matrix in graph.matrices:
        if isinstance(graph.layers[matrix.layer], PrivateSelection):
            rows = np.eye(matrix.columns, dtype=np.int64)[np.arange(matrix.rows) % matrix.columns]
            integers[matrix.offset :][: matrix.size] = rows.reshape(-1)
    return integers


@pytest.mark.parametrize("name", GRAPHS)
def test_every_tensor_equals_seals_word_for_word(
    batch: CkksSecretContext, rng: np.random.Generator, name: str
) -> None:
    graph, context, moduli = GRAPHS[name], batch.context, batch.parameters.moduli
    integers = model_integers(graph, rng, 1 << WEIGHT_BITS)
    inputs = expand(*batch.encrypt_slots(rng.normal(size=(graph.inputs, 9))), moduli)
    scale, keep = 20, range(len(graph.layers) + 1)
    found = evaluate_network(
        graph, integers, inputs, input_scale_log2=scale, moduli=moduli, keep=keep
    )
    values = [SealValue.from_words(context, words) for words in inputs]
    expected = layerwise.evaluate(graph, integers.tolist(), values, scale)
    for index, (tensor, _) in enumerate(expected):
        for unit, value in zip(found.kept[index], tensor, strict=True):
            words = value.words
            np.testing.assert_array_equal(unit[: len(words)], words)
            assert not unit[len(words) :].any()


def enrolled_keys(secret: np.ndarray, moduli: tuple[int, ...], count: int) -> np.ndarray:
    """Well-formed keys (count, 2, L, N): b = e - a s with e in [-16, 15]."""
    rng = np.random.default_rng(9)
    keys = np.empty((count, 2, len(moduli), secret.size), dtype=np.uint64)
    for key in keys:
        error = rng.integers(-16, 16, secret.size)
        for limb, q in enumerate(moduli):
            field, ntt = rns.modulus(q), rns.transform(q, secret.size)
            key[1, limb] = rng.integers(0, q, secret.size, dtype=np.uint64)
            hidden = ntt.forward(field.reduce_i64(secret.astype(np.int64)))
            product = field.mul(key[1, limb], hidden)
            key[0, limb] = field.sub(ntt.forward(field.reduce_i64(error)), product)
    return keys


@pytest.mark.parametrize(
    ("name", "limbs", "scale", "dropped", "flooding"),
    [
        ("dense, square, dense", 3, 62, 0, 93),
        ("residual", 3, 62, 0, 93),
        ("pooling", 3, 70, 0, 93),
        ("degree 3", 3, 50, 0, 93),
        ("two squares", 6, 50, 1, 125),
        ("two squares", 6, 58, 2, 125),
    ],
)
def test_a_sanitised_answer_decrypts_to_the_numbers_of_the_model(
    *, rng: np.random.Generator, name: str, limbs: int, scale: int, dropped: int, flooding: int
) -> None:
    """Encrypt, evaluate, rescale, hide, decrypt."""
    graph = GRAPHS[name]
    degree = DEGREE if limbs == 3 else 2 * DEGREE
    moduli, special = modulus_chain(degree, limbs)
    context = CkksContext(CkksParameters(degree, moduli, special, scale))
    secret = context.generate_secret()
    keys = context.with_secret(secret)
    integers = model_integers(graph, rng, 1 << WEIGHT_BITS)
    # Multiples of 2^-10, so that the reference has exact integers; any slot is as good as another.
    records = rng.integers(-1024, 1025, (graph.inputs, 5)) / 1024
    inputs = expand(*keys.encrypt_slots(records), moduli)
    outputs = evaluate_network(
        graph, integers, inputs, input_scale_log2=scale, moduli=moduli
    ).outputs
    count, polys = outputs.shape[:2]
    sanitised = sanitise_network(
        outputs,
        enrolled_keys(secret, moduli, count * (polys - 1)),
        SEED,
        flooding_log2=flooding,
        dropped_limbs=dropped,
        moduli=moduli,
    ).outputs
    assert sanitised.shape == (count, polys, limbs - dropped, degree)
    divisor = math.prod(moduli[limbs - dropped :])
    columns = []
    for record in records.T:
        fixed = [int(value * 1024) << (scale - 10) for value in record]
        columns.append(layerwise.evaluate(graph, integers.tolist(), fixed, scale)[-1])
    for j, words in enumerate(sanitised):
        level = columns[0][1]
        slots = keys.decrypt_slots(words, level, divisor)
        expected = [math.ldexp(values[j] >> (level - 100), -100) for values, _ in columns]
        # Flooding of 2^f coefficients is about 2^f sqrt(N) in a slot.
        tolerance = degree * 2.0**flooding * divisor / 2.0**level + 2.0**-20
        assert tolerance < 2.0**-8
        assert np.abs(slots[:5] - expected).max() < tolerance


def test_an_answer_that_is_not_hidden_would_give_the_weights_away(
    batch: CkksSecretContext, rng: np.random.Generator
) -> None:
    """The bare top polynomial of a square is the square of the combined masks."""
    graph, moduli = Graph(1, (Dense(0, 1), square(1))), batch.parameters.moduli
    inputs = expand(*batch.encrypt_slots(rng.normal(size=(1, 9))), moduli)
    outputs = evaluate_network(
        graph, np.array([77, 5]), inputs, input_scale_log2=50, moduli=moduli
    ).outputs
    field = rns.modulus(moduli[0])
    mask = inputs[0, 1, 0]
    ratio = field.mul(outputs[0, 2, 0], field.inverse(field.mul(mask, mask)))
    assert set(ratio.tolist()) == {77 * 77}
    hidden = sanitise_network(
        outputs,
        enrolled_keys(batch.context.generate_secret(), moduli, 2),
        SEED,
        flooding_log2=90,
        dropped_limbs=0,
        moduli=moduli,
    ).outputs
    ratio = field.mul(hidden[0, 2, 0], field.inverse(field.mul(mask, mask)))
    assert len(set(ratio.tolist())) > DEGREE // 2
