"""What is written now and then: the heartbeat of usage, and the forgetting of what is old. Also suspended tenants are
looked after here.
"""

from datetime import datetime, timedelta

import structlog

from hutch import settings
from hutch.control.clock import Clock
from hutch.control.fleet import Fleet
from hutch.control.idempotency import KEPT
from hutch.control.metering import Meter
from hutch.control.sanctions import Sanctions
from hutch.store.interface import Horizon, Store

log = structlog.get_logger(__name__)

INTERVAL = 1.0
"""Seconds between looks at what is due."""

PRUNE_INTERVAL = timedelta(hours=1)
DAY = timedelta(days=1)


class Upkeep:
    """Runs for as long as the plane is open."""

    def __init__(
        self,
        fleet: Fleet,
        meter: Meter,
        sanctions: Sanctions,
        store: Store,
        clock: Clock,
        limits: settings.Tenants,
    ) -> None:
        self._fleet = fleet
        self._meter = meter
        self._sanctions = sanctions
        self._store = store
        self._clock = clock
        self._limits = limits

    async def run(self) -> None:
        """For ever; an error of one round is logged and the next one tries again."""
        beaten = pruned = self._clock.now()
        while True:
            await self._clock.sleep(INTERVAL)
            now = self._clock.now()
            try:
                self._sanctions.enforce()
                if not 0 <= (now - beaten).total_seconds() < self._limits.heartbeat:  # a clock may be set back
                    beaten = now
                    await self._fleet.traffic.count_all(self._fleet.records.all())
                    await self._meter.beat()
                if not timedelta() <= now - pruned < PRUNE_INTERVAL:
                    pruned = now
                    await self._store.prune(find_horizon(self._limits, now))
                    if self._limits.keep_usage_days:
                        await self._meter.fold(now - self._limits.keep_usage_days * DAY)
            except Exception:
                log.exception("upkeep failed")


def find_horizon(limits: settings.Tenants, now: datetime) -> Horizon:
    """What is old now."""
    return Horizon(
        events=now - limits.keep_events_days * DAY if limits.keep_events_days else None,
        deliveries=now - limits.keep_deliveries_days * DAY if limits.keep_deliveries_days else None,
        attempts=now - KEPT,
        jobs=now - limits.keep_jobs_days * DAY if limits.keep_jobs_days else None,
        builds=now - limits.keep_builds_days * DAY if limits.keep_builds_days else None,
        snapshots=now - limits.keep_builds_days * DAY if limits.keep_builds_days else None,
    )
