"""Who calls a server of one tenant."""

from __future__ import annotations

import asyncio

import pytest

from server.identity import Anyone, Principal, Role, Shown
from server.refusals import Refusal
from wire.rpc import Reason

PREDICT = frozenset({Role.PREDICT})


def identified(shown: Shown, *, certificates: bool) -> Principal:
    return asyncio.run(Anyone("clinic", certificates=certificates).identify(shown))


def test_without_certificates_anybody_may_predict_and_is_taken_at_its_word():
    for shown in (Shown(), Shown(("somebody",)), Shown((), "token")):
        assert identified(shown, certificates=False) == Principal("clinic", None, PREDICT)


def test_with_certificates_everybody_is_who_its_only_common_name_says():
    assert identified(Shown(("one",), "token"), certificates=True) == Principal(
        "clinic", "one", PREDICT
    )
    for names in ((), ("one", "two"), ("one", "one")):
        with pytest.raises(Refusal) as caught:
            identified(Shown(names), certificates=True)
        assert caught.value.reason is Reason.UNAUTHENTICATED
