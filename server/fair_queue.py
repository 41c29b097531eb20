"""Whose call is next: tenants share places by the work they ask for, not by the number of calls.

Start-time fair queueing (Goyal, Vin and Cheng 1996), at the granularity of calls.  Each tenant has
a tag, the virtual time at which its next call would begin if every tenant had an equal share; the
tenant with the smallest is next, and its tag advances by the call's cost.  A tenant that was idle
has saved up nothing.  Within a tenant calls go in the order in which they came.

A tenant can fill the queue only as long as nobody else wants it: the newest call of the tenant that
has most calls makes room for another one's (Suter et al. 1999, longest queue drop).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """A call that may wait.

    Attributes:
        tenant: whose.
        cost: the work it asks for, in seconds of one worker.
    """

    @property
    def tenant(self) -> str: ...  # noqa: D102 -- see above

    @property
    def cost(self) -> float: ...  # noqa: D102


Item = TypeVar("Item", bound=Waiting)


@dataclass
class _Line(Generic[Item]):
    """The waiting calls of one tenant, and their cost together."""

    tag: float
    items: deque[Item] = field(default_factory=deque)
    cost: float = 0.0


class FairQueue(Generic[Item]):
    """Calls that wait, of all tenants.  Knows nothing of time."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line[Item]] = {}
        self._tags: dict[str, float] = {}  # of tenants without a call, while they are ahead
        self._now = 0.0

    def __len__(self) -> int:
        return sum(len(line.items) for line in self._lines.values())

    def add(self, item: Item) -> None:
        """Let a call wait."""
        line = self._lines.get(item.tenant)
        if line is None:
            line = self._lines[item.tenant] = _Line(self._tag(item.tenant))
        line.items.append(item)
        line.cost += item.cost

    def remove(self, item: Item) -> None:
        """Forget a call that waits no longer; its tenant is charged nothing."""
        line = self._lines[item.tenant]
        line.items.remove(item)
        self._shrunk(item, line)

    def first(self, eligible: Callable[[str], bool]) -> Item | None:
        """The next call, of a tenant that may be served now."""
        lines = [line for tenant, line in self._lines.items() if eligible(tenant)]
        return min(lines, key=lambda line: line.tag).items[0] if lines else None

    def serve(self, item: Item) -> None:
        """Take out what `first` has found."""
        line = self._lines[item.tenant]
        line.items.popleft()
        self._now = max(self._now, line.tag)
        line.tag += item.cost
        self._shrunk(item, line)

    def newest(self, tenant: str) -> Item | None:
        """The call of a tenant that came last."""
        line = self._lines.get(tenant)
        return None if line is None else line.items[-1]

    def cost_before(self, tenant: str) -> float:
        """Seconds of work that would be served before a further call of a tenant."""
        own = self._lines.get(tenant)
        begins = self._tag(tenant) if own is None else own.tag + own.cost
        before = 0.0 if own is None else own.cost
        for name, line in self._lines.items():
            if name != tenant:
                before += min(line.cost, max(0.0, begins - line.tag))
        return before

    def _tag(self, tenant: str) -> float:
        return max(self._now, self._tags.get(tenant, 0.0))

    def _shrunk(self, item: Item, line: _Line[Item]) -> None:
        line.cost -= item.cost
        if not line.items:
            del self._lines[item.tenant]
            self._tags[item.tenant] = line.tag
            if not self._lines:  # nobody has waited for longer than anybody else
                self._now = max(self._now, line.tag)
            self._tags = {name: tag for name, tag in self._tags.items() if tag > self._now}
