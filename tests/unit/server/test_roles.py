from __future__ import annotations

from server.identity import Role
from server.roles import PROCEDURES
from wire import rpc


def test_every_procedure_says_who_may_call_it():
    assert set(PROCEDURES) == set(rpc.METHODS)
    assert all(roles and roles <= set(Role) for roles, _ in PROCEDURES.values())
