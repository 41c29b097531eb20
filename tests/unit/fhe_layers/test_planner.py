from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from fhe_layers.ckks import CkksContext
from fhe_layers.planner import (
    FLOODING_DISTANCE_LOG2,
    NO_WRAP_MARGIN_BITS,
    LinearModelSpec,
    plan,
    plan_packings,
)
from protocol.bounds import linear_bounds
from protocol.errors import ParameterError, PlanningError
from protocol.parameters import MAX_MODULUS_BITS, Mode, Packing
from tests.reference.expansion import expand

BREAST_CANCER = LinearModelSpec(
    features=30, outputs=1, input_bound=8.0, row_l1_bound=1 << 19, mode=Mode.PRIVATE
)
PUBLIC = replace(BREAST_CANCER, mode=Mode.PUBLIC)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("packing", list(Packing))
@pytest.mark.parametrize(("features", "outputs"), [(1, 1), (30, 1), (30, 10), (300, 3), (784, 10)])
def test_a_plan_keeps_every_promise(
    mode: Mode, packing: Packing, features: int, outputs: int
) -> None:
    spec = LinearModelSpec(features, outputs, 4.0, 1 << 18, mode)
    chosen = plan(spec, packing)
    parameters = chosen.parameters
    total = math.log2(math.prod((*parameters.moduli, parameters.special_modulus)))
    assert total <= MAX_MODULUS_BITS[parameters.ring_degree]
    assert chosen.precision_bits >= 16
    assert chosen.no_wrap_margin_bits >= NO_WRAP_MARGIN_BITS
    assert chosen.bounds == linear_bounds(
        parameters,
        packing,
        outputs=outputs,
        row_l1_bound=1 << 18,
        input_bound=4.0,
        flooding_log2=chosen.profile.flooding_log2,
    )
    if mode is Mode.PRIVATE:
        assert chosen.flooding_distance_log2 > FLOODING_DISTANCE_LOG2 - 1
        assert chosen.flooding_distance_log2 <= FLOODING_DISTANCE_LOG2
    else:
        assert chosen.profile.flooding_log2 is None
        assert chosen.flooding_distance_log2 == -math.inf


@pytest.mark.parametrize("packing", list(Packing))
@pytest.mark.parametrize("spec", [BREAST_CANCER, PUBLIC])
def test_the_scale_cannot_grow(spec: LinearModelSpec, packing: Packing) -> None:
    chosen = plan(spec, packing)
    scale = chosen.parameters.input_scale_log2
    if scale == 139:
        return
    wider = linear_bounds(
        replace(chosen.parameters, input_scale_log2=scale + 1),
        packing,
        outputs=spec.outputs,
        row_l1_bound=spec.row_l1_bound,
        input_bound=spec.input_bound,
        flooding_log2=chosen.profile.flooding_log2,
    )
    assert wider.no_wrap_bits < NO_WRAP_MARGIN_BITS


def test_the_reference_model_gets_the_designs_parameters() -> None:
    batch, single = plan_packings(BREAST_CANCER, (Packing.BATCH, Packing.SINGLE))
    assert (batch.parameters.ring_degree, len(batch.parameters.moduli)) == (8192, 3)
    assert (single.parameters.ring_degree, len(single.parameters.moduli)) == (8192, 2)
    assert batch.precision_bits > 24.8
    assert single.precision_bits > 29
    assert single.parameters.moduli == batch.parameters.moduli[:2]
    assert single.request_bytes == 2 * 8192 * 8 + 64
    assert single.response_bytes == 2 * 8192 * 8 + 2 * 8
    assert batch.request_bytes == 30 * (3 * 8192 * 8 + 64)
    assert batch.response_bytes == 2 * 3 * 8192 * 8
    assert batch.public_key_bytes == 3 * 8192 * 8


def test_predicted_request_sizes_are_the_real_ones(secret: np.ndarray) -> None:
    spec = replace(BREAST_CANCER, features=3)
    batch, single = plan_packings(spec, (Packing.BATCH, Packing.SINGLE))
    seeds, c0 = CkksContext(batch.parameters).with_secret(secret).encrypt_slots(np.ones((3, 9)))
    assert batch.request_bytes == sum(map(len, seeds)) + c0.nbytes
    seed, words = CkksContext(single.parameters).with_secret(secret).encrypt_coefficients([1, 2, 3])
    assert single.request_bytes == len(seed) + words.nbytes


def test_inputs_at_their_bound_are_encoded_and_decoded_at_the_planned_scale(
    secret: np.ndarray,
) -> None:
    chosen = plan(BREAST_CANCER, Packing.BATCH)
    keys = CkksContext(chosen.parameters).with_secret(secret)
    values = np.random.default_rng(4).choice([-8.0, 8.0], (1, 4096))
    words = expand(*keys.encrypt_slots(values), chosen.parameters.moduli)[0]
    slots = keys.decrypt_slots(words, chosen.parameters.input_scale_log2)
    np.testing.assert_allclose(slots, values[0], rtol=2.0**-44)


