"""Inputs that travel in clear: from raw columns to the words which every party computes alike.

Raw values become units by the card's columns, units inputs by its expansion, and inputs words: a
batch's by the slot encoding, a single record's as integers at their coefficients.  Nothing here
depends on the machine (`fhe_layers.interpolation`), so a client and a server that agree on the raw
values agree on every word.

Symbols: P plaintext columns, K inputs, L limbs, N ring degree, D = 2^input_scale.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from fhe_layers import rns
from fhe_layers.encoding import encode_slots
from fhe_layers.monomials import expand, fixed_point_monomials
from fhe_layers.packing import fixed_point
from protocol.ciphertexts import SeededCiphertexts
from protocol.errors import ShapeError
from protocol.features import encode_columns
from protocol.inputs import RequestInputs
from protocol.model import ModelCard
from protocol.parameters import Packing
from protocol.plaintext import PlaintextColumns

Floats = npt.NDArray[np.float64]


def batch_inputs(card: ModelCard, units: Floats, chosen: tuple[int, ...]) -> Floats:
    """Some of the K inputs of records given as units: (records, units) to (records, chosen)."""
    if card.expansion:
        return expand(units, [card.expansion[index] for index in chosen])
    return units[:, list(chosen)]


def record_inputs(card: ModelCard, units: Floats, chosen: tuple[int, ...]) -> list[int]:
    """Integers round(D x) at the coefficients of a single record's inputs, 0 at those not chosen.

    Units (units,), rounded once each: see `fhe_layers.packing` and `fhe_layers.monomials`.
    """
    scale = card.profile(Packing.SINGLE).parameters.input_scale_log2
    if card.expansion:
        part = [card.expansion[index] for index in chosen]
        integers = fixed_point_monomials(units, part, scale)
    else:
        integers = fixed_point(units[list(chosen)], scale)
    polynomial = [0] * card.inputs_count
    for index, value in zip(chosen, integers, strict=True):
        polynomial[index] = value
    return polynomial


def request_inputs(
    card: ModelCard,
    packing: Packing,
    records: int,
    ciphertexts: SeededCiphertexts,
    plaintext: PlaintextColumns | None,
) -> RequestInputs:
    """The inputs of a request: the way to build them from what travelled.

    Raises:
        ShapeError: other ciphertexts or columns than the card's packing takes.
        RangeError: a plaintext value which the card does not declare.
    """
    batch = packing is Packing.BATCH
    encrypted = card.encrypted_inputs if batch else (0,)
    if len(ciphertexts.seeds) != len(encrypted):
        raise ShapeError(f"expected {len(encrypted)} ciphertexts, found {len(ciphertexts.seeds)}")
    if (plaintext is None) == bool(card.plaintext_features):
        raise ShapeError(
            f"this model has {len(card.plaintext_features)} plaintext columns: they come with "
            "every request, and no others do"
        )
    if plaintext is None:
        return RequestInputs.encrypted_only(ciphertexts)
    plaintext.require_declared(card, records)
    places = card.plaintext_inputs if batch else (0,) * bool(card.plaintext_inputs)
    encoder = partial(known_words, card, packing)
    return RequestInputs(ciphertexts, encrypted, plaintext, places, encoder)


def known_words(card: ModelCard, packing: Packing, plaintext: PlaintextColumns) -> rns.Words:
    """NTT words of what is known of the inputs.

    Batch: (inputs of plaintext columns, L, N); single: their sum, (1, L, N), (0, L, N) if none.
    """
    parameters = card.profile(packing).parameters
    moduli, degree = parameters.moduli, parameters.ring_degree
    places = card.plaintext_inputs
    if not places:
        return np.empty((0, len(moduli), degree), dtype=np.uint64)
    units = _units(card, plaintext.values)
    if packing is Packing.BATCH:
        values = np.ascontiguousarray(batch_inputs(card, units, places).T)
        return encode_slots(values, degree, parameters.input_scale_log2, moduli)
    integers = record_inputs(card, units[0], places)
    coefficients = np.zeros((len(moduli), degree), dtype=np.uint64)
    for limb, prime in enumerate(moduli):
        coefficients[limb, : len(integers)] = [value % prime for value in integers]
    return rns.to_ntt(coefficients, moduli)[None]


def _units(card: ModelCard, values: Floats) -> Floats:
    """Plaintext columns (P, records) to all units (records, units), those of others zero.

    Only units of plaintext columns are read: an input counts as known if it takes no other.
    """
    units = np.zeros((values.shape[1], len(card.unit_columns)))
    columns = [card.features[index] for index in card.plaintext_features]
    is_known = np.isin(card.unit_columns, card.plaintext_features)
    units[:, is_known] = encode_columns(columns, values.T)
    return units
