"""The paper estimate: its arithmetic, and that the guide quotes it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.capacity import Assumptions, estimate, markdown, read_figures, write

FIGURES = {
    "machine.cpus": 2.0,
    "case.records": 1.0,
    "case.expand_s": 0.1,
    "case.evaluate_s": 0.2,
    "case.prove_s": 0.7,
    "case.encrypt_s": 0.1,
    "case.verify_s": 0.2,
    "case.decrypt_s": 0.1,
    "case.request_bytes": 1e6,
    "case.response_bytes": 3e6,
}
ROUND = Assumptions(
    predictions=86_400,
    peak=2.0,
    utilisation=0.5,
    machine_cores=4,
    archive_days=10.0,
    log_days=100.0,
    receipt_seconds=1.0,
    receipt_bytes=1000.0,
    core_hour=0.1,
    object_gb=0.01,
    object_puts=10.0,
    database_gb=0.1,
    transfer_gb=0.5,
)


def test_it_counts_as_one_does_on_paper():
    found = estimate("a case", "case", FIGURES, ROUND)
    assert found.core_seconds == pytest.approx(2 * 1.0 + 1.0)
    assert found.client_core_seconds == pytest.approx(2 * 0.5)
    assert found.peak_rate == pytest.approx(2.0)
    assert found.machines == 3  # 2 / s * 3 core-seconds / 0.5 = 12 cores
    assert found.client_cores == pytest.approx(4.0)
    assert found.archive_tb == pytest.approx(86_400 * 10 * 4e6 / 1e12)
    assert found.database_gb == pytest.approx(86_400 * 100 * 1000 / 1e9)
    servers, objects, database, transfer = found.monthly
    assert servers == pytest.approx(12 * 730 * 0.1)
    assert objects == pytest.approx(3456 * 0.01 + 2 * 86_400 * 30.4 / 1e6 * 10)
    assert database == pytest.approx(8.64 * 0.1)
    assert transfer == pytest.approx(86_400 * 30.4 * 3e6 / 1e9 * 0.5)


def test_a_batch_divides_the_requests_and_one_server_is_never_enough():
    batch = estimate("batch", "case", {**FIGURES, "case.records": 1000.0}, ROUND)
    assert batch.peak_rate == pytest.approx(0.002)
    assert batch.machines == 2
    assert estimate("one", "case", {**FIGURES, "case.records": 9.0}, ROUND, 1.0).peak_rate == 2.0


def test_the_table_is_written_between_its_comments(tmp_path: Path):
    document = tmp_path / "guide.md"
    begin, end = (
        "<!-- table: written by `python -m benchmarks.capacity --write` -->",
        "<!-- end -->",
    )
    document.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    write("| new |", document)
    write("| new |", document)
    assert document.read_text() == f"before\n{begin}\n\n| new |\n\n{end}\nafter\n"


def test_the_guide_quotes_the_present_figures(repository_root: Path):
    """After `make bench`: python -m benchmarks.capacity --write."""
    guide = (repository_root / "docs" / "operations.md").read_text()
    assert markdown(read_figures(), Assumptions()) in guide
