"""Run the benchmark, print tables, write benchmarks/latest.json.

make bench                                 all cases, 15 runs each of the quick ones
python -m benchmarks --runs 5 --only mlp   fewer runs, cases whose name contains "mlp"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from benchmarks import ezkl_peer
from benchmarks.cases import all_cases
from benchmarks.measuring import machine, measure_all
from benchmarks.report import sentences, terminal_tables, write_report

LATEST = Path(__file__).parent / "latest.json"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="runs per case; medians are kept")
    parser.add_argument("--only", default="", help="part of the names of the cases to measure")
    parser.add_argument("--output", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    console = Console()
    with console.status("training") as status:
        cases = tuple(case for case in all_cases() if arguments.only in case.name)
        figures = measure_all(
            cases, arguments.runs, lambda name: status.update(f"measuring {name}")
        )
    if not ezkl_peer.installed() and any(case.peer for case in cases):
        console.print(ezkl_peer.ABSENT, markup=False)
    output = arguments.output
    if output is None and not arguments.only:
        output = LATEST
        write_report(figures, cases)
    if output is not None:
        described = {**machine(arguments.runs), **figures}
        output.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")
    for table in terminal_tables(figures, cases):
        console.print(table)
    for sentence in sentences(figures):
        console.print(sentence)


if __name__ == "__main__":
    main()
