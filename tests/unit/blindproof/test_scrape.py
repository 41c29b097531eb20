"""Rates and quantiles of metrics, and what `blindproof top` makes of them."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from blindproof.load_view import load_view
from blindproof.scrape import Change, Scrape, ScrapeError, scrape
from tests.faults.collector import collecting

SECONDS = "blindproof_call_duration_seconds"


def at(moment, ready=True, **samples):
    return Scrape(moment, ready, samples)


def test_a_counter_becomes_a_rate():
    before = at(10.0, calls=[({"method": "a"}, 5.0), ({"method": "b"}, 1.0)])
    now = at(12.0, calls=[({"method": "a"}, 9.0), ({"method": "b"}, 2.0)])
    change = Change(now, before)
    assert change.count("calls", method="a") == 4
    assert change.rate("calls") == 2.5
    assert now.by("calls", "method") == {"a": 9.0, "b": 2.0}
    assert change.rate("others") == 0


def test_a_server_that_began_anew_is_counted_from_zero():
    assert Change(at(2.0, calls=[({}, 3.0)]), at(1.0, calls=[({}, 50.0)])).count("calls") == 3


def test_without_an_earlier_scrape_rates_are_since_the_start():
    change = Change(
        at(5.0, calls=[({}, 50.0)], process_start_time_seconds=[({}, time.time() - 10)])
    )
    assert change.rate("calls") == pytest.approx(5.0, rel=0.01)


def histogram(*counts):
    bounds = ("0.1", "1.0", "2.0", "+Inf")
    return [({"le": bound}, float(count)) for bound, count in zip(bounds, counts, strict=True)]


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.1, 0.1), (0.5, 0.55), (0.9, 1.0), (0.945, 1.5), (0.99, 2.0), (0.999, 2.0)],
)
def test_a_quantile_is_read_between_the_bounds(share, value):
    change = Change(at(1.0, s_bucket=histogram(100, 900, 990, 1000)))
    assert change.quantile(share, "s") == pytest.approx(value)


def test_only_what_happened_meanwhile_is_in_a_quantile():
    before = at(1.0, s_bucket=histogram(100, 100, 100, 100))
    change = Change(at(2.0, s_bucket=histogram(100, 100, 110, 110)), before)
    assert change.quantile(0.5, "s") == pytest.approx(1.5)
    assert Change(before, before).quantile(0.5, "s") is None
    assert Change(at(1.0)).quantile(0.5, "s") is None


def test_names_of_tenants_are_shown_as_text():
    """They are the operator's, and still no markup."""
    now = at(
        1.0,
        ready=False,
        blindproof_log_entries=[({"tenant": "[red]clinic"}, 12.0)],
        process_start_time_seconds=[({}, time.time() - 10)],
    )
    shown = io.StringIO()
    Console(file=shown, width=80).print(load_view(Change(now)))
    assert "not ready" in shown.getvalue()
    assert "[red]clinic" in shown.getvalue()


def test_something_else_that_answers_is_refused():
    with collecting() as other, pytest.raises(ScrapeError, match="answers 501"):
        scrape(other.url.split("/")[2])
