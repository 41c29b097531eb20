"""What receipts cost clients and auditors: ``python -m benchmarks.receipts``.

A private linear model of 30 numbers at a real server on loopback, asked for single records and for
batches; then its trail is exported, and verified offline with and without the proofs; then BLS
signatures.  Medians.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import blindproof
from audit.bls import BlsSigningKey, verify_aggregate
from audit.signed_note import NoteKey
from blindproof.auditing.expectations import Expectations
from blindproof.auditing.verification import verify_export

SINGLES, BATCHES = 60, 30
BATCH_RECORDS = 500
BLS_RUNS = 3


def milliseconds(work: Callable[[], object], runs: int) -> str:
    """The median of some runs."""
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return f"{1000 * median(taken):.1f}"


def predictions(server: blindproof.LocalServer, table: Table) -> None:
    """Whole predictions, receipts included."""
    columns, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(columns, labels)
    card = server.publish(blindproof.compile(fitted, columns))
    for packing, records, runs in (("single", 1, SINGLES), ("batch", BATCH_RECORDS, BATCHES)):
        model, asked = server.model(card, packing=packing), columns.head(records)
        model.predict(asked)
        taken = milliseconds(partial(model.predict, asked), runs)
        table.add_row(f"VerifiedModel.predict, {packing}", taken)


def audit(server: blindproof.LocalServer, home: Path, table: Table) -> None:
    """Export and verification of all that was asked before."""
    file, key = home / "trail.zip", NoteKey.decoded(server.log_key)
    table.add_row("export of the whole trail", milliseconds(lambda: server.export_audit(file), 1))
    table.add_row("    its megabytes", f"{file.stat().st_size / 1e6:.1f}")
    for name, proofs in (("verified", True), ("verified without proofs", False)):
        expected = Expectations(key, int(time.time()), proofs=proofs)
        with file.open("rb") as stream:
            table.add_row(name, milliseconds(partial(verify_export, stream, expected), 1))


def signatures(table: Table) -> None:
    """BLS signatures, and the verification of an aggregate of one."""
    key, message = BlsSigningKey.generate(), b"a checkpoint"
    proven, signature = key.proven(), key.sign(message)
    verify_aggregate([proven], signature, message)
    table.add_row("BLS: sign", milliseconds(lambda: key.sign(message), BLS_RUNS))
    table.add_row(
        "BLS: verify",
        milliseconds(lambda: verify_aggregate([proven], signature, message), BLS_RUNS),
    )


def main() -> None:
    """Print the table."""
    table = Table("", "ms", title=f"{SINGLES} single records, {BATCHES} batches")
    with tempfile.TemporaryDirectory() as home, blindproof.LocalServer() as server:
        predictions(server, table)
        audit(server, Path(home), table)
    signatures(table)
    Console().print(table)


if __name__ == "__main__":
    main()
