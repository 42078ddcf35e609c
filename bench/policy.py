"""What a change of a machine's network policy costs, until it is in force: rules and shaping of a slot, no machine.

Packets are judged by the new rules when `enforce` returns; that they are is what tests/integration/network shows. Needs
root.
"""

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from hutch import settings
from hutch.host.network.slots import Slots
from hutch.host.paths import Paths
from hutch.model.machine import NetworkMode, NetworkPolicy

ROUNDS = 20
POLICIES = (
    NetworkPolicy(NetworkMode.BLOCKED),
    NetworkPolicy(
        NetworkMode.ALLOW,
        cidrs=tuple(f"93.184.{number}.0/24" for number in range(200)),
        hosts=tuple(f"*.host-{number}.example" for number in range(56)),
        denied=tuple(f"8.{number}.0.0/16" for number in range(256)),
        kbit_per_second=10_000,
        packets_per_second=10_000,
    ),
    NetworkPolicy(),
)

Figures = dict[str, list[float]]


def measure() -> Figures:
    """`policy_change_ms`: to nothing, to the longest lists there may be, and back to everything, in turns."""
    return asyncio.run(_measure())


async def _measure() -> Figures:
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="hutch-bench-") as home:
        slots = Slots(Paths(Path(home)), replace(settings.Network(), ready=0))
        await slots.open()
        try:
            connection = await slots.take(NetworkPolicy())
            for _ in range(ROUNDS):
                for policy in POLICIES:
                    began = time.perf_counter()
                    await connection.enforce(policy)
                    took.append(1000 * (time.perf_counter() - began))
            connection.end()
        finally:
            await slots.close()
    return {"policy_change_ms": took}


if __name__ == "__main__":
    print(sorted(measure()["policy_change_ms"]))
