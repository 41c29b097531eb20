"""What a server does, from its metrics, as tables for whoever operates it."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from blindproof.scrape import Change
from blindproof.tables import milliseconds, new_table, plain, size

_STAGES = ("expand", "evaluate", "sanitise", "prove")
_OUTCOMES = ("answered", "denied", "failed")


def load_view(change: Change) -> Group:
    """Everything, for a terminal of eighty columns."""
    tables = (_calls(change), _refusals(change), _capacity(change), _stages(change), _trail(change))
    return Group(_headline(change), *(table for table in tables if table.row_count))


def _headline(change: Change) -> Text:
    now = change.now
    line = Text()
    line.append(
        "ready" if now.ready else "not ready", style="bold green" if now.ready else "bold red"
    )
    cores = change.rate("process_cpu_seconds_total")
    parts = [
        *(f"version {version}" for version in now.by("target_info", "service_version")),
        size(int(now.total("process_resident_memory_bytes"))),
        f"{cores:.2f} cores",
    ]
    for name, days in now.by("blindproof_certificate_expiry_days", "certificate").items():
        parts.append(f"{name} certificate: {days:.0f} days")
    line.append_text(plain("".join(f" | {part}" for part in parts)))
    return line


def _calls(change: Change) -> Table:
    table = new_table(_since(change), "calls", "active", "ended", "a second", "p50", "p99")
    active = change.now.by("blindproof_calls_active", "method")
    seconds = "blindproof_call_duration_seconds"
    for method in sorted(active):
        ended = change.count("blindproof_calls_total", method=method)
        if not ended and not active[method]:
            continue
        table.add_row(
            method,
            f"{active[method]:.0f}",
            f"{ended:.0f}",
            f"{change.rate('blindproof_calls_total', method=method):.2f}",
            *(_time(change.quantile(share, seconds, method=method)) for share in (0.5, 0.99)),
        )
    return table


def _refusals(change: Change) -> Table:
    table = new_table("", "not answered", "calls", "a second")
    name = "blindproof_calls_total"
    for reason in sorted(change.now.by(name, "reason")):
        count = change.count(name, reason=reason)
        if reason != "ok" and count:
            table.add_row(reason, f"{count:.0f}", f"{change.rate(name, reason=reason):.2f}")
    return table


def _capacity(change: Change) -> Table:
    now = change.now
    table = new_table("", "capacity", "in use", "limit")
    for label, used, limit, show in (
        ("places", "blindproof_places_used", "blindproof_places_limit", _number),
        ("memory", "blindproof_memory_reserved_bytes", "blindproof_memory_limit_bytes", _bytes),
        ("waiting for a place", "blindproof_queue_depth", "", _number),
        ("uploads parked", "blindproof_uploads_parked", "", _number),
        ("bytes parked", "blindproof_uploads_parked_size_bytes", "", _bytes),
        ("memory of workers", "blindproof_worker_memory_bytes", "", _bytes),
        ("works waiting", "blindproof_works_waiting", "", _number),
        ("workers ended", "blindproof_workers_ended_total", "", _number),
    ):
        if now.has(used):
            table.add_row(label, show(now.total(used)), show(now.total(limit)) if limit else "")
    for state, count in sorted(now.by("blindproof_workers", "state").items()):
        table.add_row(f"workers, {state}", _number(count), "")
    waited = change.quantile(0.99, "blindproof_queue_wait_seconds")
    if waited is not None:
        table.add_row("p99 of the wait", _time(waited), "")
    return table


def _stages(change: Change) -> Table:
    table = new_table("", "work on answers", "mean", "p99")
    name = "blindproof_stage_duration_seconds"
    for stage in _STAGES:
        mean = change.mean(name, stage=stage)
        if mean is not None:
            table.add_row(stage, _time(mean), _time(change.quantile(0.99, name, stage=stage)))
    return table


def _trail(change: Change) -> Table:
    now = change.now
    table = new_table("", "receipts", "entries", *_OUTCOMES, "waiting", "missed")
    for tenant, entries in sorted(now.by("blindproof_log_entries", "tenant").items()):
        counts = (
            change.count("blindproof_receipts_total", tenant=tenant, outcome=outcome)
            for outcome in _OUTCOMES
        )
        table.add_row(
            tenant,
            _number(entries),
            *map(_number, counts),
            _number(now.total("blindproof_receipts_waiting", tenant=tenant)),
            _number(change.count("blindproof_receipts_missed_total", tenant=tenant)),
        )
    table.caption = plain(_commits(change))
    return table


def _commits(change: Change) -> str:
    batch = change.mean("blindproof_commit_receipts")
    seconds = change.quantile(0.99, "blindproof_commit_duration_seconds")
    if batch is None:
        return "no commit"
    return f"{batch:.1f} receipts a commit, p99 {_time(seconds)}"


def _since(change: Change) -> str:
    return f"in {change.seconds:,.0f} seconds"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _bytes(value: float) -> str:
    return size(int(value))


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return milliseconds(seconds) if seconds < 1 else f"{seconds:.1f} s"
