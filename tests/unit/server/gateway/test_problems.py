from __future__ import annotations

import grpc
import pytest

from server.calls import _metadata
from server.gateway.problems import STATUS, Problem, aborted
from server.refusals import Refusal
from wire.rpc import Reason

SERVERS_FAULT = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
}
SAME = {
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_status_like_that_of_grpc(reason):
    code = Refusal(reason, "").status
    assert STATUS[reason] == SAME.get(code, STATUS[reason])
    if reason is not Reason.QUOTA_EXHAUSTED:  # the client's own doing
        assert (STATUS[reason] >= 500) == (code in SERVERS_FAULT)


@pytest.mark.parametrize("seconds", [None, 0.001, 3.0])
def test_what_a_procedure_says_when_it_ends_a_call_is_kept(seconds):
    refusal = Refusal(Reason.QUOTA_EXHAUSTED, "enough", seconds)
    found = aborted(str(refusal), dict(_metadata(refusal, bytes(16))))
    assert found == Problem(429, "enough", Reason.QUOTA_EXHAUSTED, "00" * 16, seconds)
    assert (
        found.response().headers.get("retry-after") == {None: None, 0.001: "1", 3.0: "3"}[seconds]
    )


def test_an_end_without_a_reason_is_internal():
    assert aborted("", {}).reason is Reason.INTERNAL
