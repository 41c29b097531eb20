"""The gateway keeps what its own description says, whatever is made up from it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from blindproof.loopback import server_thread
from server.gateway import gateway_app
from server.gateway.openapi import describe
from tests.integration.conftest import World

schemathesis = pytest.importorskip("schemathesis")

SAYS_LESS = {"positive_data_acceptance"}
"""The description says the form of bodies: whether a request makes sense, it cannot."""
EXAMPLES = 10


@pytest.fixture(scope="module")
def gateway(world: World, tmp_path_factory) -> Iterator[str]:
    with socket.create_server(("localhost", 0)) as listening:
        address = f"localhost:{listening.getsockname()[1]}"
    state = tmp_path_factory.mktemp("schema") / "state"
    changed = {"state": state, "gateway": address, "header_seconds": 2.0, "idle_seconds": 2.0}
    with server_thread(world.settings.model_copy(update=changed)):
        yield f"https://{address}"


schema = schemathesis.openapi.from_dict(describe(gateway_app({}, lambda: 1.0)))


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_requests_made_up_from_the_description_get_what_it_says(case, gateway, world):
    checks = schemathesis.checks.CHECKS.get_all()
    excluded = [check for check in checks if check.__name__ in SAYS_LESS]
    assert len(excluded) == len(SAYS_LESS)
    case.call_and_validate(base_url=gateway, verify=str(world.ca), excluded_checks=excluded)


def test_the_description_served_is_this_one(gateway, world):
    import requests

    served = requests.get(f"{gateway}/openapi.json", verify=str(world.ca), timeout=30)
    assert served.json() == schema.raw_schema
