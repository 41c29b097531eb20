"""What may come of a malformed request, and what came of all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from wire.rpc import Reason

NOT_ALLOWED = frozenset({Reason.INTERNAL, Reason.AUDIT_UNAVAILABLE, Reason.WORKER_LOST})
"""A peer's bytes never lead to these."""


@dataclass
class Tally:
    """The outcomes of one procedure or route.

    Attributes:
        counts: by status, and reason if there was one.
        failures: outcomes that may not be, with what led to them.
    """

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.counts.total()

    def add(self, status: str, reason: str | None, *, allowed: bool, sent: bytes = b"") -> None:
        """Count one; `sent` is kept only if the outcome may not be."""
        self.counts[status if reason is None else f"{status} {reason}"] += 1
        known = reason is None or (
            reason in Reason.__members__.values() and Reason(reason) not in NOT_ALLOWED
        )
        if not (allowed and known):
            self.failures.append(f"{self.name}: {status} {reason}: {sent[:200].hex()}")

    def line(self) -> str:
        most = ", ".join(f"{count} {name}" for name, count in self.counts.most_common(6))
        return f"{self.name}: {self.total}: {most}"
