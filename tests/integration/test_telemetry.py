"""What a real server tells its operators: metrics, traces, lines, and `blindproof top` of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry import trace
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from blindproof.cli import app
from blindproof.loopback import _environment
from client_sdk import Client, KeyStore
from protocol.errors import BlindproofError
from server.settings import ServerSettings
from server.telemetry import catalogue
from tests.faults.collector import Collector, collecting, fetched, free_address
from tests.integration.conftest import PASSPHRASE, World
from tests.integration.example_models import records

TRACE = 0x0AF7651916CD43DD8448EB211C80319C
SPAN = trace.NonRecordingSpan(
    trace.SpanContext(TRACE, 0xB7AD6B7169203331, is_remote=False, trace_flags=trace.TraceFlags(1))
)
INFER = "blindproof.v1.InferenceService/Infer"
ANSWERS = 2
PANEL_METRIC = re.compile(r"\b(?:blindproof|process)_[a-z_]+")


@dataclass
class Observed:
    """A server that has answered and refused, and all that it told.

    Attributes:
        address: of its endpoint, which still answers.
        metrics: what that said.
        collector: has its traces.
        lines: of its log.
    """

    address: str
    metrics: str
    collector: Collector
    lines: list[str]


def started(settings: ServerSettings, log: Path) -> subprocess.Popen:
    """A server in a process of its own, its lines in a file."""
    assert settings.address_file is not None
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server"], env=_environment(settings), stdout=output
        )
    while not settings.address_file.exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.fixture(scope="module")
def observed(world: World, tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("observed")
    with collecting() as collector:
        settings = world.settings.model_copy(
            update={
                "state": home / "state",
                "address_file": home / "address",
                "metrics": free_address(),
                "traces": collector.url,
            }
        )
        process = started(settings, home / "log")
        try:
            address = (home / "address").read_text()
            keys = KeyStore(home / "keys", passphrase=PASSPHRASE)
            arguments = {"keys": keys, "ca": world.ca}
            arguments["model"] = world.models["private"].digest
            with (
                trace.use_span(SPAN),
                Client(address, **arguments) as client,
                Client(address, tenant="another", **arguments) as stranger,
            ):
                for _ in range(ANSWERS):
                    client.predict(records(1))
                with pytest.raises(BlindproofError, match="identity-refused"):
                    stranger.predict(records(1))
            collector.await_spans(INFER, ANSWERS + 1)
            metrics = fetched(settings.metrics).decode()
            yield Observed(
                settings.metrics, metrics, collector, (home / "log").read_text().splitlines()
            )
        finally:
            process.terminate()
            process.wait()


def value(text: str, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_calls_receipts_and_stages_are_in_the_metrics(observed: Observed):
    text = observed.metrics
    assert value(text, "blindproof_calls_total", method="Infer", reason="ok") == ANSWERS
    assert value(text, "blindproof_calls_total", method="Infer", reason="identity-refused") == 1
    answered = {"tenant": "default", "action": "predict", "outcome": "answered"}
    assert value(text, "blindproof_receipts_total", **answered) == ANSWERS
    assert value(text, "blindproof_log_entries", tenant="default") == ANSWERS + 2  # and a key
    for stage in ("expand", "evaluate", "sanitise", "prove"):
        name = "blindproof_stage_duration_seconds_count"
        assert value(text, name, stage=stage) == ANSWERS
    assert value(text, "blindproof_queue_wait_seconds_count") >= ANSWERS
    assert value(text, "blindproof_places_limit") == 64
    assert value(text, "blindproof_places_used") == 0
    assert value(text, "blindproof_memory_limit_bytes") == 4 << 30
    assert 0 < value(text, "blindproof_certificate_expiry_days", certificate="server") < 4000
    assert value(text, "blindproof_configuration_refused") == 0
    assert value(text, "blindproof_workers") >= 1
    assert value(text, "blindproof_worker_memory_bytes") > 1 << 20
    assert value(text, "process_resident_memory_bytes") > 1 << 20


def test_every_metric_of_the_catalogue_is_exported(observed: Observed):
    exported = set(re.findall(r"^# TYPE (\S+)", observed.metrics, re.MULTILINE))
    assert {metric.exported for metric in catalogue.METRICS} <= exported


def test_the_dashboard_and_the_alerts_ask_for_what_is_exported(
    observed: Observed, repository_root: Path
):
    names = set(re.findall(r"^([a-z_]+)[{ ]", observed.metrics, re.MULTILINE))
    dashboard = json.loads((repository_root / "deploy/grafana/blindproof.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
        for name in PANEL_METRIC.findall(target["expr"])
    }
    alerts = (repository_root / "deploy/prometheus/alerts.yml").read_text()
    alerted = {
        name
        for line in alerts.splitlines()
        if line.strip().startswith("expr:")
        for name in PANEL_METRIC.findall(line)
    }
    assert len(asked) > 20
    assert len(alerted) > 5
    assert asked | alerted <= names


def test_answers_continue_the_clients_trace_and_say_how_long_each_part_took(observed: Observed):
    spans = observed.collector.spans
    answers = [span for span in spans if span.name == INFER]
    assert {int.from_bytes(span.trace_id) for span in spans} == {TRACE}
    assert len(answers) == ANSWERS + 1
    for answer in answers[:ANSWERS]:
        parts = {span.name for span in spans if span.parent_span_id == answer.span_id}
        assert parts >= {"wait", "receive", "work", "release"}
    work = next(span for span in spans if span.name == "work")
    assert {attribute.key for attribute in work.attributes} >= {"blindproof.prove.seconds"}


def test_every_line_is_json_with_time_level_and_event(observed: Observed):
    lines = [json.loads(line) for line in observed.lines]
    assert lines
    for line in lines:
        assert {"time", "level", "event"} <= line.keys()
    (refused,) = (line for line in lines if line["event"] == "call refused")
    assert refused["trace_id"] == f"{TRACE:032x}"


def test_top_shows_a_real_server_once_without_a_terminal(observed: Observed):
    shown = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["top", observed.address])
    assert shown.exit_code == 0, shown.output
    for words in ("ready", "Infer", "identity-refused", "prove", "default", "places"):
        assert words in shown.output


def test_top_says_when_there_is_nothing_to_see():
    shown = CliRunner().invoke(app, ["top", free_address()])
    assert shown.exit_code == 2
    assert "does a server run there" in " ".join(shown.stderr.split())


def test_a_server_is_alive_and_ready(observed: Observed):
    assert fetched(observed.address, "/healthz") == b"alive\n"
    assert fetched(observed.address, "/readyz") == b"ready\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetched(observed.address, "/")


def test_without_a_setting_the_sdk_is_not_loaded():
    """Nor with any import of the server: telemetry that nobody asks for costs nothing."""
    script = (
        "import sys, server.main\n"
        "loaded = [n for n in sys.modules if n.startswith(('opentelemetry.sdk', "
        "'opentelemetry.exporter', 'prometheus_client', 'requests'))]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
