"""Webhooks: who is told of what, how it is signed, and what happens when nobody takes it."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog

from hutch.control import deliveries, webhooks
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
    await until(lambda: not its._fresh and not its._under_way)
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


async def test_one_that_hangs_delays_no_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, quick = await hook(rig, "machine.created"), await hook(rig, "machine.created")
    now, most = [0], [0]
    post = rig.sender.post

    async def hang(url: str, headers: Any, body: bytes) -> int:
        if headers["X-Hutch-Signature"].split("=")[2] in signatures(slow, body):
            now[0] += 1
            most[0] = max(most[0], now[0])
            await asyncio.Event().wait()
        return await post(url, headers, body)

    def signatures(webhook: Webhook, body: bytes) -> list[str]:
        return [deliveries.sign(webhook.secret, body, int(rig.clock.now().timestamp())).split("=")[2]]

    monkeypatch.setattr(rig.sender, "post", hang)
    for _ in range(10):
        await rig.create()
    await until(lambda: len(rig.sender.messages) == 10)
    assert most == [deliveries.AT_ONCE_EACH]
    assert all(it.delivered_at for it in await rig.plane.webhooks.deliveries(rig.me, quick.id))


async def test_what_found_no_room_is_tried_when_there_is(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "AT_ONCE_EACH", 1)
    webhook = await hook(rig, "machine.created")
    for _ in range(5):
        await rig.create()
    await until(lambda: len(rig.sender.messages) == 5)
    assert len(await settled(rig, webhook)) == 5


async def test_a_page_of_a_busy_webhook_is_put_off_so_that_others_get_a_turn(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PAGE", 3)
    monkeypatch.setattr(deliveries, "AT_ONCE_EACH", 1)
    monkeypatch.setattr(rig.sender, "post", lambda *_: asyncio.Event().wait())
    webhook = await hook(rig, "machine.created")
    for _ in range(4):
        await rig.create()
    await pass_time(rig, 1)
    told = await rig.plane.webhooks.deliveries(rig.me, webhook.id)
    assert sum(it.next_attempt_at is not None and it.next_attempt_at > rig.clock.now() for it in told) >= 2


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
    assert await rig.store.due_deliveries(rig.clock.now(), 10) == []
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


async def test_without_webhooks_the_store_is_not_asked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.store, "due_deliveries", None)
    await pass_time(rig, 10)
    looking = soon(rig.plane.webhooks._deliveries._look())
    await looking
