"""What the server finds when it looks at one piece of evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a finding is to be read."""

    PASSED = "passed"
    FAILED = "failed"
    NEUTRAL = "neutral"
    """There, and not checked here."""
    ABSENT = "absent"


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        state: how it is to be read.
        title: in a word or two.
        detail: in a sentence.
    """

    state: State
    title: str
    detail: str
