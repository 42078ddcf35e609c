"""Deliveries: events on their way to webhooks.

A delivery is in the store before it is tried, and stays due there until an endpoint has taken it (any 2xx) or all its
attempts have failed. So a service that dies in the middle tries again: an endpoint may get one twice, told by its id.
Few are under way at once, fewer to one webhook: one that does not answer delays no other. No order is promised.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import hmac
import json
from collections import Counter, deque
from collections.abc import Mapping
from datetime import timedelta

import structlog

from hutch.control.clock import Clock
from hutch.model import errors, ids
from hutch.model.machine import Event
from hutch.model.webhooks import Delivery, Webhook
from hutch.notify.interface import NotSent, Sender
from hutch.store.interface import Store

log = structlog.get_logger(__name__)

TIME_LIMIT = 10.0
"""Seconds one attempt may take in all."""

FIRST_PAUSE = timedelta(seconds=5)
"""Between the first failed attempt and the second; twice as long after each further one."""

AT_ONCE = 32
AT_ONCE_EACH = 4

LOOK_INTERVAL = 1.0
"""Seconds between looks at what is due again."""

PAGE = 256
PUT_OFF = timedelta(seconds=30)
"""How long what is due waits when a whole page of it belongs to webhooks that are busy, so that others get a turn."""


class Deliveries:
    """Records them, tries them, and tries them again. `webhooks`: those that live, by id."""

    def __init__(
        self, store: Store, sender: Sender, clock: Clock, attempts: int, webhooks: Mapping[str, Webhook]
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._attempts = attempts
        self._webhooks = webhooks
        self._fresh: deque[Delivery] = deque()  # not in the store yet
        self._under_way: dict[str, tuple[str, asyncio.Task[None]]] = {}  # by delivery: its webhook, the attempt
        self._busy: Counter[str] = Counter()  # attempts by webhook
        self._is_behind = False  # something due was left for want of room
        self._wake = asyncio.Event()
        self._recording = asyncio.Lock()

    def add(self, webhook: Webhook, event: Event) -> None:
        """Tell this webhook of this event."""
        self._fresh.append(_make(webhook, event))
        self._wake.set()

    async def run(self) -> None:
        """For ever; what goes wrong in one round is logged, and the next tries again."""
        while True:
            try:
                await self._record()
                await self._look()
            except Exception as error:
                log.warning("deliveries could not be looked after", error=str(error))
            await self._rest()

    async def _rest(self) -> None:
        """Until something is new, or the next look is due."""
        waits = [asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(self._clock.sleep(LOOK_INTERVAL))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._wake.clear()

    async def _record(self) -> None:
        async with self._recording:
            while self._fresh:
                delivery = self._fresh[0]
                webhook = self._webhooks.get(delivery.webhook)
                if webhook is not None:
                    await self._store.add_delivery(delivery)
                self._fresh.popleft()
                if webhook is not None and not self._begin(webhook, delivery.id):
                    self._is_behind = True

    async def _look(self) -> None:
        """Begin what is due, as far as there is room."""
        if not self._webhooks:
            return
        now = self._clock.now()
        due = await self._store.due_deliveries(now, PAGE)
        left = []
        for delivery in due:
            webhook = self._webhooks.get(delivery.webhook)
            if webhook is not None and delivery.id not in self._under_way and not self._begin(webhook, delivery.id):
                left.append(delivery)
        self._is_behind = bool(left)
        if len(due) == PAGE and len(self._under_way) < AT_ONCE:
            for delivery in left:
                await self._store.save_delivery(dataclasses.replace(delivery, next_attempt_at=now + PUT_OFF))

    def _begin(self, webhook: Webhook, delivery: str) -> bool:
        """False if there is no room for it now."""
        if len(self._under_way) >= AT_ONCE or self._busy[webhook.id] >= AT_ONCE_EACH:
            return False
        self._start(webhook, delivery, is_asked_for=False)
        return True

    def _start(self, webhook: Webhook, delivery: str, is_asked_for: bool) -> asyncio.Task[None]:
        task = asyncio.create_task(self._try(webhook, delivery, is_asked_for))
        self._under_way[delivery] = (webhook.id, task)
        self._busy[webhook.id] += 1
        task.add_done_callback(lambda done: self._ended(webhook.id, delivery, done))
        return task

    def _ended(self, webhook: str, delivery: str, task: asyncio.Task[None]) -> None:
        del self._under_way[delivery]
        self._busy -= Counter([webhook])
        if self._is_behind:
            self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.warning("an attempt was not recorded", delivery=delivery, error=str(task.exception()))

    async def _try(self, webhook: Webhook, id: str, is_asked_for: bool) -> None:
        delivery = await self._store.get_delivery(id)  # it may have been read long ago
        if delivery is None or not (is_asked_for or _is_due(delivery, self._clock)):
            return
        status, error = await self._send(webhook, delivery)
        now, attempts = self._clock.now(), delivery.attempts + 1
        is_taken = error is None
        if not is_taken:
            log.info("not delivered", webhook=webhook.id, delivery=id, attempts=attempts, status=status, error=error)
        is_over = is_taken or attempts >= self._attempts
        await self._store.save_delivery(
            dataclasses.replace(
                delivery,
                attempts=attempts,
                next_attempt_at=None if is_over else now + FIRST_PAUSE * 2 ** (attempts - 1),
                delivered_at=now if is_taken else delivery.delivered_at,
                status=status,
                error=error,
            )
        )

    async def _send(self, webhook: Webhook, delivery: Delivery) -> tuple[int | None, str | None]:
        """What was answered, and why that is a failure."""
        body = json.dumps(delivery.payload, separators=(",", ":"), sort_keys=True).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Hutch-Webhooks/1",
            "X-Hutch-Event": delivery.kind,
            "X-Hutch-Delivery": delivery.id,
            "X-Hutch-Signature": sign(webhook.secret, body, int(self._clock.now().timestamp())),
        }
        try:
            async with asyncio.timeout(TIME_LIMIT):
                status = await self._sender.post(webhook.url, headers, body)
        except TimeoutError:
            return None, f"no answer within {TIME_LIMIT:g} s"
        except NotSent as error:
            return None, error.message
        except Exception:
            log.exception("unexpected error of the sender", webhook=webhook.id)
            return None, errors.HutchError().message
        return status, None if 200 <= status < 300 else f"answered {status}"

    async def try_now(self, webhook: Webhook, id: str) -> None:
        """Try one at once, whatever became of it before. `Conflict` if it is being tried, or is ended meanwhile."""
        if id in self._under_way:
            raise errors.Conflict("it is being delivered at this moment: look at it again in a few seconds")
        attempt = self._start(webhook, id, is_asked_for=True)
        await asyncio.wait([attempt])
        if attempt.cancelled():
            raise errors.Conflict("the attempt was ended: the webhook was deleted, or the service is shutting down")
        attempt.result()

    async def drop(self, webhook: str) -> None:
        """What is on its way to it is ended."""
        going = [task for its, task in self._under_way.values() if its == webhook]
        for task in going:
            task.cancel()
        if going:
            await asyncio.wait(going)

    async def close(self) -> None:
        """What is not recorded is; what is under way is tried again by the next service."""
        with contextlib.suppress(errors.HutchError):
            await self._record()
        going = [task for _, task in self._under_way.values()]
        for task in going:
            task.cancel()
        if going:
            await asyncio.wait(going)


def sign(secret: str, body: bytes, at: int) -> str:
    """`t=UNIX,v1=HEX`: HMAC-SHA-256 of the time, a dot, and the body."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _is_due(delivery: Delivery, clock: Clock) -> bool:
    return delivery.next_attempt_at is not None and delivery.next_attempt_at <= clock.now()


def _make(webhook: Webhook, event: Event) -> Delivery:
    payload = {
        "id": event.id,
        "kind": event.kind,
        "machine": event.machine,
        "level": str(event.level),
        "message": event.message,
        "createdAt": event.created_at.isoformat(),
    }
    if event.snapshot is not None:
        payload["snapshot"] = event.snapshot
    id, at = ids.random_id(), event.created_at
    return Delivery(id, webhook.id, event.id, event.kind, payload, at, next_attempt_at=at)
