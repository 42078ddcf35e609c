"""Asking a guest that does not answer."""

import asyncio
from typing import Any

import pytest

from hutch.control import asking
from hutch.model.ids import MachineId
from unit.control.rig import LIMIT, soon, turn


class Silent:
    """A guest that starts what it is told to, and says nothing more."""

    async def start(self, *its: Any) -> None:
        pass

    async def read(self, *its: Any, **more: Any) -> None:
        await asyncio.get_running_loop().create_future()

    forget = read


async def test_who_is_cancelled_does_not_wait_for_a_silent_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "TIDY_LIMIT", 0.01, raising=False)
    work = soon(asking.ask(Silent(), MachineId("m"), ("true",), 3600.0))  # type: ignore[arg-type]
    await turn()
    work.cancel()
    done, _ = await asyncio.wait([work], timeout=LIMIT)
    assert done
    assert work.cancelled()
