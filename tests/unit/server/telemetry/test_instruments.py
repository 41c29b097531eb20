"""What is told of calls and commits, read back as Prometheus and collectors read it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id, get_current_span
from prometheus_client.parser import text_string_to_metric_families

from server.telemetry import Telemetry, catalogue, silent
from server.telemetry.exporters import prometheus
from server.telemetry.log_lines import add_trace_id
from wire import rpc
from wire.inference import ServerTimings

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{PARENT}-01")


class Told:
    """Telemetry, and what became of it."""

    def __init__(self):
        self.spans = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.measuring = prometheus()
        self.telemetry = Telemetry(
            self.measuring.meter, provider.get_tracer("test"), [rpc.INFER, rpc.GET_LOG]
        )

    @property
    def text(self):
        self.telemetry.read()
        return self.measuring.page().body.decode()

    def value(self, name, **labels):
        found = [
            sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        return found[0] if found else None


@pytest.fixture
def told():
    made = Told()
    yield made
    made.measuring.close()


def test_calls_are_counted_by_tenant_method_and_reason(told):
    with told.telemetry.call(rpc.INFER) as call:
        call.tenant = "clinic"
        assert told.value("blindproof_calls_active", method="Infer") == 1
    for _ in range(2):
        with told.telemetry.call(rpc.INFER) as call:
            call.tenant, call.reason = "clinic", rpc.Reason.BUSY
    counted = {"tenant": "clinic", "method": "Infer"}
    assert told.value("blindproof_calls_total", **counted, reason="ok") == 1
    assert told.value("blindproof_calls_total", **counted, reason="busy") == 2
    assert told.value("blindproof_calls_active", method="Infer") == 0
    assert told.value("blindproof_call_duration_seconds_count", method="Infer") == 3


def test_every_method_is_counted_from_zero(told):
    for method in ("Infer", "GetLog"):
        counted = {"tenant": "", "method": method, "reason": "ok"}
        assert told.value("blindproof_calls_total", **counted) == 0
        assert told.value("blindproof_calls_active", method=method) == 0


def test_a_cancelled_call_is_counted_as_such(told):
    with pytest.raises(asyncio.CancelledError), told.telemetry.call(rpc.INFER):
        raise asyncio.CancelledError
    counted = {"tenant": "", "method": "Infer", "reason": "cancelled"}
    assert told.value("blindproof_calls_total", **counted) == 1


def test_a_used_up_quota_is_counted_by_tenant(told):
    with told.telemetry.call(rpc.INFER) as call:
        call.tenant, call.reason = "clinic", rpc.Reason.QUOTA_EXHAUSTED
    assert told.value("blindproof_quota_refusals_total", tenant="clinic") == 1


def test_a_commit_is_measured_and_its_receipts_counted(told):
    def receipt(outcome):
        return SimpleNamespace(tenant="clinic", action="predict", outcome=outcome)

    told.telemetry.committed([receipt("answered"), receipt("answered"), receipt("denied")], 0.25)
    counted = {"tenant": "clinic", "action": "predict"}
    assert told.value("blindproof_receipts_total", **counted, outcome="answered") == 2
    assert told.value("blindproof_receipts_total", **counted, outcome="denied") == 1
    assert told.value("blindproof_commit_receipts_sum") == 3
    assert told.value("blindproof_commit_receipts_bucket", le="2.0") == 0
    assert told.value("blindproof_commit_receipts_bucket", le="4.0") == 1
    assert told.value("blindproof_commit_duration_seconds_sum") == 0.25


def test_stages_are_measured_and_those_that_did_not_happen_are_not(told):
    with told.telemetry.span("compute") as span:
        told.telemetry.stages(ServerTimings(evaluate=0.5, prove=2.0), span)
    assert told.value("blindproof_stage_duration_seconds_sum", stage="prove") == 2.0
    assert told.value("blindproof_stage_duration_seconds_count", stage="sanitise") is None
    (span,) = told.spans.get_finished_spans()
    assert span.attributes == {
        "blindproof.evaluate.seconds": 0.5,
        "blindproof.prove.seconds": 2.0,
    }


def test_watched_values_are_read_when_asked_for_and_summed(told):
    workers = {"idle": 2}
    told.telemetry.watch(catalogue.WORKERS, lambda: workers)
    end = told.telemetry.watch(catalogue.WORKERS, lambda: {"idle": 1, "busy": 3})
    told.telemetry.watch(catalogue.WORKERS_ENDED, lambda: {"lost": 7})
    assert told.value("blindproof_workers", state="idle") == 3
    assert told.value("blindproof_workers", state="busy") == 3
    assert told.value("blindproof_workers_ended_total", cause="lost") == 7
    workers["idle"] = 0
    end()
    assert told.value("blindproof_workers", state="idle") == 0
    assert told.value("blindproof_workers", state="busy") is None


def test_every_metric_is_exported_under_the_name_that_the_catalogue_gives(told):
    telemetry = told.telemetry
    for metric in (*catalogue.GAUGES, *catalogue.WATCHED_COUNTERS):
        telemetry.watch(metric, lambda: 1)
    telemetry.committed([SimpleNamespace(tenant="", action="", outcome="")], 1.0)
    telemetry.missed("clinic")
    with telemetry.call(rpc.INFER) as call, telemetry.waiting():
        call.reason = rpc.Reason.QUOTA_EXHAUSTED
        telemetry.stages(ServerTimings(prove=1.0), call.span)
    lines = {line.partition("{")[0].partition(" ")[0] for line in told.text.splitlines()}
    for metric in catalogue.METRICS:
        histogram = isinstance(metric, catalogue.Histogram)
        assert (f"{metric.exported}_bucket" if histogram else metric.exported) in lines


def test_labels_are_those_of_the_catalogue(told):
    """Whoever adds one there has to think of its values, which must be few and nobody's."""
    assert {label for metric in catalogue.METRICS for label in metric.labels} == {
        "tenant", "method", "reason", "state", "cause", "stage", "action", "outcome", "certificate",
    }  # fmt: skip


