"""What a network slot costs: taken from those made ahead, given back, and made while somebody waits.

Slots alone, in this process, without machines: what a start pays for its network. Needs root.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

from hutch import settings
from hutch.host.network.slots import SlotConnection, Slots
from hutch.host.paths import Paths
from hutch.model.machine import NetworkPolicy

ROUNDS = 40
READY = 8
LIMIT = 60.0

Figures = dict[str, list[float]]


def measure() -> Figures:
    """`slot_take_ms` and `slot_give_back_ms`, on a machine's path; `slot_make_ms`, on it only if none is ready."""
    with tempfile.TemporaryDirectory() as home:
        return asyncio.run(_measure(Paths(Path(home))))


async def _measure(paths: Paths) -> Figures:
    slots = Slots(paths, replace(settings.Network(), ready=READY))
    figures: Figures = {"slot_take_ms": [], "slot_give_back_ms": [], "slot_make_ms": []}
    await slots.open()
    try:
        await slots.collect(is_known=True)
        for _ in range(ROUNDS):
            await _until_ready(slots)
            connection, took = await _timed(slots.take(NetworkPolicy()))
            figures["slot_take_ms"].append(took)
            began = time.perf_counter()
            connection.end()
            figures["slot_give_back_ms"].append(1000 * (time.perf_counter() - began))
        taken: list[SlotConnection] = []
        while len(figures["slot_make_ms"]) < ROUNDS // 4:
            has_one = slots.is_ready
            connection, took = await _timed(slots.take(NetworkPolicy()))
            taken.append(connection)
            if not has_one:
                figures["slot_make_ms"].append(took)
        for connection in taken:
            connection.end()
    finally:
        await slots.close()
    return figures


async def _until_ready(slots: Slots) -> None:
    async with asyncio.timeout(LIMIT):
        while not slots.is_ready:  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(0.01)


async def _timed(work: Awaitable[SlotConnection]) -> tuple[SlotConnection, float]:
    began = time.perf_counter()
    result = await work
    return result, 1000 * (time.perf_counter() - began)
