"""Deliveries when many want to be told at once: nobody's are kept waiting by another's."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hutch.control import deliveries
from hutch.control.keys import Principal
from hutch.control.machines import MachineRequest
from hutch.model import errors
from hutch.model.webhooks import Delivery, Webhook
from unit.control.rig import LIMIT, Rig, soon, turn


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT):
        while not is_so():
            await asyncio.sleep(0)


async def hooks(rig: Rig, name: str, count: int = 1, who: Principal | None = None) -> list[Webhook]:
    make = rig.plane.webhooks.create
    return [await make(who or rig.me, f"https://{name}{at}.example.org/", ["machine.created"]) for at in range(count)]


class Slow:
    """Endpoints that answer 500 when a test lets them; `asked` are their names, in the order they were asked."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._going: list[asyncio.Future[int]] = []
        monkeypatch.setattr(rig.sender, "post", self.post)

    async def post(self, url: str, headers: Any, body: bytes) -> int:
        self.asked.append(url.removeprefix("https://").removesuffix(".example.org/"))
        self._going.append(asyncio.get_running_loop().create_future())
        return await self._going[-1]

    async def answer(self, status: int = 500) -> None:
        going, self._going = self._going, []
        for it in going:
            it.set_result(status)
        await turn(50)


async def test_recording_many_holds_up_no_attempt(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    its, add = rig.plane.webhooks._deliveries, rig.store.add_deliveries
    await hooks(rig, "one")

    async def add_and_another_comes(fresh: list[Delivery]) -> None:
        await add(fresh)
        await asyncio.sleep(0)
        its._fresh.append(fresh[0])

    monkeypatch.setattr(rig.store, "add_deliveries", add_and_another_comes)
    await rig.create()
    await until(lambda: rig.sender.messages)
    monkeypatch.undo()


async def test_many_are_recorded_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    writes, add = [], rig.store.add_deliveries

    async def count(fresh: list[Delivery]) -> None:
        writes.append(len(fresh))
        await add(fresh)

    monkeypatch.setattr(rig.store, "add_deliveries", count)
    await hooks(rig, "one", 20)
    await rig.create()
    await until(lambda: len(rig.sender.messages) == 20)
    assert writes == [20]


@pytest.mark.parametrize("status", [200, 500])
async def test_a_long_line_of_one_tenant_keeps_no_other_waiting(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(deliveries, "AT_ONCE", 2)
    monkeypatch.setattr(deliveries, "AILING_AT_ONCE", 2)
    slow, other = Slow(rig, monkeypatch), await rig.someone(tenant="other")
    await hooks(rig, "many", 3)
    for _ in range(10):
        await rig.create()
    rig.clock.advance(1)
    (single,) = await hooks(rig, "single", who=other)
    rig.plane.webhooks._deliveries._ailing |= {it.id for it in [single] if status == 500}
    await rig.plane.machines.create(other, MachineRequest("alpine"))
    await until(lambda: len(slow.asked) == 2)
    for _ in range(2):
        await slow.answer(status)
    assert "single0" in slow.asked


async def test_what_is_asked_for_takes_no_place_of_what_is_due(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "AT_ONCE", 2)
    noisy = await hooks(rig, "noisy", 3)
    await rig.create()
    await until(lambda: len(rig.sender.messages) == 3)
    its = rig.plane.webhooks
    await until(lambda: not its._deliveries._under_way)
    old = [(it, (await its.deliveries(rig.me, it.id))[0]) for it in noisy]
    slow = Slow(rig, monkeypatch)
    asking = [soon(its.retry(rig.me, it.id, delivery.id)) for it, delivery in old]
    await until(lambda: len(slow.asked) == 3)
    other = await rig.someone(tenant="other")
    await hooks(rig, "quiet", who=other)
    await rig.plane.machines.create(other, MachineRequest("alpine"))
    await until(lambda: "quiet0" in slow.asked)
    await slow.answer(200)
    assert [(await it).status for it in asking] == [200] * 3


async def test_of_one_webhook_one_is_asked_for_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    (webhook,), its = await hooks(rig, "one"), rig.plane.webhooks
    for _ in range(2):
        await rig.create()
    await until(lambda: len(rig.sender.messages) == 2)
    await until(lambda: not its._deliveries._under_way)
    first, second = await its.deliveries(rig.me, webhook.id)
    slow = Slow(rig, monkeypatch)
    asking = soon(its.retry(rig.me, webhook.id, first.id))
    await until(lambda: slow.asked)
    with pytest.raises(errors.Conflict, match="another delivery"):
        await its.retry(rig.me, webhook.id, second.id)
    await slow.answer(200)
    assert (await asking).status == 200
