"""How often a key may ask: a token bucket for each, in memory. Execs are never counted."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hutch.control.clock import Clock
from hutch.control.keys import Principal
from hutch.model import errors
from hutch.model.ids import KeyId

BURST = 2.0
"""Seconds' worth of requests that may come at once, after a rest as long."""

MAX_BUCKETS = 10_000
"""When so many keys have asked, those that have rested long enough are forgotten."""


@dataclass(slots=True)
class Bucket:
    """Requests a key may make now. Pure."""

    tokens: float
    filled_at: datetime
    full_at: datetime

    def take(self, rate: float, now: datetime) -> int:
        """One, at `rate` a second, and how many are left. `RateLimited` says when there will be one."""
        passed = max(0.0, (now - self.filled_at).total_seconds())
        self.tokens = min(size(rate), self.tokens + passed * rate)
        self.filled_at = now
        if self.tokens < 1:
            wait = (1 - self.tokens) / rate
            raise errors.RateLimited(
                f"too many requests with this key: {rate:g} a second are allowed, try again in {wait:.2f} s", wait
            )
        self.tokens -= 1
        self.full_at = now + timedelta(seconds=(size(rate) - self.tokens) / rate)
        return int(self.tokens)


def size(rate: float) -> float:
    """The most a bucket holds."""
    return max(1.0, rate * BURST)


class Rates:
    """The buckets of all keys."""

    def __init__(self, clock: Clock, default: float) -> None:
        self._clock = clock
        self._default = default  # requests a second; 0: as many as come
        self._buckets: dict[KeyId, Bucket] = {}

    def take(self, principal: Principal) -> int | None:
        """Count one request; how many more may come at once is returned, None if there is no limit.

        `RateLimited`. The tenant's own limit goes before the service's; 0 means no limit in both.
        """
        own = principal.account.tenant.limits.requests_per_second
        rate = self._default if own is None else own
        if rate <= 0:
            return None
        now = self._clock.now()
        bucket = self._buckets.get(principal.key)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[principal.key] = Bucket(size(rate), now, now)
        return bucket.take(rate, now)

    def _make_room(self, now: datetime) -> None:
        if len(self._buckets) >= MAX_BUCKETS:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.full_at > now}
