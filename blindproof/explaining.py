"""What is known of a compiled model, in words and tables."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from blindproof.compiled import Accuracy, Compiled
from blindproof.plan_tables import plans_table
from blindproof.prepared import Prepared
from blindproof.tables import new_table, plain, size
from client_sdk.disclosure import DISCLOSURE_LIMIT, disclosure_units
from client_sdk.memory import prediction_bytes
from fhe_layers.importing.imported import Treatment
from protocol.features import Category, Column, Privacy, Thermometer
from protocol.parameters import Mode

RUNS_SHOWN = 40
OUTPUTS_SHOWN = 20
FEW_RECORDS = 50
"""A sample of fewer says little of ranges."""

_BECAME = {
    Treatment.ENCRYPTED: "on ciphertexts",
    Treatment.FOLDED: "folded",
    Treatment.CLIENT: "by the client",
    Treatment.REFUSED: "refused",
}


def explanation(compiled: Compiled, width: int = 100) -> str:
    """The report of `blindproof compile`, for a terminal of this width."""
    stream = io.StringIO()
    # Nothing but text: colours are the terminal's, and this may go into a file.
    console = Console(file=stream, width=width, highlight=False, no_color=True, color_system=None)
    explain_to(compiled, console)
    return stream.getvalue()


def explain_to(compiled: Compiled, console: Console) -> None:
    """Print the report."""
    _lines(console, _headline(compiled))
    if compiled.steps:
        console.print(_steps_table(compiled))
    console.print(_columns_table(compiled.model.features))
    _lines(console, _after_columns(compiled))
    console.print(_layers_table(compiled))
    _lines(console, _accuracy_lines(compiled.accuracy))
    console.print(_errors_table(compiled))
    plans = [offer.plan for offer in compiled.offers]
    console.print(plans_table(plans, compiled.prepared.unit))
    console.print(_costs_table(compiled))
    _lines(console, _closing(compiled))


def _lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(plain(line))


def _headline(compiled: Compiled) -> list[str]:
    model = compiled.model
    weights = "hidden weights" if compiled.mode is Mode.PRIVATE else "published weights"
    labels = f", labels {_listed(model.labels)}" if model.labels else ""
    sizes = (
        _count(len(model.features), "column"),
        _count(model.inputs, "input"),
        _count(len(model.outputs), "output"),
    )
    return [
        f"{model.name} {model.version}, from {compiled.source}: {', '.join(sizes)}, {weights}",
        f"link {model.link}{labels}",
        *compiled.notes,
    ]


def _steps_table(compiled: Compiled) -> Table:
    table = new_table("What became of the model", "part", "kind", "evaluated", "how")
    for column in table.columns[1:]:
        column.justify = "left"
    for step in compiled.steps:
        table.add_row(step.name, step.operator, _BECAME[step.treatment], step.note)
    return table


def _columns_table(columns: Sequence[Column]) -> Table:
    """Columns in a row that differ in their names only share a row."""
    table = new_table(
        "Columns; clients refuse values outside", "column", "values", "inputs", "sent", "missing"
    )
    runs = [
        (cells, [column.name for column in run])
        for cells, run in itertools.groupby(columns, key=_column_cells)
    ]
    for cells, names in runs[:RUNS_SHOWN]:
        name = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}, {len(names)} columns"
        table.add_row(name, *cells)
    if len(runs) > RUNS_SHOWN:
        table.caption = f"and {sum(len(names) for _, names in runs[RUNS_SHOWN:])} more"
    return table


def _column_cells(column: Column) -> tuple[str, str, str, str]:
    sent = "encrypted" if column.privacy is Privacy.ENCRYPTED else "in the clear"
    missing = "refused" if column.missing is None else f"becomes {_number(column.missing)}"
    return _values(column), str(column.inputs), sent, missing


def _values(column: Column) -> str:
    if isinstance(column, Category):
        return _listed(column.categories)
    unit = f" {column.measured_in}" if column.measured_in else ""
    reach = f"{column.low:.6g} to {column.high:.6g}{unit}"
    if isinstance(column, Thermometer):
        return f"{reach}, compared with {len(column.edges)} edges"
    return reach


def _after_columns(compiled: Compiled) -> list[str]:
    model, records = compiled.model, compiled.accuracy.records
    lines = []
    if records < FEW_RECORDS:
        lines.append(
            f"ranges come from {_count(records, 'record')} only: clients may refuse common values; "
            "give a larger sample, or ranges"
        )
    if model.local:
        lines.append(f"kept by clients: {_listed(model.local)}")
    if model.expansion:
        degree = max(map(len, model.expansion))
        lines.append(
            f"clients compute {len(model.expansion)} products of up to {degree} inputs before they "
            "encrypt"
        )
    return lines


def _layers_table(compiled: Compiled) -> Table:
    table = new_table(
        "Largest magnitudes, in the integer model's units",
        "tensor",
        "units",
        "on the sample",
        "proved worst case",
        "between them",
    )
    for layer in compiled.layers:
        between = f"{math.log2(layer.worst / layer.measured):.1f} bits" if layer.measured else ""
        table.add_row(
            layer.name, str(layer.units), f"{layer.measured:.3g}", f"{layer.worst:.3g}", between
        )
    return table


def _accuracy_lines(accuracy: Accuracy) -> list[str]:
    lines = []
    regression = accuracy.measure == "R2"
    if accuracy.of_float is not None and accuracy.of_integer is not None:
        scores = [
            f"{score:.4f}" if regression else f"{score:.2%}"
            for score in (accuracy.of_integer, accuracy.of_float)
        ]
        lines.append(
            f"{accuracy.measure} on the sample's {accuracy.records} records: {scores[0]}, of the "
            f"model as it was given {scores[1]}"
        )
    if regression:
        lines.append(f"R2 against the model as it was given: {accuracy.agreement:.6f}")
    else:
        lines.append(
            f"another label than the model as it was given: {accuracy.differing} of "
            f"{accuracy.records} records"
        )
        lines.append(
            f"records whose label is within the error bound of another: {accuracy.undecided}"
        )
    return lines


def _errors_table(compiled: Compiled) -> Table:
    """What becoming integers and what encryption change, output by output."""
    prepared, model = compiled.prepared, compiled.model
    table = new_table(
        "Errors of outputs",
        "output",
        "at most",
        "integer model, on the sample",
        "rounding, at worst",
        "encryption, at worst",
    )
    rows = zip(
        model.outputs,
        prepared.output_bounds.tolist(),
        compiled.differences.tolist(),
        prepared.rounding_errors.tolist(),
        strict=True,
    )
    for name, largest, seen, rounding in list(rows)[:OUTPUTS_SHOWN]:
        table.add_row(
            name,
            f"{largest:.3g}",
            f"{seen:.2e}",
            f"{rounding:.2e}",
            f"{prepared.error_bound:.2e}",
        )
    if len(model.outputs) > OUTPUTS_SHOWN:
        table.caption = f"and {len(model.outputs) - OUTPUTS_SHOWN} more"
    return table


def _costs_table(compiled: Compiled) -> Table:
    offers, card = compiled.offers, compiled.prepared.draft
    memory = [prediction_bytes(card, offer.packing) for offer in offers]
    table = new_table("Predicted costs of a request", "", *(str(offer.packing) for offer in offers))
    predictions = [offer.predicted for offer in offers]
    answered = [DISCLOSURE_LIMIT // disclosure_units(card, offer.packing, 1) for offer in offers]
    rows: list[tuple[str, list[str]]] = [
        ("records until keys are replaced", [f"{count:,}" for count in answered]),
        ("request", [size(p.request_bytes) for p in predictions]),
        ("proof, about", [size(p.proof_bytes) for p in predictions]),
        ("memory of the server", [_mebibytes(p.server_memory_bytes) for p in predictions]),
        ("memory of the client", [_mebibytes(needed) for needed in memory]),
    ]
    phases = dict.fromkeys(name for p in predictions if len(p.seconds) > 1 for name, _ in p.seconds)
    rows += [
        (phase, [_seconds(dict(p.seconds).get(phase)) for p in predictions]) for phase in phases
    ]
    rows.append(("all phases", [_seconds(p.total_seconds) for p in predictions]))
    for label, cells in rows:
        table.add_row(label, *cells)
    return table


def _closing(compiled: Compiled) -> list[str]:
    """What else there would be."""
    other = compiled.over_monomials
    if other is None:
        return []
    if not isinstance(other, Prepared):
        return [f"single records over monomials: {other}"]
    (offer,) = other.offers
    predicted = offer.predicted
    sentence = (
        f"single records over {other.model.inputs} monomials: {offer.plan.precision_bits:.1f} "
        f"bits, {size(predicted.request_bytes)} up, {predicted.total_seconds:.2g} s a record; "
        "packing='single' compiles for them"
    )
    return [sentence]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _mebibytes(count: int) -> str:
    return f"{max(count >> 20, 1)} MiB"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2g} s"
