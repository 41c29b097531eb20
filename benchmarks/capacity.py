"""Machines and money for a number of predictions a day: ``python -m benchmarks.capacity``.

Measured costs (`benchmarks/latest.json`, and what docs/performance.md and docs/operations.md say
of receipts) times stated assumptions; every assumption is an option.  With ``--write`` the table
goes into docs/operations.md.

Work is counted as if every stage of an answer kept all cores of the measured machine busy: proving
does nearly so, evaluating does not, so that cores are rather too many than too few.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

LATEST = Path(__file__).parent / "latest.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "operations.md"
_BEGIN, _END = "<!-- table: written by `python -m benchmarks.capacity --write` -->", "<!-- end -->"
_CASES = (
    ("linear_private_single", "linear, single", None),
    ("linear_private_batch", "linear, batch", None),
    ("mlp_private_single", "30-64-1, single", None),
    ("mlp_private", "30-64-1, batch", None),
    # One record fills a batch's place as 450 do: this is what batches are for.
    ("cnn_private", "CNN, single", 1.0),
    ("cnn_private", "CNN, batch", None),
)
"""Measured cases, what they are called here, and the records of one request if not as measured."""
_SERVER_STAGES = ("expand_s", "evaluate_s", "prove_s")
_CLIENT_STAGES = ("encrypt_s", "expand_s", "verify_s", "decrypt_s")
_DAY_SECONDS, _MONTH_DAYS, _MONTH_HOURS = 86_400, 30.4, 730

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Assumptions:
    """What nobody measured.  Prices are US dollars, of the order that large clouds list.

    Attributes:
        predictions: records a day.
        peak: the busiest minutes' rate over the day's average.
        utilisation: how much of a core may be used in these minutes.
        machine_cores: of one server; there are at least two, so that one may be lost.
        archive_days: requests and answers stay.
        log_days: receipts to keep in the database: for good; this many are paid for.
        receipt_seconds: of a core, for a receipt and its objects: hashing, writing, signing.
        receipt_bytes: in the database, indices included.
        core_hour: price of a core with 4 GiB for an hour.
        object_gb: price of a GB in the object store for a month.
        object_puts: price of a million writes to it.
        database_gb: price of a GB of the database's disk for a month.
        transfer_gb: price of a GB that leaves towards clients; 0 inside of one network.
    """

    predictions: float = 1e6
    peak: float = 3.0
    utilisation: float = 0.6
    machine_cores: int = 4
    archive_days: float = 30.0
    log_days: float = 365.0
    receipt_seconds: float = 0.013
    receipt_bytes: float = 2_000.0
    core_hour: float = 0.05
    object_gb: float = 0.023
    object_puts: float = 5.0
    database_gb: float = 0.12
    transfer_gb: float = 0.05


@dataclass(frozen=True)
class Estimate:
    """What one kind of request takes.

    Attributes:
        name: of the kind.
        records: predictions in one request.
        core_seconds: of the server, for one request.
        client_core_seconds: of the client, for one request.
        peak_rate: requests a second in the busiest minutes.
        machines: servers.
        client_cores: cores of all clients together, in the busiest minutes.
        archive_tb: of the object store, when it no longer grows.
        database_gb: of the log, after `log_days`.
        monthly: dollars for servers, object store, database and transfer.
    """

    name: str
    records: float
    core_seconds: float
    client_core_seconds: float
    peak_rate: float
    machines: int
    client_cores: float
    archive_tb: float
    database_gb: float
    monthly: tuple[float, float, float, float]


def estimate(
    name: str, case: str, figures: Figures, given: Assumptions, records: float | None = None
) -> Estimate:
    """The estimate for one measured case."""

    def seconds(stages: Sequence[str]) -> float:
        return figures["machine.cpus"] * sum(figures[f"{case}.{stage}"] for stage in stages)

    if records is None:
        records = figures[f"{case}.records"]
    daily = given.predictions / records
    core_seconds = seconds(_SERVER_STAGES) + given.receipt_seconds
    client_core_seconds = seconds(_CLIENT_STAGES)
    peak_rate = given.peak * daily / _DAY_SECONDS
    cores = peak_rate * core_seconds / given.utilisation
    machines = max(2, math.ceil(cores / given.machine_cores))
    request, response = (figures[f"{case}.{part}_bytes"] for part in ("request", "response"))
    archive_gb = daily * given.archive_days * (request + response) / 1e9
    database_gb = daily * given.log_days * given.receipt_bytes / 1e9
    monthly = (
        machines * given.machine_cores * _MONTH_HOURS * given.core_hour,
        archive_gb * given.object_gb + 2 * daily * _MONTH_DAYS / 1e6 * given.object_puts,
        database_gb * given.database_gb,
        daily * _MONTH_DAYS * response / 1e9 * given.transfer_gb,
    )
    return Estimate(
        name,
        records,
        core_seconds,
        client_core_seconds,
        peak_rate,
        machines,
        peak_rate * client_core_seconds / given.utilisation,
        archive_gb / 1e3,
        database_gb,
        monthly,
    )


def estimates(figures: Figures, given: Assumptions) -> list[Estimate]:
    """For every case that is measured."""
    return [
        estimate(name, case, figures, given, records)
        for case, name, records in _CASES
        if f"{case}.prove_s" in figures
    ]


def rows(found: Sequence[Estimate], given: Assumptions) -> Iterator[tuple[str, list[str]]]:
    """A title and one cell for each estimate."""

    def row(title: str, cells: Iterator[str]) -> tuple[str, list[str]]:
        return title, list(cells)

    yield row("predictions in one request", (f"{one.records:.0f}" for one in found))
    yield row("server, core-seconds a request", (f"{one.core_seconds:.3f}" for one in found))
    yield row("requests a second at the peak", (f"{one.peak_rate:.3g}" for one in found))
    yield row(f"servers of {given.machine_cores} cores", (f"{one.machines}" for one in found))
    yield row("cores of all clients at the peak", (f"{one.client_cores:.1f}" for one in found))
    yield row(
        f"archive of {given.archive_days:.0f} days, TB", (f"{one.archive_tb:.2f}" for one in found)
    )
    yield row(f"log of {given.log_days:.0f} days, GB", (f"{one.database_gb:.1f}" for one in found))
    for place, part in enumerate(("servers", "object store", "database", "transfer")):
        yield row(f"{part}, $ a month", (f"{one.monthly[place]:,.0f}" for one in found))
    yield row("together, $ a month", (f"{sum(one.monthly):,.0f}" for one in found))
    per_thousand = 1000 / (given.predictions * _MONTH_DAYS)
    yield row(
        "$ a thousand predictions", (f"{sum(one.monthly) * per_thousand:.4f}" for one in found)
    )


def markdown(figures: Figures, given: Assumptions) -> str:
    """The table as docs/operations.md has it."""
    found = estimates(figures, given)
    lines = [
        f"| {given.predictions:,.0f} predictions a day | "
        + " | ".join(one.name for one in found)
        + " |",
        "|---|" + "---:|" * len(found),
        *(f"| {title} | {' | '.join(cells)} |" for title, cells in rows(found, given)),
    ]
    return "\n".join(lines)


def read_figures(path: Path = LATEST) -> dict[str, float]:
    """The figures of a file of the benchmark; what is no number describes the machine."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in stored.items() if isinstance(value, int | float)}


def write(text: str, document: Path = DOCUMENT) -> None:
    """Put the table into a document, between its two comments."""
    before, rest = document.read_text(encoding="utf-8").split(_BEGIN)
    _, after = rest.split(_END)
    document.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", encoding="utf-8")


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    for field in fields(Assumptions):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=type(field.default), default=field.default, metavar="N")
    parser.add_argument("--write", action="store_true", help="into docs/operations.md")
    options = vars(parser.parse_args())
    to_document = options.pop("write")
    given, figures = Assumptions(**options), read_figures()
    if to_document:
        write(markdown(figures, given))
        return
    found = estimates(figures, given)
    table = Table(title=f"{given.predictions:,.0f} predictions a day")
    table.add_column("")
    for one in found:
        table.add_column(one.name, justify="right")
    for title, cells in rows(found, given):
        table.add_row(title, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
