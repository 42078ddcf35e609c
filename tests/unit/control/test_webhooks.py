"""Webhooks: who is told of what, how it is signed, and what happens when nobody takes it."""

import asyncio
import dataclasses
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog

from hutch.control import deliveries, webhooks
from hutch.control.webhooks import WebhookChange
from hutch.model import errors
from hutch.model.webhooks import Delivery, Webhook
from unit.control.rig import LIMIT, Rig, soon, turn

URL = "https://example.org/hook"


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT):
        while not is_so():
            await asyncio.sleep(0)


async def hook(rig: Rig, *kinds: str, **fields: Any) -> Webhook:
    return await rig.plane.webhooks.create(rig.me, URL, kinds, **fields)


async def settled(rig: Rig, webhook: Webhook) -> list[Delivery]:
    """Wait until nothing is under way; all deliveries, oldest first."""
    its = rig.plane.webhooks._deliveries

    def is_due() -> bool:
        return any(line and line[0][0] <= rig.clock.now() for line in its._lines.values())

    await until(lambda: not its._fresh and not its._under_way and not is_due())
    return list(reversed(await rig.plane.webhooks.deliveries(rig.me, webhook.id)))


async def pass_time(rig: Rig, seconds: float) -> None:
    """As much of it as the next look needs."""
    await turn(20)
    rig.clock.advance(seconds)
    await turn(20)


async def test_what_happens_is_told_signed(rig: Rig) -> None:
    webhook = await hook(rig, "machine.created", secret="s3cret")
    machine = await rig.launch()
    (delivery,) = await settled(rig, webhook)
    (message,) = rig.sender.messages
    body = json.loads(message.body)
    (event,) = [it for it in await rig.plane.machines.events(rig.me, machine) if it.kind == "machine.created"]
    assert message.url == URL
    assert body == {
        "id": event.id,
        "kind": "machine.created",
        "machine": machine,
        "level": "info",
        "message": "created",
        "createdAt": event.created_at.isoformat(),
    }
    assert (message.headers["X-Hutch-Event"], message.headers["X-Hutch-Delivery"]) == (event.kind, delivery.id)
    at, signature = (part.split("=")[1] for part in message.headers["X-Hutch-Signature"].split(","))
    assert int(at) == int(rig.clock.now().timestamp())
    assert signature == hmac.new(b"s3cret", f"{at}.".encode() + message.body, hashlib.sha256).hexdigest()


async def test_what_was_delivered_is_recorded(rig: Rig) -> None:
    webhook = await hook(rig, "machine.created")
    await rig.create()
    (delivery,) = await settled(rig, webhook)
    assert (delivery.attempts, delivery.status, delivery.error) == (1, 200, None)
    assert (delivery.delivered_at, delivery.next_attempt_at) == (rig.clock.now(), None)


async def test_only_what_is_wanted_is_told_and_only_to_its_tenant(rig: Rig) -> None:
    stranger = await rig.someone(tenant="other")
    theirs = await rig.plane.webhooks.create(stranger, URL)
    some, everything = await hook(rig, "machine.started", "machine.stopped"), await hook(rig, "machine.*")
    machine = await rig.launch()
    await rig.plane.machines.stop(rig.me, machine)
    kinds = [delivery.kind for delivery in await settled(rig, everything)]
    assert kinds == [event.kind for event in await rig.plane.machines.events(rig.me, machine)]
    assert [it.kind for it in await settled(rig, some)] == ["machine.started", "machine.stopped"]
    assert await rig.plane.webhooks.deliveries(stranger, theirs.id) == []


async def test_a_failure_is_tried_again_after_longer_and_longer_and_then_given_up(rig: Rig) -> None:
    rig.sender.answers = [500, "connection refused", 302]
    webhook = await hook(rig, "machine.created")
    await rig.create()
    seen = []
    for pause in (5, 10, 1000):
        (delivery,) = await settled(rig, webhook)
        next_in = None if delivery.next_attempt_at is None else delivery.next_attempt_at - rig.clock.now()
        seen.append((delivery.attempts, delivery.status, delivery.error, next_in))
        await pass_time(rig, pause)
    assert seen == [
        (1, 500, "answered 500", timedelta(seconds=5)),
        (2, None, "connection refused", timedelta(seconds=10)),
        (3, 302, "answered 302", None),
    ]
    assert len(rig.sender.messages) == 3


