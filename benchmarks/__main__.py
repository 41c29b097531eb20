"""Run the benchmark, print a table, write benchmarks/latest.json.

make bench              all cases, 15 runs each
python -m benchmarks --runs 5
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES, Figures, measure_all

LATEST = Path(__file__).parent / "latest.json"
REPORT = Path(__file__).parent.parent / "docs" / "performance.md"
_BEGIN, _END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
_PHASES = ("encrypt_s", "expand_s", "evaluate_s", "prove_s", "verify_s", "decrypt_s")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="runs per case; medians are kept")
    parser.add_argument("--output", type=Path, default=LATEST, help="where the figures go")
    arguments = parser.parse_args()
    console = Console()
    with console.status("measuring") as status:
        figures = measure_all(arguments.runs, lambda name: status.update(f"measuring {name}"))
    arguments.output.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    if arguments.output == LATEST:
        _update_report(figures)
    console.print(_table(figures))
    for name in ("enrolment", "registration"):
        prove, verify = (1e3 * figures[f"{name}.{phase}_s"] for phase in ("prove", "verify"))
        size = figures[f"{name}.proof_bytes"] / 1e3
        console.print(f"{name}: prove {prove:.1f} ms, verify {verify:.1f} ms, {size:.0f} KB")
    console.print(
        f"import client_sdk {figures['client_sdk.import_s']:.2f} s; publish two models and start a "
        f"server {figures['server.publish_and_start_s']:.2f} s"
    )


def _update_report(figures: Figures) -> None:
    """Put the figures into docs/performance.md."""
    lines = ["| median | " + " | ".join(case.name for case in CASES) + " |"]
    lines.append("|---|" + "---:|" * len(CASES))

    def row(title: str, metric: str, factor: float, digits: int) -> None:
        cells = (f"{factor * figures[f'{case.name}.{metric}']:.{digits}f}" for case in CASES)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")

    for phase in (*_PHASES, "exchange_s", "tenseal_evaluate_s"):
        row(f"{phase.removesuffix('_s').replace('_', ' ')}, ms", phase, 1e3, 1)
    for size in ("request_bytes", "response_bytes", "proof_bytes"):
        row(f"{size.removesuffix('_bytes')}, KB", size, 1e-3, 0)
    for metric in ("precision_bits", "soundness_bits", "server_peak_mib"):
        row(metric.replace("_", " "), metric, 1.0, 1)
    for name in ("enrolment", "registration"):
        prove, verify = (1e3 * figures[f"{name}.{phase}_s"] for phase in ("prove", "verify"))
        size = figures[f"{name}.proof_bytes"] / 1e3
        lines += [
            "",
            f"{name.capitalize()}: prove {prove:.0f} ms, verify {verify:.0f} ms, {size:.0f} KB.",
        ]
    imported, started = figures["client_sdk.import_s"], figures["server.publish_and_start_s"]
    lines[-1] += (
        f" `import client_sdk` takes {imported:.2f} s; publishing two models and starting a server "
        f"{started:.2f} s."
    )
    before, rest = REPORT.read_text().split(_BEGIN)
    _, after = rest.split(_END)
    figures_text = "\n".join(["", *lines, ""])
    REPORT.write_text(f"{before}{_BEGIN}\n{figures_text}\n{_END}{after}")


def _table(figures: Figures) -> Table:
    table = Table(title="median milliseconds; sizes in KB")
    table.add_column("")
    for case in CASES:
        table.add_column(case.name, justify="right")
    for phase in (*_PHASES, "tenseal_evaluate_s"):
        cells = (f"{1e3 * figures[f'{case.name}.{phase}']:.1f}" for case in CASES)
        table.add_row(phase.removesuffix("_s").replace("_", " "), *cells)
    for size in ("request_bytes", "response_bytes", "proof_bytes"):
        cells = (f"{figures[f'{case.name}.{size}'] / 1e3:.0f}" for case in CASES)
        table.add_row(size.removesuffix("_bytes"), *cells)
    for metric in ("precision_bits", "soundness_bits", "server_peak_mib"):
        cells = (f"{figures[f'{case.name}.{metric}']:.1f}" for case in CASES)
        table.add_row(metric.replace("_", " "), *cells)
    return table


if __name__ == "__main__":
    main()
