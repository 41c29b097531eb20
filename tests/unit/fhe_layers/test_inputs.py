"""Raw plaintext columns to words, against the columns' own definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fhe_layers import rns
from fhe_layers.encoding import decode_slots
from fhe_layers.inputs import batch_inputs, known_words, record_inputs, request_inputs
from protocol.errors import ModelError, RangeError, ShapeError
from protocol.features import Privacy, encode_columns
from protocol.parameters import Packing
from protocol.plaintext import PlaintextColumns
from tests.adversarial.plaintext_scenario import (
    COLUMNS,
    EXPANSION,
    OPEN_MONOMIALS,
    OPEN_UNITS,
    asked,
    mixed_bundle,
    mixed_records,
    plaintext_of,
)
from tests.integration.example_models import bundle, linear_model

FORMS = pytest.mark.parametrize("expansion", [(), EXPANSION], ids=["units", "monomials"])


def all_inputs(raw: np.ndarray, expansion) -> np.ndarray:
    """Every input (records, K), by the definition of a monomial."""
    units = encode_columns(COLUMNS, raw)
    if not expansion:
        return units
    return np.column_stack([units[:, list(part)].prod(axis=1) for part in expansion])


@FORMS
def test_a_card_knows_which_inputs_are_open(expansion):
    card = mixed_bundle(expansion=expansion).card
    assert card.plaintext_inputs == (OPEN_MONOMIALS if expansion else OPEN_UNITS)


@pytest.mark.accepts("C-79")
@FORMS
def test_slots_of_known_words_are_the_inputs(expansion):
    card = mixed_bundle(expansion=expansion).card
    parameters = card.profile(Packing.BATCH).parameters
    raw = mixed_records(7)
    words = known_words(card, Packing.BATCH, plaintext_of(raw))
    rows = np.stack([rns.to_coefficients(row, parameters.moduli) for row in words])
    slots = decode_slots(rows, parameters.moduli) / 2**parameters.input_scale_log2
    wanted = all_inputs(raw, expansion)[:, list(card.plaintext_inputs)].T
    assert np.abs(slots[:, :7].astype(np.float64) - wanted).max() < 1e-9
    assert np.abs(slots[:, 7:].astype(np.float64)).max() < 1e-9


@FORMS
def test_a_records_known_part_and_its_encrypted_part_are_all_of_it(expansion):
    card = mixed_bundle(expansion=expansion).card
    parameters = card.profile(Packing.SINGLE).parameters
    raw = mixed_records(1)
    units = encode_columns(COLUMNS, raw)[0]
    parts = [
        record_inputs(card, units, chosen)
        for chosen in (card.plaintext_inputs, card.encrypted_inputs)
    ]
    whole = [sum(pair) for pair in zip(*parts, strict=True)]
    exact = all_inputs(raw, expansion)[0] * 2.0**parameters.input_scale_log2
    assert np.allclose(np.array(whole, dtype=np.float64), exact, rtol=1e-12, atol=1)
    assert all(0 in pair for pair in zip(*parts, strict=True))
    known = known_words(card, Packing.SINGLE, plaintext_of(raw))
    found = rns.centred_integers(
        rns.to_coefficients(known[0], parameters.moduli), parameters.moduli
    )
    assert found == parts[0] + [0] * (parameters.ring_degree - len(parts[0]))


@FORMS
def test_no_encrypted_column_is_read(expansion):
    """Words depend on plaintext columns alone, which are all that the server has."""
    card = mixed_bundle(expansion=expansion).card
    raw = mixed_records(4)
    units = encode_columns(COLUMNS, raw)
    blind = units.copy()
    blind[:, [unit for unit in range(11) if unit not in OPEN_UNITS]] = 0.0
    for values in (units, blind):
        chosen = batch_inputs(card, values, card.plaintext_inputs)
        assert np.array_equal(chosen, batch_inputs(card, units, card.plaintext_inputs))


def test_a_model_whose_plaintext_columns_make_no_input_of_their_own():
    """Every monomial mixes: the columns are named by the digest, and nothing is known."""
    card = mixed_bundle(expansion=((0,), (0, 1), (0, 10))).card
    assert card.plaintext_inputs == ()
    for packing in Packing:
        raw = mixed_records(1)
        job = asked(packing, raw, expansion=((0,), (0, 1), (0, 10)))
        assert job.inputs.known_inputs == ()
        assert job.inputs.evaluated_digest == job.inputs.digest
        assert job.inputs.plaintext_digest == plaintext_of(raw).digest


@pytest.mark.rejects("C-76")
@pytest.mark.parametrize("packing", list(Packing), ids=str)
def test_what_does_not_fit_the_card_is_refused(packing):
    job = asked(packing, mixed_records(1))
    card, ciphertexts, plaintext = job.request.card, job.inputs.ciphertexts, job.inputs.plaintext

    def built(**changes):
        parts = {"records": 1, "ciphertexts": ciphertexts, "plaintext": plaintext, **changes}
        return request_inputs(card, packing, **parts)

    assert np.array_equal(built().words, job.inputs.words)
    with pytest.raises(ShapeError, match="plaintext columns"):
        built(plaintext=None)
    with pytest.raises(ShapeError):
        built(records=2)
    twice = replace(
        ciphertexts,
        seeds=ciphertexts.seeds * 2,
        bodies=np.concatenate([ciphertexts.bodies, ciphertexts.bodies]),
    )
    with pytest.raises(ShapeError, match="ciphertexts"):
        built(ciphertexts=twice)
    with pytest.raises(RangeError):
        built(plaintext=PlaintextColumns(plaintext.values * 100, plaintext.salt))


@pytest.mark.rejects("C-76")
def test_columns_for_a_model_that_has_none_are_refused():
    closed = bundle(linear_model()).card
    job = asked(Packing.BATCH, mixed_records(1))  # three ciphertexts, as the closed model takes
    assert request_inputs(closed, Packing.BATCH, 1, job.inputs.ciphertexts, None).plaintext is None
    with pytest.raises(ShapeError, match="0 plaintext columns"):
        request_inputs(closed, Packing.BATCH, 1, job.inputs.ciphertexts, job.inputs.plaintext)


@pytest.mark.rejects("C-81")
def test_a_card_without_an_encrypted_input_is_refused():
    card = mixed_bundle().card
    opened = tuple(replace(column, privacy=Privacy.PLAINTEXT) for column in card.features)
    with pytest.raises(ModelError, match="encrypted input"):
        replace(card, features=opened)
