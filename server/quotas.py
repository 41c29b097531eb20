"""What a tenant may use of a server over time: requests, bytes and seconds of computation.

Each is a token bucket that fills steadily and holds what one minute brings: a tenant may save up
for a burst, and never exceeds its rate in the long run.

What is charged, and when:

- a request when it is accepted for judgement.  A call that is refused for want of a quota or of a
  place costs nothing, or clients who come back too early would never be served; any other call
  costs its request, whatever becomes of it.
- bytes and seconds as they are predicted, before the call may wait for a place; what was not used
  is given back when the call ends, and what was used beyond it is owed.  A tenant that owes is
  refused until its bucket has filled again: repeating, cancelling or resuming calls gains nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from server.refusals import Refusal
from wire.rpc import Reason

_MINUTE = 60.0
LONGEST_ADVICE_SECONDS = 3600.0

Clock = Callable[[], float]


@dataclass(frozen=True)
class Quota:
    """What one tenant may use; None for as much as there is.

    Attributes:
        requests: predictions and enrolments a minute.
        transfer_bytes: of messages, both ways, a minute.
        compute_seconds: of evaluation and proof, one worker's, a minute.
        places: of the server's places for calls that hold words, at once.
    """

    requests: float | None = None
    transfer_bytes: float | None = None
    compute_seconds: float | None = None
    places: int | None = None

    def __post_init__(self) -> None:
        """Refuse what would lock a tenant out.  Raises ValueError."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{field.name}: expected a positive number, not {value}")
        if self.requests is not None and self.requests < 1:
            raise ValueError("requests: expected at least one a minute")


UNLIMITED = Quota()


class TokenBucket:
    """Tokens that fill at a rate; a charge may leave it owing.  For one event loop."""

    def __init__(self, per_minute: float | None, clock: Clock) -> None:
        self._clock = clock
        self._capacity = per_minute
        self._tokens = 0.0 if self._capacity is None else self._capacity
        self._filled_at = clock()

    def resize(self, per_minute: float | None) -> None:
        """Fill at another rate from now on.  What was used stays used, and what is owed is owed."""
        self._fill()
        old, self._capacity = self._capacity, per_minute
        if self._capacity is None:
            return
        if old is None:
            self._tokens = self._capacity
        self._tokens = min(self._tokens, self._capacity)

    def seconds_until(self, amount: float) -> float:
        """Until so much may be taken: 0 for now.

        More than the bucket holds may be taken when it is full.
        """
        if self._capacity is None:
            return 0.0
        self._fill()
        missing = min(amount, self._capacity) - self._tokens
        return max(0.0, missing) * _MINUTE / self._capacity

    def charge(self, amount: float) -> None:
        """Take so much, whatever is there; give it back if negative."""
        if self._capacity is not None:
            self._fill()
            self._tokens = min(self._tokens - amount, self._capacity)

    def _fill(self) -> None:
        now = self._clock()
        if self._capacity is not None:
            gained = max(0.0, now - self._filled_at) * self._capacity / _MINUTE
            self._tokens = min(self._tokens + gained, self._capacity)
        self._filled_at = now


class Meter:
    """The buckets of one tenant."""

    def __init__(self, quota: Quota, clock: Clock) -> None:
        self.quota = quota
        self._requests = TokenBucket(quota.requests, clock)
        self._bytes = TokenBucket(quota.transfer_bytes, clock)
        self._seconds = TokenBucket(quota.compute_seconds, clock)

    def resize(self, quota: Quota) -> None:
        """Apply another quota to what was used already."""
        self.quota = quota
        self._requests.resize(quota.requests)
        self._bytes.resize(quota.transfer_bytes)
        self._seconds.resize(quota.compute_seconds)

    def take_request(self) -> None:
        """Charge one request.  Raises Refusal (quota-exhausted)."""
        self._require(self._requests.seconds_until(1), "requests")
        self._requests.charge(1)

    def give_request_back(self) -> None:
        """Charge one request less, of a call that was refused a place."""
        self._requests.charge(-1)

    def reserve(self, transfer_bytes: float, compute_seconds: float) -> Reservation:
        """Charge what a call is predicted to use.  Raises Refusal (quota-exhausted)."""
        self._require(self._bytes.seconds_until(transfer_bytes), "bytes")
        self._require(self._seconds.seconds_until(compute_seconds), "seconds of computation")
        self._bytes.charge(transfer_bytes)
        self._seconds.charge(compute_seconds)
        return Reservation(self, transfer_bytes, compute_seconds)

    def settle(self, reserved: Reservation) -> None:
        """Charge the difference between what a call has used and what was predicted."""
        self._bytes.charge(reserved.bytes_used - reserved.transfer_bytes)
        self._seconds.charge(reserved.seconds_used - reserved.compute_seconds)

    @staticmethod
    def _require(wait: float, what: str) -> None:
        if wait > 0:
            raise Refusal(
                Reason.QUOTA_EXHAUSTED,
                f"this tenant's quota of {what} is used up for now",
                min(wait, LONGEST_ADVICE_SECONDS),
            )


@dataclass
class Reservation:
    """What one call was charged beforehand, and what it has used so far.

    Attributes:
        meter: whose.
        transfer_bytes, compute_seconds: charged.
        bytes_used, seconds_used: counted by the call.
    """

    meter: Meter
    transfer_bytes: float
    compute_seconds: float
    bytes_used: float = 0.0
    seconds_used: float = 0.0
    _settled: bool = False

    def settle(self) -> None:
        """Charge what was really used; no effect the second time."""
        if not self._settled:
            self._settled = True
            self.meter.settle(self)


class Quotas:
    """The quotas of all tenants, and what each has used.  For one event loop."""

    def __init__(
        self,
        default: Quota = UNLIMITED,
        tenants: Mapping[str, Quota] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Start with full buckets.

        Args:
            default: of every tenant that has none of its own.
            tenants: quotas by name.
            clock: seconds, monotonic.
        """
        self._default = default
        self._tenants = dict(tenants or {})
        self._clock = clock
        self._meters: dict[str, Meter] = {}

    def replace(self, default: Quota, tenants: Mapping[str, Quota] | None = None) -> None:
        """Apply other quotas from now on; what was used stays used.

        Args:
            default: of every tenant that has none of its own.
            tenants: quotas by name; as they were if None.
        """
        self._default = default
        if tenants is not None:
            self._tenants = dict(tenants)
        for tenant, meter in self._meters.items():
            meter.resize(self._quota(tenant))

    def of(self, tenant: str) -> Meter:
        """The meter of a tenant, which must be one that is served here."""
        if tenant not in self._meters:
            self._meters[tenant] = Meter(self._quota(tenant), self._clock)
        return self._meters[tenant]

    def _quota(self, tenant: str) -> Quota:
        return self._tenants.get(tenant, self._default)