def test_memory_of_the_process_is_told(told):
    assert told.value("process_resident_memory_bytes") > 1 << 20


def test_a_call_continues_the_trace_of_its_client(told):
    with told.telemetry.call(rpc.INFER, [TRACEPARENT]) as call:
        call.tenant = "clinic"
        with told.telemetry.span("receive"):
            pass
    inner, outer = told.spans.get_finished_spans()
    assert outer.name == "blindproof.v1.InferenceService/Infer"
    assert {format_trace_id(span.context.trace_id) for span in (inner, outer)} == {TRACE}
    assert format_span_id(outer.parent.span_id) == PARENT
    assert inner.parent.span_id == outer.context.span_id
    assert outer.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "blindproof.v1.InferenceService",
        "rpc.method": "Infer",
        "blindproof.tenant": "clinic",
        "blindproof.reason": "ok",
    }


@pytest.mark.parametrize(
    "value",
    ["", "00", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", "Wilhelmina", "é" * 60],
)
def test_a_call_without_a_proper_traceparent_begins_a_trace(told, value):
    with told.telemetry.call(rpc.INFER, [("traceparent", value)]):
        pass
    (span,) = told.spans.get_finished_spans()
    assert span.parent is None


def test_free_text_of_a_peer_does_not_travel_with_the_trace(told):
    metadata = [TRACEPARENT, ("tracestate", "vendor=Wilhelmina"), ("baggage", "name=Wilhelmina")]
    with told.telemetry.call(rpc.INFER, metadata):
        pass
    (span,) = told.spans.get_finished_spans()
    assert len(span.context.trace_state) == 0
    assert "Wilhelmina" not in span.to_json()


def test_of_a_failure_a_span_says_that_it_happened_and_none_of_its_words(told):
    with (
        pytest.raises(ValueError, match="Wilhelmina"),
        told.telemetry.call(rpc.INFER),
        told.telemetry.span("compute"),
    ):
        raise ValueError("Wilhelmina")
    for span in told.spans.get_finished_spans():
        assert span.status.status_code is StatusCode.ERROR
        assert "Wilhelmina" not in span.to_json()


def test_a_refused_call_is_an_error_in_its_trace(told):
    with told.telemetry.call(rpc.INFER) as call:
        call.reason = rpc.Reason.KEY_UNFIT
    (span,) = told.spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["blindproof.reason"] == "key-unfit"


def test_lines_name_the_clients_trace_even_if_nothing_is_exported():
    assert add_trace_id(None, "info", {"event": "one"}) == {"event": "one"}
    with silent().call(rpc.INFER, [TRACEPARENT]):
        assert add_trace_id(None, "info", {"event": "one"})["trace_id"] == TRACE
    assert not get_current_span().get_span_context().is_valid


def test_servers_share_nothing():
    one, other = Told(), Told()
    try:
        with one.telemetry.call(rpc.INFER):
            pass
        counted = {"tenant": "", "method": "Infer", "reason": "ok"}
        assert one.value("blindproof_calls_total", **counted) == 1
        assert other.value("blindproof_calls_total", **counted) == 0
    finally:
        one.measuring.close()
        other.measuring.close()


def test_every_method_of_the_wire_is_among_them():
    named = {value for value in vars(rpc).values() if isinstance(value, rpc.Method)}
    assert set(rpc.METHODS) == named
    assert len({method.name for method in named}) == len(named)  # a label for each


def test_every_metric_is_in_the_document(repository_root):
    text = (repository_root / "docs/observability.md").read_text()
    for metric in catalogue.METRICS:
        assert f"| `{metric.exported}` | {', '.join(metric.labels)} |" in text