async def test_each_attempt_is_signed_anew_and_says_the_same(rig: Rig) -> None:
    rig.sender.answers = [500]
    webhook = await hook(rig, "machine.created")
    await rig.create()
    await settled(rig, webhook)
    await pass_time(rig, 5)
    (delivery,) = await settled(rig, webhook)
    first, second = rig.sender.messages
    assert (delivery.attempts, first.body) == (2, second.body)
    assert first.headers["X-Hutch-Delivery"] == second.headers["X-Hutch-Delivery"]
    assert first.headers["X-Hutch-Signature"] != second.headers["X-Hutch-Signature"]


async def test_one_that_does_not_answer_in_time_has_failed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "TIME_LIMIT", 0.05)
    monkeypatch.setattr(rig.sender, "post", lambda *_: asyncio.Event().wait())
    webhook = await hook(rig, "machine.created")
    await rig.create()
    (delivery,) = await settled(rig, webhook)
    assert (delivery.attempts, delivery.error) == (1, "no answer within 0.05 s")


async def test_an_error_of_ours_is_a_failure_like_any_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(rig.sender, "post", fail)
    webhook = await hook(rig, "machine.created")
    await rig.create()
    (delivery,) = await settled(rig, webhook)
    assert (delivery.attempts, delivery.status) == (1, None)
    assert delivery.error is not None
    assert "Hutch itself" in delivery.error


@pytest.mark.parametrize("end", ["restart", "crash_and_restart"])
async def test_what_is_on_its_way_survives_the_service(rig: Rig, end: str) -> None:
    rig.sender.answers = [503]
    webhook = await hook(rig, "machine.created")
    await rig.create()
    await settled(rig, webhook)
    await getattr(rig, end)()
    assert len(rig.sender.messages) == 1
    await pass_time(rig, 6)
    (delivery,) = await settled(rig, webhook)
    assert (delivery.attempts, delivery.status, len(rig.sender.messages)) == (2, 200, 2)


async def test_an_attempt_that_a_crash_cut_short_is_made_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.sender, "post", lambda *_: asyncio.Event().wait())
    webhook = await hook(rig, "machine.created")
    await rig.create()
    await until(lambda: rig.plane.webhooks._deliveries._under_way)
    monkeypatch.undo()
    await rig.crash_and_restart()
    await until(lambda: rig.sender.messages)
    (delivery,) = await settled(rig, webhook)
    assert delivery.status == 200


