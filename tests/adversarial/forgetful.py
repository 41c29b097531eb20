"""Transcripts and requests that leave things out: what weak Fiat-Shamir would be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import zk_layers.public_network
import zk_layers.relation
from protocol.request import Request
from zk_layers.transcript import Transcript


@contextmanager
def forgetting(*items: str, label: bool = False) -> Iterator[None]:
    """Transcripts that do not absorb the items, or start without their label."""

    class ForgetfulTranscript(Transcript):
        def __init__(self, name: str) -> None:
            super().__init__("" if label else name)

        def absorb(self, label: str, data: bytes) -> None:
            if label not in items:
                super().absorb(label, data)

    with pytest.MonkeyPatch.context() as patch:
        for module in (zk_layers.relation, zk_layers.public_network):
            patch.setattr(module, "Transcript", ForgetfulTranscript)
        yield


@contextmanager
def request_without(*indices: int) -> Iterator[None]:
    """Requests whose value lacks some fields."""
    full = Request.value

    def value(self: Request) -> tuple:
        return tuple(item for i, item in enumerate(full(self)) if i not in indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Request, "value", value)
        yield
