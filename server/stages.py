"""How long each stage of an answer takes: for the client, and for the operator when it is long."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from wire.inference import ServerTimings

LOGGED_FROM_SECONDS = 2.0

_log = structlog.get_logger("blindproof.server")


class StageClock:
    """Times the stages of one answer, named as in `ServerTimings`, and logs the long ones.

    A stage that is predicted to be long is announced as well, so that an operator can tell work
    from a standstill.
    """

    def __init__(self, predicted: Mapping[str, float] | None = None, **subject: object) -> None:
        """Nothing of `subject`, which stands in every log line, may be secret.

        Args:
            predicted: seconds by stage, where they are known beforehand.
            subject: what the lines are about.
        """
        self._predicted = predicted or {}
        self._subject = subject
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        predicted = self._predicted.get(name, 0.0)
        fields = {"stage": name, "predicted_seconds": round(predicted, 3), **self._subject}
        if predicted >= LOGGED_FROM_SECONDS:
            _log.info("long stage begins", **fields)
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self._seconds[name] = seconds
            if max(seconds, predicted) >= LOGGED_FROM_SECONDS:
                _log.info("long stage ends", seconds=round(seconds, 3), **fields)

    @property
    def timings(self) -> ServerTimings:
        """What the response tells the client."""
        return ServerTimings(**self._seconds)
