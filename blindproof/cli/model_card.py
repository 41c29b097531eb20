"""A model card as tables, for people."""

from __future__ import annotations

from rich.table import Table

from blindproof.plan_tables import profiles_table
from blindproof.tables import new_table
from protocol.features import Category, Column, Feature, Thermometer
from protocol.model import ModelCard

_MAX_SHOWN = 6


def card_tables(card: ModelCard) -> list[Table]:
    """What is stated, the columns, the outputs, the parameters."""
    return [_statements(card), _columns(card), profiles_table(card)]


def _statements(card: ModelCard) -> Table:
    table = new_table(f"{card.name} {card.version}", "stated by the publisher, not proved", "")
    table.columns[1].justify = "left"
    about = card.about
    for label, text in (
        ("purpose", card.purpose),
        ("intended use", about.intended_use),
        ("training data", about.training_data),
        ("licence", about.licence),
        *((name, f"{value:.4g}") for name, value in about.metrics),
    ):
        if text:
            table.add_row(label, text)
    table.add_row("outputs", ", ".join(card.outputs))
    if card.labels:
        table.add_row("labels", ", ".join(card.labels))
    table.add_row("link", card.link)
    if card.local:
        table.add_row("columns that stay with the client", ", ".join(card.local))
    table.add_row("digest", card.digest.hex())
    return table


def _columns(card: ModelCard) -> Table:
    table = new_table("columns", "name", "values", "measured in", "sent", "missing becomes")
    for column in card.features:
        measured = "" if isinstance(column, Category) else column.measured_in
        missing = "an error" if column.missing is None else str(column.missing)
        table.add_row(column.name, _values(column), measured, str(column.privacy), missing)
    return table


def _values(column: Column) -> str:
    match column:
        case Feature():
            return f"{column.low:.6g} to {column.high:.6g}"
        case Thermometer():
            return f"{column.low:.6g} to {column.high:.6g}, {len(column.edges)} comparisons"
        case Category():
            shown = ", ".join(column.categories[:_MAX_SHOWN])
            more = len(column.categories) - _MAX_SHOWN
            return f"{shown} and {more} more" if more > 0 else shown
