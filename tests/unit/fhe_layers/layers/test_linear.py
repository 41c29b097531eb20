"""Against SEAL's own evaluator, word for word, on ciphertexts TenSEAL's SEAL made."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fhe_layers import rns, seal_stream
from fhe_layers.ckks import CkksContext, CkksSecretContext
from fhe_layers.layers import linear
from fhe_layers.moduli import modulus_chain, ntt_primes
from fhe_layers.packing import SingleRecordLayout
from protocol.errors import ParameterError, ShapeError
from tests.reference.expansion import expand

DEGREE = 8192
LIMIT = (1 << 15) - 1


class SealEvaluator:
    """Linear combinations by SEAL: multiply_plain by constants, additions, add_plain."""

    def __init__(self, context: CkksContext) -> None:
        self.context = context
        self.library = context.library
        self.evaluator = context.library.Evaluator(context.seal)
        self.parms_id = tuple(context.seal.first_parms_id())

    def ciphertext(self, words: np.ndarray, scale: float) -> Any:
        stream = seal_stream.write_ciphertext(
            words, self.parms_id, scale, self.context.stream_version
        )
        loaded = self.library.Ciphertext()
        seal_stream.load(loaded, self.context.seal, stream)
        return loaded

    def plaintext(self, words: np.ndarray) -> Any:
        stream = seal_stream.write_plaintext(words, self.parms_id, 1.0, self.context.stream_version)
        loaded = self.library.Plaintext()
        seal_stream.load(loaded, self.context.seal, stream)
        return loaded

    def multiply_plain(self, ciphertext: Any, plaintext: Any) -> Any:
        product = self.library.Ciphertext()
        self.evaluator.multiply_plain(ciphertext, plaintext, product)
        return product

    def constant(self, value: float, scale: float) -> Any:
        """The constant polynomial `value`, exact, whatever scale it is said to have."""
        encoded = self.library.Plaintext()
        self.context.encoder.encode(value, self.parms_id, 1.0, encoded)
        encoded.scale = scale
        return encoded

    def combination(
        self, inputs: np.ndarray, weights: list[int], bias: int, scale_log2: int
    ) -> np.ndarray:
        scale, total = math.ldexp(1.0, scale_log2), None
        for words, weight in zip(inputs, weights, strict=True):
            term = self.multiply_plain(self.ciphertext(words, scale), self.constant(weight, 1.0))
            if total is None:
                total = term
            else:
                self.evaluator.add_inplace(total, term)
        shifted = self.library.Ciphertext()
        constant = self.constant(math.ldexp(bias, scale_log2), scale)
        self.evaluator.add_plain(total, constant, shifted)
        return seal_stream.read_ciphertext(seal_stream.save(shifted)).words


def test_batch_equals_seals_evaluator_word_for_word(
    batch: CkksSecretContext, rng: np.random.Generator
) -> None:
    moduli, scale = batch.parameters.moduli, batch.parameters.input_scale_log2
    inputs = expand(*batch.encrypt_slots(rng.normal(size=(7, 142))), moduli)
    weights = rng.integers(1, LIMIT, (3, 7)) * rng.choice([-1, 1], (3, 7))
    weights[0, :3], weights[1, 4] = [LIMIT, -LIMIT, 1], -1  # no zeros: SEAL refuses those
    bias = np.array([LIMIT, -LIMIT, 0])
    outputs = linear.evaluate_batch(inputs, weights, bias, input_scale_log2=scale, moduli=moduli)
    assert outputs.shape == (3, 2, 3, DEGREE)
    reference = SealEvaluator(batch.context)
    for row, constant, words in zip(weights.tolist(), bias.tolist(), outputs, strict=True):
        np.testing.assert_array_equal(words, reference.combination(inputs, row, constant, scale))


def test_batch_decrypts_to_the_affine_model(
    batch: CkksSecretContext, rng: np.random.Generator
) -> None:
    moduli, scale = batch.parameters.moduli, batch.parameters.input_scale_log2
    values = rng.normal(size=(30, 142))
    weights, bias = rng.integers(-LIMIT, LIMIT, (2, 30)), np.array([LIMIT, -17])
    inputs = expand(*batch.encrypt_slots(values), moduli)
    outputs = linear.evaluate_batch(inputs, weights, bias, input_scale_log2=scale, moduli=moduli)
    for row, constant, words in zip(weights, bias, outputs, strict=True):
        slots = batch.decrypt_slots(words, scale + 15)[:142]
        expected = (row @ values + constant) / 2.0**15
        np.testing.assert_allclose(slots, expected, atol=1e-12)


def test_single_equals_seals_evaluator_word_for_word(
    single: CkksSecretContext, rng: np.random.Generator
) -> None:
    moduli = single.parameters.moduli
    layout = SingleRecordLayout(DEGREE, 30, 10)
    weights = rng.integers(-LIMIT, LIMIT + 1, (10, 30))
    seed, c0 = single.encrypt_coefficients(rng.integers(-(1 << 60), 1 << 60, 30).tolist())
    record = expand([seed], c0[None], moduli)[0]
    output = linear.evaluate_single(record, weights, layout=layout, moduli=moduli)
    reference = SealEvaluator(single.context)
    polynomial = layout.weight_polynomial(weights)
    plaintext = reference.plaintext(rns.to_ntt(rns.residues(polynomial, moduli), moduli))
    product = reference.multiply_plain(reference.ciphertext(record, 1.0), plaintext)
    np.testing.assert_array_equal(
        output, seal_stream.read_ciphertext(seal_stream.save(product)).words
    )


def test_single_decrypts_to_the_dot_products(
    single: CkksSecretContext, rng: np.random.Generator
) -> None:
    moduli = single.parameters.moduli
    layout = SingleRecordLayout(DEGREE, 30, 10)
    weights = rng.integers(-LIMIT, LIMIT + 1, (10, 30))
    values = [int(v) << 30 for v in rng.integers(-(1 << 60), 1 << 60, 30)]
    seed, c0 = single.encrypt_coefficients(values)
    record = expand([seed], c0[None], moduli)[0]
    output = linear.evaluate_single(record, weights, layout=layout, moduli=moduli)
    decrypted = single.decrypt_coefficients(output, layout.output_positions.tolist())
    for row, value in zip(weights.tolist(), decrypted, strict=True):
        exact = sum(w * x for w, x in zip(row, values, strict=True))
        assert abs(value - exact) <= 21 * sum(map(abs, row))


def test_zero_weights_and_an_empty_bias_give_zero_words() -> None:
    moduli = modulus_chain(DEGREE, 2)[0]
    inputs = np.ones((3, 2, 2, 64), dtype=np.uint64)
    outputs = linear.evaluate_batch(
        inputs,
        np.zeros((1, 3), dtype=np.int64),
        np.zeros(1, dtype=np.int64),
        input_scale_log2=40,
        moduli=moduli,
    )
    assert not outputs.any()


MODULI = ntt_primes(DEGREE, 60, 2)
INPUTS = np.zeros((3, 2, 2, 64), dtype=np.uint64)
WEIGHTS = np.zeros((2, 3), dtype=np.int64)
BIAS = np.zeros(2, dtype=np.int64)


def with_entry(array: np.ndarray, value: int) -> np.ndarray:
    changed = array.copy()
    changed.reshape(-1)[-1] = value
    return changed


@pytest.mark.parametrize(
    ("inputs", "weights", "bias", "error"),
    [
        (INPUTS[:2], WEIGHTS, BIAS, ShapeError),
        (INPUTS[0], WEIGHTS, BIAS, ShapeError),
        (INPUTS[:, :1], WEIGHTS, BIAS, ShapeError),
        (INPUTS[:, :, :1], WEIGHTS, BIAS, ShapeError),
        (INPUTS.astype(np.int64), WEIGHTS, BIAS, ShapeError),
        (INPUTS, WEIGHTS[0], BIAS, ShapeError),
        (INPUTS, np.array(3), BIAS, ShapeError),
        (INPUTS, WEIGHTS[:0], BIAS[:0], ShapeError),
        (INPUTS[:0], WEIGHTS[:, :0], BIAS, ShapeError),
        (INPUTS, WEIGHTS, BIAS[None], ShapeError),
        (INPUTS, WEIGHTS.astype(np.int32), BIAS, ShapeError),
        (INPUTS, WEIGHTS, BIAS[:1], ShapeError),
        (INPUTS, WEIGHTS, BIAS.astype(np.float64), ShapeError),
        (INPUTS, with_entry(WEIGHTS, LIMIT + 1), BIAS, ParameterError),
        (INPUTS, with_entry(WEIGHTS, -LIMIT - 1), BIAS, ParameterError),
        (INPUTS, with_entry(WEIGHTS, -(1 << 63)), BIAS, ParameterError),
        (INPUTS, WEIGHTS, with_entry(BIAS, LIMIT + 1), ParameterError),
    ],
)
def test_batch_arguments_that_do_not_fit_are_refused(
    inputs: np.ndarray, weights: np.ndarray, bias: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        linear.evaluate_batch(inputs, weights, bias, input_scale_log2=40, moduli=MODULI)
    assert type(caught.value) is error


def test_single_arguments_that_do_not_fit_are_refused() -> None:
    layout = SingleRecordLayout(64, 3, 2)
    for record in (INPUTS[0, 0], INPUTS[0, :, :1], INPUTS[0, :, :, :32]):
        with pytest.raises(ShapeError):
            linear.evaluate_single(record, WEIGHTS, layout=layout, moduli=MODULI)
    with pytest.raises(ShapeError):
        linear.evaluate_single(INPUTS[0], WEIGHTS.T.copy(), layout=layout, moduli=MODULI)
    with pytest.raises(ParameterError):
        linear.evaluate_single(
            INPUTS[0], with_entry(WEIGHTS, LIMIT + 1), layout=layout, moduli=MODULI
        )


@pytest.mark.parametrize("limb", [0, 1])
def test_a_word_that_is_not_canonical_is_refused(limb: int) -> None:
    inputs = INPUTS.copy()
    inputs[2, 1, limb, 63] = MODULI[limb]
    with pytest.raises(ValueError, match=str(MODULI[limb])):
        linear.evaluate_batch(inputs, WEIGHTS, BIAS, input_scale_log2=40, moduli=MODULI)
    with pytest.raises(ValueError, match=str(MODULI[limb])):
        linear.evaluate_single(
            inputs[2], WEIGHTS, layout=SingleRecordLayout(64, 3, 2), moduli=MODULI
        )
