from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from server import stages
from server.stages import StageClock


class Clock:
    def __init__(self, *readings: float) -> None:
        self._readings = iter(readings)

    def perf_counter(self) -> float:
        return next(self._readings)


def test_stages_are_timed_by_name(monkeypatch):
    monkeypatch.setattr(stages, "time", Clock(1.0, 1.5, 2.0, 2.25))
    clock = StageClock()
    with clock.stage("evaluate"):
        pass
    with clock.stage("prove"):
        pass
    assert clock.timings.evaluate == 0.5
    assert clock.timings.prove == 0.25
    assert clock.timings.sanitise == 0.0


def test_only_long_stages_are_logged(monkeypatch):
    monkeypatch.setattr(stages, "time", Clock(0.0, 1.9, 2.0, 4.5))
    clock = StageClock({"prove": 1.5}, model="m")
    with capture_logs() as logs:
        for name in ("evaluate", "prove"):
            with clock.stage(name):
                pass
    assert logs == [
        {
            "event": "long stage ends",
            "log_level": "info",
            "model": "m",
            "stage": "prove",
            "predicted_seconds": 1.5,
            "seconds": 2.5,
        }
    ]


def test_a_stage_that_will_be_long_is_announced(monkeypatch):
    monkeypatch.setattr(stages, "time", Clock(0.0, 1.0))
    with capture_logs() as logs, StageClock({"prove": 20.0}).stage("prove"):
        assert [line["event"] for line in logs] == ["long stage begins"]
    assert [line["event"] for line in logs] == ["long stage begins", "long stage ends"]
    assert {line["predicted_seconds"] for line in logs} == {20.0}


def test_a_stage_that_fails_is_timed_too(monkeypatch):
    monkeypatch.setattr(stages, "time", Clock(0.0, 3.0))
    clock = StageClock()
    with capture_logs() as logs, pytest.raises(KeyError), clock.stage("prove"):
        raise KeyError
    assert logs[0]["seconds"] == 3.0
