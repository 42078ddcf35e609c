"""Deliveries: events on their way to webhooks.

A delivery is in the store before it is tried, and stays due there until an endpoint has taken it (any 2xx) or all its
attempts have failed. So a service that dies in the middle tries again: an endpoint may get one twice, told by its id.
Each webhook has a line of its own, of bounded length, and one attempt at a time; the one that was tried longest ago is
next, so that no long line delays another. Those whose last attempt failed share a part of all attempts, so that many
dead endpoints delay no other. What is asked for goes beside all that, one of each webhook. No order is promised.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import heapq
import hmac
import itertools
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

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

AT_ONCE = 256
"""Attempts at the same time, to all webhooks."""

AILING_AT_ONCE = 64
"""Of these, to webhooks whose last attempt failed."""

MOST_WAITING = 1000
"""Deliveries in the line of one webhook; what comes then is given up at once."""

BATCH = 256
"""Deliveries that are recorded in one transaction, before what is due has its turn."""

LOOK_INTERVAL = 1.0
"""Seconds between looks at what is due again."""


class Deliveries:
    """Records them, tries them, and tries them again. `webhooks`: those that live, by id, as they are now."""

    def __init__(
        self, store: Store, sender: Sender, clock: Clock, attempts: int, webhooks: Mapping[str, Webhook]
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._attempts = attempts
        self._webhooks = webhooks
        self._fresh: deque[Delivery] = deque()  # not in the store yet
        self._lines: dict[str, list[tuple[datetime, str]]] = {}  # by webhook: when which is due, as a heap
        self._under_way: dict[str, tuple[str, asyncio.Task[None]]] = {}  # by delivery: its webhook
        self._ailing: set[str] = set()  # webhooks whose last attempt failed
        self._asked: set[str] = set()  # webhooks of which one is being tried because that was asked for
        self._turns: dict[str, int] = {}  # by webhook: which of all attempts its last one was
        self._count = itertools.count(1)
        self._wake = asyncio.Event()
        self._recording = asyncio.Lock()

    def load(self, waiting: Iterable[Delivery]) -> None:
        """Take up what the store has."""
        for delivery in waiting:
            self._line_up(delivery.webhook, delivery.next_attempt_at, delivery.id)
            if delivery.attempts:
                self._ailing.add(delivery.webhook)

    def add(self, webhook: Webhook, event: Event) -> None:
        """Tell this webhook of this event."""
        self._fresh.append(_make(webhook, event))
        self._wake.set()

    def look(self) -> None:
        """Something that is due may be tried now."""
        self._wake.set()

    async def run(self) -> None:
        """For ever; what goes wrong in one round is logged, and the next tries again."""
        while True:
            try:
                await self._record()
                self._begin()
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
        """Some of what is new; the rest in the next round."""
        async with self._recording:
            batch = list(itertools.islice(self._fresh, BATCH))
            taken = list(self._with_room(batch))
            if taken:
                await self._store.add_deliveries(taken)
            for delivery in taken:
                self._line_up(delivery.webhook, delivery.next_attempt_at, delivery.id)
            for _ in batch:
                self._fresh.popleft()
            if self._fresh:
                self._wake.set()

    def _with_room(self, batch: Iterable[Delivery]) -> Iterator[Delivery]:
        """Those whose webhook lives; what is too many for its line is given up."""
        more: Counter[str] = Counter()
        for delivery in batch:
            if delivery.webhook in self._webhooks:
                if len(self._lines.get(delivery.webhook, ())) + more[delivery.webhook] >= MOST_WAITING:
                    given_up = f"not tried: {MOST_WAITING} others were waiting already"
                    delivery = dataclasses.replace(delivery, next_attempt_at=None, error=given_up)
                else:
                    more[delivery.webhook] += 1
                yield delivery

    def _line_up(self, webhook: str, due: datetime | None, delivery: str) -> None:
        if due is not None and webhook in self._webhooks:
            heapq.heappush(self._lines.setdefault(webhook, []), (due, delivery))

    def _begin(self) -> None:
        """Try what is due, of the webhook first that was tried longest ago, as far as there is room."""
        now, busy = self._clock.now(), {webhook for webhook, _ in self._under_way.values()}
        idle = {webhook: line for webhook, line in self._lines.items() if line and webhook not in busy}
        due = [(self._turns.get(it, 0), line[0], it) for it, line in idle.items() if line[0][0] <= now]
        ailing = len((busy - self._asked) & self._ailing)
        for _, (_, delivery), webhook in sorted(due):
            if len(self._under_way) - len(self._asked) >= AT_ONCE:
                return
            its = self._webhooks.get(webhook)
            if its is None or not its.is_enabled or (webhook in self._ailing and ailing >= AILING_AT_ONCE):
                continue
            ailing += webhook in self._ailing
            heapq.heappop(self._lines[webhook])
            if delivery not in self._under_way:
                self._start(webhook, delivery, is_asked_for=False)

    def _start(self, webhook: str, delivery: str, is_asked_for: bool) -> asyncio.Task[None]:
        task = asyncio.create_task(self._attempt(self._webhooks[webhook], delivery, is_asked_for))
        self._under_way[delivery] = (webhook, task)
        self._turns[webhook] = next(self._count)
        task.add_done_callback(lambda done: self._note_failure(webhook, delivery, done))
        return task

    def _note_failure(self, webhook: str, delivery: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("an attempt was not recorded", delivery=delivery, error=str(error))
            self._line_up(webhook, self._clock.now() + FIRST_PAUSE, delivery)

    async def _attempt(self, webhook: Webhook, delivery: str, is_asked_for: bool) -> None:
        try:
            due = await self._try(webhook, delivery, is_asked_for)
        finally:
            self._under_way.pop(delivery, None)
            self.look()
        self._line_up(webhook.id, due, delivery)

    async def _try(self, webhook: Webhook, id: str, is_asked_for: bool) -> datetime | None:
        """When it is due again."""
        delivery = await self._store.get_delivery(id)  # it may have been read long ago
        if delivery is None:
            return None
        if not (is_asked_for or _is_due(delivery, self._clock)):
            return None  # it was tried meanwhile, and is in line again
        status, error = await self._send(webhook, delivery)
        now, attempts = self._clock.now(), delivery.attempts + 1
        if error is None:
            self._ailing.discard(webhook.id)
        else:
            self._ailing.add(webhook.id)
            log.info("not delivered", webhook=webhook.id, delivery=id, attempts=attempts, status=status, error=error)
        is_over = error is None or attempts >= self._attempts
        due = None if is_over else now + FIRST_PAUSE * 2 ** (attempts - 1)
        tried = dataclasses.replace(
            delivery,
            attempts=attempts,
            next_attempt_at=due,
            delivered_at=now if error is None else delivery.delivered_at,
            status=status,
            error=error,
        )
        await self._store.save_delivery(tried)
        return due

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
        """Try one at once, whatever became of it before. `Conflict` if it is being tried, or is ended meanwhile.

        So it is while another one of the webhook is tried in this way.
        """
        if id in self._under_way:
            raise errors.Conflict("it is being delivered at this moment: look at it again in a few seconds")
        if webhook.id in self._asked:
            raise errors.Conflict("another delivery of this webhook is being tried again: wait for its end")
        if webhook.id not in self._webhooks:
            raise errors.NotFound("webhook not found")
        attempt = self._start(webhook.id, id, is_asked_for=True)
        self._asked.add(webhook.id)
        attempt.add_done_callback(lambda _: self._asked.discard(webhook.id))
        await asyncio.wait([attempt])
        if attempt.cancelled():
            raise errors.Conflict("the attempt was ended: the webhook was deleted, or the service is shutting down")
        attempt.result()

    async def drop(self, webhook: str) -> None:
        """What is on its way to it is ended, and its line is no more."""
        self._lines.pop(webhook, None)
        self._turns.pop(webhook, None)
        self._ailing.discard(webhook)
        await self._end([delivery for delivery, (its, _) in self._under_way.items() if its == webhook])

    async def close(self) -> None:
        """What is not recorded is; what is under way is tried again by the next service."""
        with contextlib.suppress(errors.HutchError):
            while self._fresh:
                await self._record()
        await self._end(list(self._under_way))

    async def _end(self, deliveries: Sequence[str]) -> None:
        going = [self._under_way.pop(delivery)[1] for delivery in deliveries]
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
