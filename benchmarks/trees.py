"""Tree ensembles, end to end: what the planner predicts beside what is measured.

python -m benchmarks.trees                 all cases, medians of three runs
python -m benchmarks.trees --only diabetes

Real client, real server process, TLS on loopback; a batch holds the whole data set. Models are
trained on the columns that are served, cut into bins, so that private thresholds move nowhere; the
stumps of scikit-learn's own boosting see uncut columns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer

import blindproof
from blindproof.compiled import Compiled
from client_sdk import Client, Result

TREES, BINS, STUMPS = 20, 8, 100
PACKINGS = {"stumps": "single", "stumps, binned": "batch"}


@dataclass(frozen=True)
class Measured:
    """One case.

    Attributes:
        dataset, kind: what it is.
        compiled: with everything that is predicted.
        result: of the last run.
        seconds: medians, by phase as the planner names them.
        differing: labels, or None and the fit of a regression, against the library's own.
        fit: R2 of released outputs against the library's own.
    """

    dataset: str
    kind: str
    compiled: Compiled
    result: Result
    seconds: dict[str, float]
    differing: int | None
    fit: float | None = field(default=None)


def binned(estimator: Any, records: Any) -> Any:  # noqa: ANN401
    """The estimator behind bins of the columns that have more values than bins."""
    many = [name for name in records if records[name].nunique() > BINS]
    bins = KBinsDiscretizer(BINS, encode="ordinal", quantile_method="averaged_inverted_cdf")
    return make_pipeline(make_column_transformer((bins, many), remainder="passthrough"), estimator)


def estimators(dataset: str, records: Any) -> dict[str, Any]:  # noqa: ANN401
    """What is measured of a data set, unfitted."""
    classes = dataset == "breast cancer"
    boosting = GradientBoostingClassifier if classes else GradientBoostingRegressor
    histogram = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    forest = RandomForestClassifier if classes else RandomForestRegressor
    few = {"n_estimators": TREES, "random_state": 0}
    return {
        "stumps": boosting(max_depth=1, n_estimators=STUMPS, random_state=0),
        "stumps, binned": histogram(
            max_depth=1, max_iter=STUMPS, max_bins=2 * BINS, random_state=0
        ),
        "boosting, depth 2": binned(boosting(max_depth=2, **few), records),
        "boosting, depth 3": binned(boosting(max_depth=3, **few), records),
        "histogram boosting, depth 3": histogram(
            max_depth=3, max_iter=TREES, max_bins=BINS, random_state=0
        ),
        "forest, depth 3": binned(forest(max_depth=3, **few), records),
    }


DATASETS: dict[str, Callable[..., Any]] = {
    "breast cancer": load_breast_cancer,
    "diabetes": load_diabetes,
}


def measure(
    dataset: str,
    kind: str,
    runs: int,
    server: blindproof.LocalServer,
) -> Measured:
    """Train, compile, publish, ask for every row."""
    records, target = DATASETS[dataset](return_X_y=True, as_frame=True)
    estimator = estimators(dataset, records)[kind].fit(records, target)
    packing = PACKINGS.get(kind, "batch")
    compiled = blindproof.compile(estimator, records, target=target, name=kind, packing=packing)
    card = compiled.publish(server.models)
    asked = records if packing == "batch" else records[:1]
    with Client(server.address, model=card.digest, keys=server.keys, ca=server.ca) as client:
        results = [client.predict(asked) for _ in range(runs + 1)]  # the first one enrols
    timings = [result.timings for result in results[1:]]
    phases = {
        "encrypt": [one.encrypt for one in timings],
        "evaluate": [
            one.server.expand + one.server.evaluate + one.server.sanitise for one in timings
        ],
        "prove": [one.server.prove for one in timings],
        "verify": [one.verify for one in timings],
        "decrypt": [one.decrypt for one in timings],
    }
    seconds = {phase: median(values) for phase, values in phases.items()}
    own = np.asarray(estimator.predict(asked))
    result = results[-1]
    if result.labels is None or not result.labels:
        values, spread = result.values[:, 0], np.var(own)
        fit = 1 - float(np.mean((values - own) ** 2) / spread) if spread else None
        return Measured(dataset, kind, compiled, result, seconds, None, fit)
    differing = int(
        sum(str(label) != given for label, given in zip(own, result.labels, strict=True))
    )
    return Measured(dataset, kind, compiled, result, seconds, differing)


def table(cases: list[Measured]) -> Table:
    """Predicted / measured, where both exist."""
    shown = Table(title="Trees: predicted / measured")
    for column in ("model", "inputs", "integers", "N, limbs", "bits", "request MB", "proof KB"):
        shown.add_column(column)
    for column in (
        "encrypt s",
        "evaluate s",
        "prove s",
        "verify s",
        "all s",
        "against the library",
    ):
        shown.add_column(column)
    for case in cases:
        offer = case.compiled.offers[0]
        predicted, parameters = offer.predicted, offer.plan.parameters
        expected = dict(predicted.seconds)
        phases = [
            (f"{expected[phase]:.2f} / " if phase in expected else "")
            + f"{case.seconds[phase]:.2f}"
            for phase in ("encrypt", "evaluate", "prove", "verify")
        ]
        agreement = f"R2 {case.fit:.6f}" if case.fit is not None else ""
        if case.differing is not None:
            agreement = f"{case.differing} labels differ"
        graph = case.compiled.prepared.graph
        shown.add_row(
            f"{case.dataset}, {case.kind}",
            str(graph.inputs),
            str(graph.integers_count),
            f"{parameters.ring_degree}, {len(parameters.moduli)}",
            f"{offer.plan.precision_bits:.1f} / {case.result.precision_bits:.1f}",
            f"{predicted.request_bytes / 1e6:.1f}",
            f"{predicted.proof_bytes / 1e3:.0f} / {len(case.result.proof) / 1e3:.0f}",
            *phases,
            f"{predicted.total_seconds:.2f} / {sum(case.seconds.values()):.2f}",
            agreement,
        )
    return shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trees", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs per case; medians are shown")
    parser.add_argument("--only", default="", help="part of the names of the cases to measure")
    arguments = parser.parse_args()
    console = Console(width=220)
    measured = []
    with blindproof.LocalServer() as server, console.status("starting") as status:
        for dataset in DATASETS:
            for kind in estimators(dataset, DATASETS[dataset](return_X_y=True, as_frame=True)[0]):
                if arguments.only in f"{dataset}, {kind}":
                    status.update(f"{dataset}, {kind}")
                    measured.append(measure(dataset, kind, arguments.runs, server))
    console.print(table(measured))


if __name__ == "__main__":
    main()
