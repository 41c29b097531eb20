"""What `blindproof.compile` makes: a model, ready to publish, and everything that is known of it.

Symbols: C columns, K inputs, J outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from blindproof.network_publishing import NetworkModel
from blindproof.prepared import Model, Offer, Prepared, plans_at, prepare_collapsed
from client_sdk.records import raw_values
from fhe_layers.importing.imported import Step
from protocol import links
from protocol.errors import ModelError, ParameterError, PlanningError
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing

if TYPE_CHECKING:
    from client_sdk.records import Records

Floats: TypeAlias = npt.NDArray[np.float64]

RECORDS_AT_ONCE = 1024
"""Of a simulation, whose tensors are in extended precision."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """What the integer model gives for some records, computed in the clear.

    Encrypted answers differ from `values` by at most their error bound.

    Attributes:
        values: float64 (records, J), the outputs before the link.
        labels: one per record, None for a regression.
        probabilities: float64 (records, labels), None where the link has none.
        predictions: float64 (records, J), what a regression predicts, None for a classification.
    """

    values: Floats
    labels: tuple[str, ...] | None
    probabilities: Floats | None
    predictions: Floats | None


@dataclass(frozen=True)
class Accuracy:
    """How good the integer model is on the sample.

    Attributes:
        records: of the sample.
        measure: "accuracy" or "R2".
        of_float, of_integer: of the model as it was given and of the integer model, measured by the
            target; None without one.
        agreement: of the two models with one another: the share of records with the same label, or
            the R2 of one as a prediction of the other.
        undecided: records whose label could be another one within the error bound of an answer.
    """

    records: int
    measure: str
    of_float: float | None
    of_integer: float | None
    agreement: float
    undecided: int

    @property
    def loss(self) -> float:
        """What becoming integers costs: by the target, or by the float model without one."""
        if self.of_float is None or self.of_integer is None:
            return 1.0 - self.agreement
        return self.of_float - self.of_integer

    @property
    def differing(self) -> int:
        """Records with another label than the float model's."""
        return round((1.0 - self.agreement) * self.records) if self.measure == "accuracy" else 0


@dataclass(frozen=True)
class LayerRange:
    """One tensor of the integer network, in its own units.

    Attributes:
        name: of the layer that makes it.
        units: of the tensor.
        measured: its largest magnitude on the sample.
        worst: what is proved of it for any input in range.
    """

    name: str
    units: int
    measured: float
    worst: float


