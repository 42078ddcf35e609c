"""A service that dies at a step the test chose: one host in a process of its own, killed by its own hand.

The steps are those that are written down: every journal entry, saved state and memory file, before it and after it.
"""

import asyncio
import contextlib
import functools
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from hutch import settings
from hutch.host.local import LocalHost
from hutch.host.machines.journal import Journal
from hutch.host.paths import Paths
from hutch.host.saved.memories import Memories
from hutch.host.saved.states import States
from hutch.model.ids import MachineId, SnapshotId
from hutch.model.machine import MachineSpec

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["hutch.host.local"])


@contextlib.contextmanager
def at_step(number: int, act: Callable[[], None]) -> Iterator[None]:
    """Within, `act` before or after something is written down, when that has happened `number` times."""
    left = [number]

    def step() -> None:
        if left[0] == 0:
            act()
        left[0] -= 1

    def stepping(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapped(*args: Any, **options: Any) -> Any:
            step()
            result = original(*args, **options)
            step()
            return result

        return wrapped

    steps = [(Journal, "write"), (States, "publish"), (Memories, "publish"), (States, "put_on")]
    with contextlib.ExitStack() as patched:
        for noun, verb in steps:
            original = getattr(noun, verb)
            patched.callback(setattr, noun, verb, original)
            setattr(noun, verb, stepping(original))
        yield


async def suspend(host: LocalHost, machine: MachineId, _: SnapshotId) -> None:
    await host.suspend(machine)


async def wake(host: LocalHost, machine: MachineId, _: SnapshotId) -> None:
    await host.start(machine)


async def snapshot(host: LocalHost, machine: MachineId, snapshot: SnapshotId) -> None:
    await host.snapshot(machine, snapshot)


async def optimize(host: LocalHost, _: MachineId, snapshot: SnapshotId) -> None:
    await host.optimize(snapshot)


def child_of(snapshot: SnapshotId) -> MachineId:
    """The id of the machine that `fork` makes."""
    return MachineId(f"f{snapshot[1:]}")


async def fork(host: LocalHost, machine: MachineId, snapshot: SnapshotId) -> None:
    await host.snapshot(machine, snapshot, transient=True)
    await host.create(child_of(snapshot), _spec_of(host, machine), snapshot)
    await host.start(child_of(snapshot))
    await host.remove_snapshot(snapshot)


def _spec_of(host: LocalHost, machine: MachineId) -> MachineSpec:
    return host._owner(machine).journal.spec


Operation = Callable[[LocalHost, MachineId, SnapshotId], Awaitable[None]]


def _live(wanted: settings.Settings, operation: Operation, machine: MachineId, snapshot: SnapshotId, at: int) -> None:
    async def live() -> None:
        host = LocalHost(wanted, Paths(wanted.service.home))
        await host.open()
        with at_step(at, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            await operation(host, machine, snapshot)
        await host.close()

    asyncio.run(live())


async def service_dies(
    wanted: settings.Settings, operation: Operation, machine: MachineId, snapshot: SnapshotId, at: int
) -> bool:
    """Whether it was killed at that step; False if the operation has fewer, and was done."""
    child = _processes.Process(target=_live, args=(wanted, operation, machine, snapshot, at))
    child.start()
    await asyncio.to_thread(child.join, 60)
    assert child.exitcode in (0, -signal.SIGKILL), child.exitcode
    return child.exitcode != 0