class Town:
    """Endpoints, of which some never answer. `most` of these were asked at the same time."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self._post = rig.sender.post
        self._now: list[str] = []
        self.most = self.most_of_one = 0
        monkeypatch.setattr(rig.sender, "post", self.post)

    async def post(self, url: str, headers: Any, body: bytes) -> int:
        if "dead" not in url:
            return await self._post(url, headers, body)
        self._now.append(url)
        self.most = max(self.most, len(self._now))
        self.most_of_one = max(self.most_of_one, self._now.count(url))
        try:
            await asyncio.Event().wait()
        finally:
            self._now.remove(url)
        raise AssertionError


async def dead(rig: Rig, count: int) -> list[Webhook]:
    make = rig.plane.webhooks.create
    return [await make(rig.me, f"https://dead{at}.example.org/", ["machine.created"]) for at in range(count)]


async def test_fifty_dead_endpoints_delay_no_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town(rig, monkeypatch)
    await dead(rig, 50)
    alive = await hook(rig, "machine.created")
    for _ in range(10):
        await rig.create()
    await until(lambda: len(rig.sender.messages) == 10)
    assert all(it.attempts for it in await rig.plane.webhooks.deliveries(rig.me, alive.id))
    assert (town.most, town.most_of_one) == (50, 1)


async def test_endpoints_that_were_dead_share_a_part_of_the_attempts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "AT_ONCE", 6)
    monkeypatch.setattr(deliveries, "AILING_AT_ONCE", 4)
    monkeypatch.setattr(deliveries, "TIME_LIMIT", 0.01)
    town = Town(rig, monkeypatch)
    for webhook in await dead(rig, 50):
        rig.plane.webhooks._deliveries._ailing.add(webhook.id)
    alive = await hook(rig, "machine.created")
    for _ in range(3):
        await rig.create()
    await until(lambda: len(rig.sender.messages) == 3)
    assert len(await settled(rig, alive)) == 3
    assert 1 <= town.most <= 4


async def test_the_line_of_an_endpoint_is_of_bounded_length(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "MOST_WAITING", 2)
    Town(rig, monkeypatch)
    (webhook,) = await dead(rig, 1)
    await rig.create()
    await until(lambda: rig.plane.webhooks._deliveries._under_way)
    for _ in range(4):
        await rig.create()
    its = rig.plane.webhooks._deliveries
    await until(lambda: not its._fresh)
    told = await rig.plane.webhooks.deliveries(rig.me, webhook.id)
    waiting, given_up = [it for it in told if it.next_attempt_at], [it for it in told if not it.next_attempt_at]
    assert (len(waiting), len(given_up)) == (3, 2)  # one of those that wait is under way
    assert {it.error for it in given_up} == {"not tried: 2 others were waiting already"}


async def test_a_webhook_is_changed(rig: Rig) -> None:
    webhook, its = await hook(rig, "machine.created", secret="old"), rig.plane.webhooks
    rig.clock.advance(1)
    change = WebhookChange("https://example.org/new", ["machine.destroyed"], "new", "moved")
    changed = await its.update(rig.me, webhook.id, change)
    assert its.get(rig.me, webhook.id) == changed
    assert (changed.url, changed.kinds, changed.secret) == ("https://example.org/new", ("machine.destroyed",), "")
    assert (changed.description, changed.is_enabled, changed.updated_at) == ("moved", True, rig.clock.now())
    await rig.crash_and_restart()
    assert rig.plane.webhooks.get(rig.me, webhook.id) == changed
    await rig.plane.machines.delete(rig.me, await rig.create())
    await until(lambda: rig.sender.messages)
    (message,) = rig.sender.messages
    signed = deliveries.sign("new", message.body, int(rig.clock.now().timestamp()))
    assert (message.url, message.headers["X-Hutch-Signature"]) == (changed.url, signed)
    everything = await rig.plane.webhooks.update(rig.me, webhook.id, WebhookChange(kinds=()))
    assert (everything.kinds, everything.url) == ((), changed.url)


async def test_a_webhook_that_is_off_is_told_nothing_and_what_waited_is_told_when_it_is_on(rig: Rig) -> None:
    rig.sender.answers = [500]
    webhook, its = await hook(rig, "machine.created"), rig.plane.webhooks
    await rig.create()
    await settled(rig, webhook)
    off = await its.update(rig.me, webhook.id, WebhookChange(is_enabled=False))
    await rig.create()
    await pass_time(rig, 60)
    assert (off.is_enabled, len(rig.sender.messages)) == (False, 1)
    await its.update(rig.me, webhook.id, WebhookChange(is_enabled=True))
    await until(lambda: len(rig.sender.messages) == 2)
    (delivery,) = await settled(rig, webhook)
    assert (delivery.attempts, delivery.status) == (2, 200)


async def test_a_webhook_may_be_made_off(rig: Rig) -> None:
    webhook = await hook(rig, "machine.created", is_enabled=False)
    await rig.create()
    assert (webhook.is_enabled, await settled(rig, webhook)) == (False, [])


async def test_a_delivery_is_tried_again_when_asked_for(rig: Rig) -> None:
    rig.sender.answers = [500, 404]
    webhook = await hook(rig, "machine.created")
    await rig.create()
    (delivery,) = await settled(rig, webhook)
    again = await rig.plane.webhooks.retry(rig.me, webhook.id, delivery.id)
    assert (again.attempts, again.status) == (2, 404)
    third = await rig.plane.webhooks.retry(rig.me, webhook.id, delivery.id)
    assert (third.attempts, third.status, third.next_attempt_at) == (3, 200, None)


async def test_one_that_is_being_tried_is_not_tried_twice(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.sender, "post", lambda *_: asyncio.Event().wait())
    webhook = await hook(rig, "machine.created")
    await rig.create()
    await until(lambda: rig.plane.webhooks._deliveries._under_way)
    (delivery,) = await rig.plane.webhooks.deliveries(rig.me, webhook.id)
    with pytest.raises(errors.Conflict, match="being delivered"):
        await rig.plane.webhooks.retry(rig.me, webhook.id, delivery.id)


async def test_who_waits_for_an_attempt_is_told_when_its_webhook_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.sender.answers = [500]
    webhook = await hook(rig, "machine.created")
    await rig.create()
    (delivery,) = await settled(rig, webhook)
    monkeypatch.setattr(rig.sender, "post", lambda *_: asyncio.Event().wait())
    trying = soon(rig.plane.webhooks.retry(rig.me, webhook.id, delivery.id))
    await until(lambda: rig.plane.webhooks._deliveries._under_way)
    await rig.plane.webhooks.delete(rig.me, webhook.id)
    with pytest.raises(errors.Conflict, match="attempt was ended"):
        await trying


async def test_a_webhook_goes_with_what_is_on_its_way(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.sender, "post", lambda *_: asyncio.Event().wait())
    webhook = await hook(rig, "machine.created")
    await rig.create()
    await until(lambda: rig.plane.webhooks._deliveries._under_way)
    await rig.plane.webhooks.delete(rig.me, webhook.id)
    assert not rig.plane.webhooks._deliveries._under_way
    assert list(await rig.store.waiting_deliveries()) == []
    assert rig.plane.webhooks.list(rig.me) == []
    with pytest.raises(errors.NotFound):
        await rig.plane.webhooks.delete(rig.me, webhook.id)


async def test_a_secret_is_told_once_and_never_logged(rig: Rig) -> None:
    rig.sender.answers = [500]
    with structlog.testing.capture_logs() as logs:
        webhook = await hook(rig, "machine.created")
        await rig.create()
        await settled(rig, webhook)
    assert webhook.secret.startswith("whsec_")
    assert rig.plane.webhooks.get(rig.me, webhook.id).secret == ""
    assert [it.secret for it in rig.plane.webhooks.list(rig.me)] == [""]
    assert webhook.secret not in repr(logs) + repr(webhook)


async def test_webhooks_survive_a_restart(rig: Rig) -> None:
    first, second = await hook(rig, description="one"), await hook(rig, "machine.started")
    await rig.crash_and_restart()
    assert [it.id for it in rig.plane.webhooks.list(rig.me)] == [first.id, second.id]
    await rig.launch()
    await until(lambda: rig.sender.messages)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "http://localhost/"}, "url may not be reached"),
        ({"url": "ftp://example.org"}, "url may not be reached"),
        ({"url": "https://example.org/" + "x" * 2048}, "at most 2048"),
        ({"kinds": ["machine.nonsense"]}, "not a kind of event"),
        ({"secret": ""}, "secret"),
        ({"description": "x" * 1025}, "description"),
    ],
)
async def test_a_webhook_that_makes_no_sense_is_refused(rig: Rig, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        await rig.plane.webhooks.create(rig.me, **{"url": URL, **fields})
    webhook = await hook(rig)
    with pytest.raises(errors.InvalidRequest, match=words):
        await rig.plane.webhooks.update(rig.me, webhook.id, WebhookChange(**fields))
    assert rig.plane.webhooks.get(rig.me, webhook.id) == dataclasses.replace(webhook, secret="")


async def test_a_tenant_has_only_so_many(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST", 2)
    made = await asyncio.gather(*(hook(rig) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(it, errors.Conflict) for it in made) == 1


async def test_every_call_needs_admin_and_ones_own_tenant(rig: Rig) -> None:
    poor, stranger = await rig.someone("machine:read"), await rig.someone(tenant="other")
    webhook, its = await hook(rig), rig.plane.webhooks

    async def get(who: Any) -> None:
        its.get(who, webhook.id)

    for who, kind in ((poor, errors.Forbidden), (stranger, errors.NotFound)):
        for call in (
            get,
            lambda who: its.delete(who, webhook.id),
            lambda who: its.update(who, webhook.id, WebhookChange(description="x")),
            lambda who: its.deliveries(who, webhook.id),
            lambda who: its.retry(who, webhook.id, "it"),
        ):
            with pytest.raises(kind):
                await call(who)
    with pytest.raises(errors.Forbidden):
        await its.create(poor, URL)
    with pytest.raises(errors.Forbidden):
        its.list(poor)
    assert its.list(stranger) == []


async def test_a_delivery_belongs_to_its_webhook(rig: Rig) -> None:
    mine, other = await hook(rig, "machine.created"), await hook(rig, "machine.destroyed")
    await rig.create()
    (delivery,) = await settled(rig, mine)
    for webhook, id in ((other.id, delivery.id), (mine.id, "nothing")):
        with pytest.raises(errors.NotFound, match="delivery not found"):
            await rig.plane.webhooks.retry(rig.me, webhook, id)
