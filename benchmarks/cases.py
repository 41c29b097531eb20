"""The measured ways to ask: models, modes and packings, each with what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import ezkl_peer
from blindproof.collapsed_publishing import publish_collapsed
from blindproof.demo import tenseal_baseline
from blindproof.demo.networks import OneRecord, Trained, breast_cancer_mlp, digits_cnn
from blindproof.demo.patients import Patients, fit
from blindproof.network_publishing import publish_network
from blindproof.publishing import publish_linear
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing

Floats = npt.NDArray[np.float64]

LINEAR_PRECISION_BITS = 24.0
SINGLE_PRECISION_BITS = 30.0


@dataclass(frozen=True, eq=False)
class Case:
    """One benchmarked way to ask a model.

    Attributes:
        name: `case.metric` is the key of a figure.
        network: whether the model is a network, for the tables.
        publish: puts the model into a directory.
        packing: of the request.
        records: float64 (records, features), raw values.
        exact: float64 (records, J), what the published integer model gives in the clear.
        baseline: TenSEAL's median seconds by number of runs.
        baseline_metric: what they are of.
        effort: one run in so many of the others'.
        fill: whether a batch of N/2 records, the same over and over, is measured as well.
        peer: EZKL's figures by number of runs, for the cases that it is compared with.
    """

    name: str
    network: bool
    publish: Callable[[Path], ModelCard]
    packing: Packing
    records: Floats
    exact: Floats
    baseline: Callable[[int], float]
    baseline_metric: str
    effort: int = 1
    fill: bool = False
    peer: Callable[[int], dict[str, float]] | None = None

    def runs(self, wanted: int) -> int:
        """How many runs this case gets when `wanted` are asked for, at least two."""
        return max(wanted // self.effort, 2)


def all_cases() -> tuple[Case, ...]:
    """Train the models and describe every case."""
    patients = fit()
    mlp, deep, cnn = breast_cancer_mlp(), breast_cancer_mlp((64, 16)), digits_cnn()
    return (
        _linear("linear_private_batch", patients, Mode.PRIVATE, Packing.BATCH),
        _linear("linear_private_single", patients, Mode.PRIVATE, Packing.SINGLE),
        _linear("linear_public_batch", patients, Mode.PUBLIC, Packing.BATCH),
        _collapsed("mlp_private_single", mlp),
        _beside_ezkl(_network("mlp_private", mlp, Mode.PRIVATE), mlp, ezkl_peer.ONE_SQUARE),
        _network("mlp_public", mlp, Mode.PUBLIC),
        _network("mlp2_private", deep, Mode.PRIVATE, effort=2),
        _beside_ezkl(
            replace(_network("cnn_private", cnn, Mode.PRIVATE, effort=5), fill=True),
            cnn,
            ezkl_peer.TWO_SQUARES,
        ),
        _network("cnn_public", cnn, Mode.PUBLIC, effort=5),
    )


def _linear(name: str, patients: Patients, mode: Mode, packing: Packing) -> Case:
    model = replace(patients.model, name=f"{patients.model.name}-{mode}")
    rows = len(patients.held_out) if packing is Packing.BATCH else 1
    records = patients.held_out[:rows]
    scaled, weights = model.inputs_of(records), model.weights[0]
    bias = float(model.intercept[0])
    if packing is Packing.BATCH:
        baseline = partial(tenseal_baseline.batch_seconds, scaled, weights, bias)
    else:
        baseline = partial(tenseal_baseline.single_seconds, scaled[0], weights, bias)
    return Case(
        name=name,
        network=False,
        publish=partial(
            publish_linear, model=model, mode=mode, precision_bits=LINEAR_PRECISION_BITS
        ),
        packing=packing,
        records=records,
        exact=patients.exact_values[:rows],
        baseline=baseline,
        baseline_metric="tenseal_evaluate_s",
    )


def _network(name: str, trained: Trained, mode: Mode, effort: int = 1) -> Case:
    model = replace(trained.model, name=f"{trained.model.name}-{mode}")
    return Case(
        name=name,
        network=True,
        publish=partial(
            publish_network, model=model, mode=mode, precision_bits=trained.precision_bits
        ),
        packing=Packing.BATCH,
        records=trained.held_out,
        exact=trained.exact_values,
        baseline=_one_record(trained),
        baseline_metric="tenseal_one_record_s",
        effort=effort,
    )


def _beside_ezkl(case: Case, trained: Trained, tuning: ezkl_peer.Tuning) -> Case:
    record = trained.model.normalised(trained.held_out[:1])[0]
    return replace(case, peer=partial(ezkl_peer.measure, trained.model.network, record, tuning))


def _collapsed(name: str, trained: Trained) -> Case:
    """One record of a network, multiplied out into monomials."""
    one = OneRecord.of(trained)
    return Case(
        name=name,
        network=True,
        publish=partial(
            publish_collapsed, model=trained.model, precision_bits=SINGLE_PRECISION_BITS
        ),
        packing=Packing.SINGLE,
        records=one.held_out,
        exact=one.exact_values,
        baseline=_one_record(trained),
        baseline_metric="tenseal_one_record_s",
    )


def _one_record(trained: Trained) -> Callable[[int], float]:
    record = trained.model.normalised(trained.held_out[:1])[0]
    return partial(tenseal_baseline.network_seconds, trained.model.network, record)
