"""What a publisher says of a model, for people: on the card, so pinned with it, and unproved."""

from __future__ import annotations

import math
from dataclasses import dataclass

from protocol.encoding import Value, expect_float, expect_text, expect_tuple
from protocol.errors import ModelError
from protocol.features import MAX_NAME

MAX_STATEMENT = 2000
MAX_METRICS = 32


@dataclass(frozen=True)
class About:
    """Statements of the publisher.

    Attributes:
        intended_use: what the model is for, and what it is not for.
        training_data: what it was trained on.
        licence: terms of use, such as an SPDX identifier.
        metrics: name and value, such as ("accuracy", 0.97).
    """

    intended_use: str = ""
    training_data: str = ""
    licence: str = ""
    metrics: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", tuple((name, value) for name, value in self.metrics))
        texts = (self.intended_use, self.training_data, self.licence)
        if any(len(text) > MAX_STATEMENT for text in texts):
            raise ModelError(f"what is said of a model has at most {MAX_STATEMENT} characters each")
        if len(self.metrics) > MAX_METRICS or len(dict(self.metrics)) != len(self.metrics):
            raise ModelError(f"at most {MAX_METRICS} metrics, each named once")
        if not all(0 < len(name) <= MAX_NAME for name, _ in self.metrics):
            raise ModelError(f"names of metrics have 1 to {MAX_NAME} characters")
        if not all(math.isfinite(value) for _, value in self.metrics):
            raise ModelError("a metric must be a finite number")

    def value(self) -> Value:
        """The canonical value."""
        metrics = tuple((name, float(value)) for name, value in self.metrics)
        return (self.intended_use, self.training_data, self.licence, metrics)

    @classmethod
    def from_value(cls, value: Value) -> About:
        """Rebuild and validate from a decoded value.  Raises EncodingError, ModelError."""
        use, data, licence, metrics = expect_tuple(value, "about", 4)
        pairs = [expect_tuple(item, "metric", 2) for item in expect_tuple(metrics, "metrics")]
        return cls(
            expect_text(use, "intended use"),
            expect_text(data, "training data"),
            expect_text(licence, "licence"),
            tuple(
                (expect_text(name, "metric"), expect_float(number, "metric"))
                for name, number in pairs
            ),
        )