@dataclass(frozen=True, eq=False, repr=False)
class Compiled:
    """A model that is calibrated, quantised and planned, and not yet published.

    Attributes:
        prepared: the integer model with its parameters.
        source: what was compiled, for people: "Pipeline", "cnn.onnx".
        steps: what became of each part of it.
        accuracy: on the sample.
        layers: ranges of every tensor on the sample, input first.
        differences: float64 (J,), the largest distances on the sample between the outputs of the
            model as it was given and those of the integer model.
    """

    prepared: Prepared
    source: str
    steps: tuple[Step, ...]
    accuracy: Accuracy
    layers: tuple[LayerRange, ...]
    differences: Floats = field(repr=False)

    @property
    def model(self) -> Model:
        """What is published, in real weights."""
        return self.prepared.model

    @property
    def name(self) -> str:
        """Of the model."""
        return self.model.name

    @property
    def mode(self) -> Mode:
        """Hidden or published weights."""
        return self.prepared.mode

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Each packing with its parameters and predicted costs."""
        return self.prepared.offers

    @property
    def precision_bits(self) -> float:
        """Of the coarsest packing, in bits below one unit of output."""
        return min(offer.plan.precision_bits for offer in self.offers)

    @property
    def error_bound(self) -> float:
        """Of an encrypted answer against `simulate`, in the outputs' own units."""
        return self.prepared.error_bound

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided on the way."""
        return self.prepared.notes

    @cached_property
    def over_monomials(self) -> Prepared | PlanningError | None:
        """A network multiplied out for single records, or why it cannot be; None of others."""
        if not isinstance(self.model, NetworkModel):
            return None
        try:
            return prepare_collapsed(self.model, self.mode, self.prepared.precision_bits)
        except PlanningError as error:
            return error

    def trade_off(self, precision_bits: float) -> tuple[Offer, ...]:
        """What another precision would take, packing by packing, where there are parameters.

        A network that can be multiplied out comes in single records too.
        """
        found = plans_at(self.prepared, precision_bits)
        if isinstance(self.over_monomials, Prepared):
            found += plans_at(self.over_monomials, precision_bits)
        return found

    def simulate(self, records: Records) -> Simulated:
        """Run the integer model on plain records: exactly what encrypted answers approximate.

        Args:
            records: as for a client: a data frame, an array, dicts by name.

        Raises:
            InputError: a record that a client would refuse: outside the calibrated ranges, for
                example; names column and row.
        """
        return simulated(self.prepared, raw_values(self.prepared.draft, records))

    def publish(self, models: Path | str, *, packing: Packing | str | None = None) -> ModelCard:
        """Publish in a server's model directory; the same model gives the same digest.

        Args:
            models: the directory; made if missing.
            packing: one of those compiled, with the parameters that suit it alone; None: all of
                them.

        Raises:
            ParameterError: an unknown packing.
            ModelError: not compiled for this packing.
            BlindproofError: the model cannot be stored.
        """
        chosen = self.prepared.packings
        if packing is not None:
            if packing not in set(Packing):
                raise ParameterError(f"packing '{packing}': expected 'batch' or 'single'")
            if packing not in set(chosen):
                raise ModelError(
                    f"compiled for {' and '.join(chosen)} requests: compile it again with "
                    f"packing='{packing}', since what a network computes depends on it"
                )
            chosen = (Packing(packing),)
        return self.prepared.publish(Path(models), chosen)

    def save(self, path: Path | str) -> None:
        """Write a model file, which `blindproof publish` reads: weights in the clear.

        Raises:
            OSError: the file cannot be written.
        """
        from blindproof.model_document import write_model_file

        write_model_file(Path(path), self.model, self.mode, self.prepared.packings)

    def explain(self, width: int = 100) -> str:
        """Everything above in words and tables, for a terminal of this width."""
        from blindproof.explaining import explanation

        return explanation(self, width)

    def plot(self, path: Path | str) -> None:
        """Draw precision against sizes and seconds; PNG, SVG or PDF by the file's name.

        Raises:
            ParameterError: another kind of file.
            MissingPackageError: matplotlib is not installed.
        """
        from blindproof.plotting import plot_trade_off

        plot_trade_off(self, Path(path))

    def __repr__(self) -> str:
        packings = ", ".join(self.prepared.packings)
        return (
            f"Compiled({self.name!r} from {self.source}, {len(self.model.features)} columns to "
            f"{len(self.model.outputs)} outputs, {packings}, "
            f"precision_bits={self.precision_bits:.1f}, {_in_short(self.accuracy)})"
        )


def simulated(prepared: Prepared, raw: Floats) -> Simulated:
    """The integer model on raw values (records, C), complete and in range."""
    inputs = prepared.model.inputs_of(raw)
    parts = [
        prepared.tensors(inputs[start : start + RECORDS_AT_ONCE])[-1]
        for start in range(0, len(inputs), RECORDS_AT_ONCE)
    ]
    values = np.concatenate(parts).astype(np.float64) * prepared.unit
    link = prepared.model.link
    chosen = links.decide(link, values)
    return Simulated(
        values=values,
        labels=None if chosen is None else tuple(prepared.model.labels[i] for i in chosen),
        probabilities=links.probabilities(link, values),
        predictions=links.predictions(link, values),
    )


def _in_short(accuracy: Accuracy) -> str:
    if accuracy.of_float is None or accuracy.of_integer is None:
        return f"agreement={accuracy.agreement:.4f}"
    return f"{accuracy.measure}={accuracy.of_integer:.4f} (float {accuracy.of_float:.4f})"
