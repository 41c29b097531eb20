"""Which role each procedure takes, and what the receipt of a denied call says was asked for.

There is no procedure without an entry: who adds one says here who may call it.
"""

from __future__ import annotations

from collections.abc import Mapping

from audit.receipt import Action
from server.identity import Role
from wire import rpc

_ANYBODY = frozenset(Role)
"""Models and the log are what every role has to verify something against."""
_CLIENTS = frozenset({Role.PREDICT})
_PUBLISHERS = frozenset({Role.PUBLISH})
_AUDITORS = frozenset({Role.AUDIT})

PROCEDURES: Mapping[rpc.Method, tuple[frozenset[Role], Action]] = {
    rpc.LIST_MODELS: (_ANYBODY, Action.READ_MODEL),
    rpc.GET_MODEL: (_ANYBODY, Action.READ_MODEL),
    rpc.PUBLISH_MODEL: (_PUBLISHERS, Action.PUBLISH_MODEL),
    rpc.WITHDRAW_MODEL: (_PUBLISHERS, Action.WITHDRAW_MODEL),
    rpc.BEGIN_ENROLMENT: (_CLIENTS, Action.ENROL_KEY),
    rpc.COMPLETE_ENROLMENT: (_CLIENTS, Action.ENROL_KEY),
    rpc.INFER: (_CLIENTS, Action.PREDICT),
    rpc.GET_LOG: (_ANYBODY, Action.READ_TRAIL),
    rpc.GET_CHECKPOINT: (_ANYBODY, Action.READ_TRAIL),
    rpc.GET_RECEIPT: (_ANYBODY, Action.READ_TRAIL),
    rpc.GET_INCLUSION: (_ANYBODY, Action.READ_TRAIL),
    rpc.GET_CONSISTENCY: (_ANYBODY, Action.READ_TRAIL),
    rpc.READ_ENTRIES: (_AUDITORS, Action.READ_TRAIL),
    rpc.COUNTERSIGN: (_CLIENTS, Action.READ_TRAIL),
}
"""Roles of which a peer needs one, and the action of a denial's receipt."""
