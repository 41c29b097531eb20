"""Steady load of single-record private predictions on a real server: ``make load``.

make load                                             ten minutes
python -m benchmarks.load --seconds 60 --streams 200  shorter, with fewer streams held

A server process as `blindproof serve` runs it; clients in processes of their own, which encrypt,
verify, decrypt and compare each answer with scikit-learn's.  The clients' work is on the same
processors: what is counted is the whole prediction, not the server's part.  Afterwards, while they
go on, many more streams are held open which send nothing; as the server ends each of them after
`header_seconds`, this is a flood of calls too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import blindproof
from benchmarks.load.client import Line, Order
from benchmarks.load.memory import Samples, sampling
from benchmarks.load.streams import Held, holding

OUTPUT = Path(__file__).parent.parent / "load.json"
WARM_UP_SECONDS = 10.0
HELD_SHARE = 0.2
"""Of the time, at the end and on top of it, while streams are held."""
CLEAR_SCORE = 0.25
"""Records whose score is nearer to zero may fall to either side: rounded weights decide there."""
AIMED_RATE = 15.0
AIMED_SPREAD = 3.0
FLAT = 0.05
_MIB = 1 << 20


def records_and_model() -> tuple[Any, Any]:
    """Breast cancer: a fitted pipeline and its columns."""
    columns, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(columns, labels), columns


def asked(order: Order, processes: int) -> list[subprocess.Popen[str]]:
    """Start the processes of clients."""
    started = []
    for _ in range(processes):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None  # noqa: S101 -- asked for
        json.dump(asdict(order), process.stdin)
        process.stdin.close()
        started.append(process)
    return started


def collected(process: subprocess.Popen[str]) -> list[Line]:
    """All that a process of clients says, once it has ended well."""
    assert process.stdout is not None  # noqa: S101 -- asked for
    lines = [Line(**json.loads(text)) for text in process.stdout]
    if process.wait() != 0:
        raise SystemExit("a process of clients failed")
    return lines


def figures(
    lines: list[Line], memory: Samples, held: Held, start: float, end: float
) -> dict[str, float]:
    """What is reported of the time between, and of what came after, by name."""
    after = [line.at for line in lines if line.at > end and line.error is None]
    counted = [line for line in lines if start <= line.at <= end]
    taken = sorted(line.seconds for line in counted if line.error is None)
    cuts = quantiles(taken, n=100, method="inclusive")
    middle = (start + end) / 2
    quarter = (end - start) / 4
    early, late = memory.between(start + quarter, middle), memory.between(end - quarter, end)
    return {
        "load.seconds": end - start,
        "load.verified": len(taken),
        "load.verified_per_second": len(taken) / (end - start),
        "load.wrong": sum(line.right is False for line in lines),
        "load.failed": sum(line.error is not None for line in lines),
        "load.p50_seconds": median(taken),
        "load.p99_seconds": cuts[98],
        "load.p99_over_p50": cuts[98] / median(taken),
        "load.server_mib_second_quarter": early / _MIB,
        "load.server_mib_last_quarter": late / _MIB,
        "load.server_growth": late / early - 1,
        "load.server_peak_mib": memory.peak / _MIB,
        "load.streams_held": held.open,
        "load.streams_refused": held.refused,
        "load.streams_other_ends": held.other,
        "load.streams_verified_per_second": len(after) / max(after[-1] - end, 1.0)
        if after
        else 0.0,
    }


def table(found: dict[str, float]) -> Table:
    """The figures beside what was aimed at."""
    aims = {
        "load.verified_per_second": f">= {AIMED_RATE:g}",
        "load.wrong": "0",
        "load.failed": "0",
        "load.p99_over_p50": f"<= {AIMED_SPREAD:g}",
        "load.server_growth": f"<= {FLAT:g}",
        "load.streams_other_ends": "0",
    }
    shown = Table("", "measured", "aim", title="Steady load, clients and server on one machine")
    for name, value in found.items():
        shown.add_row(name.removeprefix("load."), f"{value:,.4g}", aims.get(name, ""))
    return shown


def show_until(progress: Progress, task: TaskID, end: float) -> None:
    """Let time pass."""
    last = time.monotonic()
    while last < end:
        time.sleep(0.5)
        progress.advance(task, time.monotonic() - last)
        last = time.monotonic()


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of measuring")
    parser.add_argument("--processes", type=int, default=2, help="of clients")
    parser.add_argument("--concurrency", type=int, default=2, help="predictions at once, of each")
    parser.add_argument("--streams", type=int, default=1000, help="held open beside them")
    parser.add_argument("--output", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    console = Console()
    fitted, columns = records_and_model()
    scores = fitted.decision_function(columns)
    clear = abs(scores) > CLEAR_SCORE
    with tempfile.TemporaryDirectory(), blindproof.LocalServer() as server:
        card = server.publish(blindproof.compile(fitted, columns))
        warm_up = min(WARM_UP_SECONDS, arguments.seconds / 4)
        start = time.monotonic() + warm_up
        end = start + arguments.seconds
        held_until = end + HELD_SHARE * arguments.seconds
        order = Order(
            address=server.address,
            ca=str(server.ca),
            model=card.digest.hex(),
            concurrency=arguments.concurrency,
            end=held_until,
            records=columns[clear].to_numpy().tolist(),
            positive=[bool(score > 0) for score in scores[clear]],
            client={},
        )
        with sampling(server.process) as memory, Progress(console=console) as progress:
            clients = asked(order, arguments.processes)
            shown = progress.add_task("load", total=held_until - time.monotonic())
            show_until(progress, shown, end)
            with holding(server.address, server.ca, arguments.streams) as held:
                show_until(progress, shown, held_until)
            lines = [line for client in clients for line in collected(client)]
    found = figures(lines, memory, held, start, end)
    console.print(table(found))
    errors = Counter(line.error for line in lines if line.error)
    for error, count in errors.most_common():
        console.print(f"  {count} x {error}")
    output = arguments.output or (OUTPUT if arguments.seconds >= 60 else None)
    if output is not None:
        output.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
