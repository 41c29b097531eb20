from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.errors import EncodingError
from protocol.features import Privacy, Thermometer
from protocol.parameters import Packing
from tests.adversarial.plaintext_scenario import (
    EXPANSION,
    OPEN_COLUMNS,
    asked,
    mixed_bundle,
    mixed_records,
)
from wire.inference import RequestAssembler, decode_header, encode_request, input_words
from wire.plaintext import values_from_bytes, values_to_bytes


def test_values_come_back(rng):
    values = np.concatenate([rng.normal(size=20), [0.0, 5e-324, -1.7e308, 1.7e308]])
    data = values_to_bytes(values.reshape(4, 6))
    assert np.array_equal(values_from_bytes(data, (4, 6), "values"), values.reshape(4, 6))
    assert values_from_bytes(data, (4, 6), "values").flags.writeable


@pytest.mark.parametrize(
    "data",
    [
        bytes(7),
        bytes(17),
        b"",
        np.array([1.0, np.nan]).tobytes(),
        np.array([np.inf, 1.0]).tobytes(),
        np.array([1.0, -0.0]).tobytes(),
    ],
)
def test_other_bytes_are_refused(data):
    with pytest.raises(EncodingError, match="the column"):
        values_from_bytes(data, (2,), "the column")


@pytest.mark.parametrize("packing", list(Packing), ids=str)
def test_a_request_comes_back(packing):
    job = asked(packing, mixed_records(1 if packing is Packing.SINGLE else 9))
    header, *rest = encode_request(job.request, job.inputs)
    decoded = decode_header(header)
    assert decoded.plaintext_columns == len(OPEN_COLUMNS)
    assert decoded.plaintext_salt == job.inputs.plaintext.salt
    assembler = RequestAssembler(mixed_bundle().card, decoded)
    for message in rest:
        assembler.add(message)
    ciphertexts, plaintext = assembler.finish()
    assert ciphertexts.digest == job.inputs.digest
    assert plaintext is not None
    assert plaintext.digest == job.inputs.plaintext_digest
    with pytest.raises(EncodingError):
        assembler.add(rest[0])
    with pytest.raises(EncodingError):
        assembler.add(rest[-1])


def test_an_unfinished_request_is_no_request():
    job = asked(Packing.BATCH, mixed_records(2))
    header, *rest = encode_request(job.request, job.inputs)
    for kept in range(len(rest)):
        assembler = RequestAssembler(mixed_bundle().card, decode_header(header))
        for message in rest[:kept]:
            assembler.add(message)
        with pytest.raises(EncodingError, match=f"{min(kept, 4)} plaintext columns of 4"):
            assembler.finish()


def test_memory_counts_what_is_held():
    """Sent: 3 ciphertexts of 2 polynomials and c_0; known: 8 encodings; joined: 11 pairs.

    Of each record 4 values, as bytes and doubles, and 11 units twice.
    """
    card = mixed_bundle().card
    parameters = card.profile(Packing.BATCH).parameters
    polynomial = len(parameters.moduli) * parameters.ring_degree
    held = (3 * 3 + 8 + 2 * 11) * polynomial + 2 * (4 + 11) * parameters.slots
    assert input_words(card, Packing.BATCH) == held
    parameters = card.profile(Packing.SINGLE).parameters
    polynomial = len(parameters.moduli) * parameters.ring_degree
    assert input_words(card, Packing.SINGLE) == (3 + 1 + 2) * polynomial + 2 * (4 + 11)


def test_memory_counts_units_that_no_monomial_takes():
    """A card of few monomials over many units: its inputs are small, what they are made of not."""
    card = mixed_bundle(expansion=EXPANSION).card
    wide = Thermometer("wide", 0.0, 300.0, tuple(map(float, range(256))), privacy=Privacy.PLAINTEXT)
    wider = replace(card, features=(*card.features, wide))
    grown = input_words(wider, Packing.BATCH) - input_words(card, Packing.BATCH)
    assert grown == 2 * (1 + 256) * card.profile(Packing.BATCH).parameters.slots