def test_the_scale_leaves_the_encoder_room_for_a_model_of_zeros() -> None:
    chosen = plan(LinearModelSpec(1, 1, 8.0, 1, Mode.PUBLIC), Packing.BATCH)
    parameters = chosen.parameters
    context = CkksContext(parameters)
    keys = context.with_secret(context.generate_secret())
    values = np.full((1, parameters.slots), 8.0)
    words = expand(*keys.encrypt_slots(values), parameters.moduli)[0]
    slots = keys.decrypt_slots(words, parameters.input_scale_log2)
    np.testing.assert_allclose(slots, values[0], rtol=1e-6)


def test_more_precision_takes_more_limbs_or_a_larger_ring() -> None:
    coarse = plan(BREAST_CANCER, Packing.SINGLE, precision_bits=16)
    fine = plan(BREAST_CANCER, Packing.SINGLE, precision_bits=40)
    assert len(fine.parameters.moduli) > len(coarse.parameters.moduli)
    assert fine.precision_bits >= 40


def test_a_wish_too_fine_is_refused_with_the_nearest_plan_which_then_works() -> None:
    with pytest.raises(PlanningError) as caught:
        plan(BREAST_CANCER, Packing.BATCH, precision_bits=300)
    match = re.search(r"the nearest is ([0-9.]+) bits at N = (\d+)", str(caught.value))
    assert match is not None
    offered = plan(BREAST_CANCER, Packing.BATCH, precision_bits=float(match[1]))
    assert offered.parameters.ring_degree == int(match[2])


@pytest.mark.parametrize(
    ("spec", "packing", "advice"),
    [
        (replace(BREAST_CANCER, features=5000, outputs=10), Packing.SINGLE, "use batch packing"),
        (replace(BREAST_CANCER, outputs=65), Packing.BATCH, "single-record packing"),
        (replace(PUBLIC, input_bound=2.0**900), Packing.BATCH, "narrow the input ranges"),
    ],
)
def test_a_model_that_fits_nothing_is_told_what_to_change(
    spec: LinearModelSpec, packing: Packing, advice: str
) -> None:
    with pytest.raises(PlanningError, match=advice):
        plan(spec, packing)


def test_a_ring_can_be_imposed() -> None:
    assert plan(BREAST_CANCER, Packing.SINGLE, ring_degree=16384).parameters.ring_degree == 16384
    with pytest.raises(PlanningError, match="not supported"):
        plan(BREAST_CANCER, Packing.SINGLE, ring_degree=10000)
    with pytest.raises(PlanningError, match="leave the ring degree open"):
        plan(BREAST_CANCER, Packing.BATCH, ring_degree=4096)


def test_packings_that_share_no_ring_are_refused() -> None:
    wide = replace(BREAST_CANCER, features=20000, outputs=2)
    with pytest.raises(PlanningError, match="no single ring"):
        plan_packings(wide, (Packing.BATCH, Packing.SINGLE))


def test_two_packings_move_together_to_a_larger_ring() -> None:
    wide = replace(BREAST_CANCER, features=1000, outputs=10)
    assert plan(wide, Packing.BATCH).parameters.ring_degree == 8192
    batch, single = plan_packings(wide, (Packing.BATCH, Packing.SINGLE))
    assert batch.parameters.ring_degree == single.parameters.ring_degree == 16384


@pytest.mark.parametrize(("features", "outputs"), [(0, 1), (1, 0), (-1, 1)])
def test_a_model_without_features_or_outputs_is_refused(features: int, outputs: int) -> None:
    with pytest.raises(ParameterError):
        LinearModelSpec(features, outputs, 1.0, 1, Mode.PRIVATE)


def test_a_wish_too_fine_for_every_ring_names_the_finest_ring_of_all() -> None:
    """Not merely what the last ring tried would give."""
    packings = (Packing.BATCH, Packing.SINGLE)
    with pytest.raises(PlanningError) as caught:
        plan_packings(BREAST_CANCER, packings, precision_bits=300)
    match = re.search(r"the nearest is ([0-9.]+) bits at N = (\d+)", str(caught.value))
    assert match is not None
    offered = plan_packings(BREAST_CANCER, packings, precision_bits=float(match[1]))
    assert {chosen.parameters.ring_degree for chosen in offered} == {int(match[2])}
    with pytest.raises(PlanningError):
        plan_packings(BREAST_CANCER, packings, precision_bits=float(match[1]) + 0.1)


@pytest.mark.parametrize("precision", [math.nan, -1.0, math.inf, -math.inf])
def test_a_precision_that_is_no_wish_is_refused(precision: float) -> None:
    with pytest.raises(PlanningError, match="expected a number from 0"):
        plan(BREAST_CANCER, Packing.BATCH, precision_bits=precision)
    with pytest.raises(PlanningError, match="expected a number from 0"):
        plan_packings(BREAST_CANCER, (Packing.BATCH,), precision_bits=precision)
