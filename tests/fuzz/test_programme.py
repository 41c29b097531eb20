"""A short attack on everything a server listens to; `tests.fuzz.programme` is the long one."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from random import Random

import httpx
import pytest

from tests.fuzz import malformed
from tests.fuzz.outcomes import Tally
from tests.fuzz.programme import attack
from tests.fuzz.routes import JSON, Answer, Route, RouteFuzz, Sent, routes_of
from tests.fuzz.target import Target, target
from wire import rpc
from wire.rpc import Reason

MESSAGES = 25


@pytest.fixture(scope="module")
def attacked(tmp_path_factory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("attacked")) as running:
        yield running


def test_malformed_messages_are_refused_by_type_and_the_next_client_is_served(attacked):
    report = attack(attacked, MESSAGES, seed=6)
    assert report.failures == []
    assert {tally.total for tally in report.tallies} == {MESSAGES}
    assert report.log.startswith("ok      log:")


def test_every_procedure_and_every_route_is_attacked(attacked):
    assert {*attacked.valid, rpc.INFER} == set(rpc.METHODS)
    context = ssl.create_default_context(cafile=attacked.ca)
    context.load_cert_chain(*attacked.certificate)
    with httpx.Client(base_url=f"https://{attacked.gateway}", verify=context) as client:
        paths = client.get("/openapi.json").json()["paths"]
    described = {
        (
            method.upper(),
            "/".join("{}" if part.startswith("{") else part for part in path.split("/")),
        )
        for path, operations in paths.items()
        for method in operations
    }
    assert {(route.method, route.path) for route in routes_of(attacked)} == described


@pytest.mark.parametrize(
    ("status", "reason", "allowed"),
    [
        ("OK", None, True),
        ("INVALID_ARGUMENT", "malformed", True),
        ("INVALID_ARGUMENT", "unheard-of", False),
        ("INTERNAL", "internal", False),
        ("UNAVAILABLE", Reason.WORKER_LOST, False),
        ("UNAVAILABLE", Reason.AUDIT_UNAVAILABLE, False),
    ],
)
def test_reasons_which_no_peer_may_cause_are_failures(status, reason, allowed):
    tally = Tally("x")
    tally.add(status, reason, allowed=True)
    assert (tally.failures == []) == allowed
    tally.add(status, reason, allowed=False)
    assert len(tally.failures) == 2 - allowed


@pytest.mark.parametrize(
    ("answer", "framed", "allowed"),
    [
        (None, True, False),
        (None, False, True),
        (Answer(500, "text/plain", b"Internal Server Error"), True, False),
        (Answer(500, "application/problem+json", b'{"status": 500}'), True, False),
        (
            Answer(503, "application/problem+json", b'{"status":503,"reason":"internal"}'),
            True,
            False,
        ),
        (Answer(400, "text/plain", b"no"), True, False),
        (Answer(400, "text/plain", b"no"), False, True),
        (Answer(404, "application/problem+json", b'{"status": 400}'), True, False),
        (Answer(404, "application/problem+json", b'{"status": 404}'), True, True),
        (Answer(200, JSON, b"{}"), True, True),
    ],
)
def test_answers_that_no_request_may_get_are_failures(answer, framed, allowed):
    fuzz = RouteFuzz(None, Route("GET", "/x"), 0)
    fuzz._judge(Sent("GET", "/x", (), b"", framed), answer)
    assert (fuzz.tally.failures == []) == allowed


def test_attacks_are_reproducible_and_varied():
    valid = [b"head", bytes(500), bytes(20)]
    streams = [[malformed.stream(valid, Random(seed)) for _ in range(1)] for seed in range(200)]
    again = [[malformed.stream(valid, Random(seed)) for _ in range(1)] for seed in range(200)]
    assert streams == again
    assert len({json.dumps([m.hex()[:80] for m in one[0]]) for one in streams}) > 100
