from __future__ import annotations

import platform
from pathlib import Path
from random import Random

from audit.keys import SigningKey
from benchmarks import audit_log, ezkl_peer
from benchmarks.measuring import machine


def test_figures_say_what_kind_of_machine_they_belong_to_and_not_which():
    described = machine(runs=7)
    peers = {"ezkl"} if ezkl_peer.installed() else set()
    assert {key.removeprefix("machine.") for key in described} == {
        "architecture",
        "cpus",
        "memory_gib",
        "numpy",
        "python",
        "runs",
        "tenseal",
    } | peers
    assert described["machine.runs"] == 7
    assert described["machine.cpus"] >= 1
    assert described["machine.memory_gib"] > 0
    assert described["machine.python"] == platform.python_version()


# Whole numbers of a busy machine: the best of some attempts, because others may delay one of them.
ATTEMPTS = 3
CALLERS = 32
RECEIPTS_PER_SECOND = 500
ENTRIES = 20_000
PROOF_MS = 5.0


def test_the_recorder_makes_many_callers_receipts_durable_quickly(tmp_path: Path):
    key = SigningKey.generate()
    rates = []
    while len(rates) < ATTEMPTS and max(rates, default=0) < RECEIPTS_PER_SECOND:
        (tmp_path / str(len(rates))).mkdir()
        directory = tmp_path / str(len(rates))
        rates.append(audit_log.recorded_rate(directory, CALLERS, key, seconds=1.0))
    assert max(rates) >= RECEIPTS_PER_SECOND


def test_receipts_with_objects_are_recorded_as_well(tmp_path: Path):
    key = SigningKey.generate()
    rate = audit_log.recorded_rate(tmp_path, 4, key, object_bytes=(1000, 500), seconds=0.2)
    assert rate > 0
    assert sum(path.is_file() for path in tmp_path.rglob("*")) > 4


def test_inclusion_in_a_large_log_is_proved_quickly(tmp_path: Path):
    log = audit_log.filled_log(tmp_path / "large.db", ENTRIES, SigningKey.generate())
    assert log.head().size == ENTRIES
    random = Random(1)
    times = []
    while len(times) < ATTEMPTS and min(times, default=PROOF_MS) >= PROOF_MS:
        times.append(
            audit_log.median_ms(lambda: log.inclusion_proof(random.randrange(ENTRIES)), calls=100)
        )
    assert min(times) < PROOF_MS
