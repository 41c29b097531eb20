from __future__ import annotations

import platform

from benchmarks import ezkl_peer
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
