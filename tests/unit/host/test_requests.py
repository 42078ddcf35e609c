"""The queue before a machine."""

import asyncio
from typing import Any

from hutch.host.machines.policy import Verb
from hutch.host.machines.requests import Requests, Work
from hutch.model import errors


async def test_who_waits_is_told_when_the_service_stops() -> None:
    async def act(_: Verb, work: Work) -> Any:
        return await work()

    async def never() -> None:
        await asyncio.Event().wait()

    requests = Requests("one", act)
    waiting = [asyncio.ensure_future(requests.ask(verb, never)) for verb in (Verb.SNAPSHOT, Verb.STOP)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await requests.stop()
    for result in await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1):
        assert isinstance(result, errors.HutchError)
        assert "stopped" in result.message
