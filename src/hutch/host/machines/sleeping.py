"""What keeps a machine's memory: pause and resume, suspend, snapshot, and going back to one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from hutch.host import mounts
from hutch.host.machines import ending, flatten, freeze, identity, shape
from hutch.host.machines.body import Body
from hutch.host.machines.held import AGENT_WAIT
from hutch.host.machines.journal import Phase
from hutch.host.qemu import process, vm
from hutch.host.saved.manifest import Manifest
from hutch.model import errors, ids
from hutch.model.ids import SnapshotId


async def pause(body: Body) -> None:
    """Have the guest stand still, or go on as if nothing had been."""
    await body.running().let_calls_end()
    machine = body.take()
    try:
        await machine.disconnect_agent()
        await machine.monitor.execute("stop")
        body.note(replace(body.journal, phase=Phase.PAUSED))
    except errors.HutchError:
        with contextlib.suppress(errors.HutchError):  # it runs on: nobody else begins the conversation anew
            await machine.monitor.go_on()
            await machine.connect_agent(AGENT_WAIT)
        raise
    finally:
        body.hold(machine)


async def resume(body: Body) -> None:
    """Have the guest go on, or stand still as before."""
    machine = body.take()
    try:
        await _go_on(body, machine)
    except BaseException:
        await process.to_the_end(_stand_still(machine))  # as the journal says
        raise
    finally:
        body.hold(machine)


async def _go_on(body: Body, machine: vm.Vm) -> None:
    await machine.monitor.go_on()
    agent = await machine.connect_agent(AGENT_WAIT)
    await identity.set_clock(agent)
    if body.journal.grow:
        await agent.grow()
    body.note(replace(body.journal, phase=Phase.RUNNING, grow=False))


async def suspend(body: Body) -> None:
    """Save what it is, and end its process; on an error it is as it was."""
    assert body.held is not None
    held, before = body.held, body.journal
    state = SnapshotId(ids.random_id())
    await held.let_calls_end()
    if before.phase is Phase.RUNNING:  # its disk alone is then worth something too, if the memory is not wanted
        with contextlib.suppress(errors.HutchError, TimeoutError):
            await asyncio.wait_for((await held.agent()).sync(), ending.limit(body.journal))
    was_paused = before.phase is Phase.PAUSED
    body.record(replace(before, phase=Phase.SUSPENDING, saved=state, was_paused=was_paused))
    try:
        with held.frozen():
            await freeze.suspend(body.context, body.journal, held.machine, state)
    except BaseException:
        body.note(replace(before, saved=None))
        raise
    await process.to_the_end(_put_away(body, body.take()))


async def _put_away(body: Body, machine: vm.Vm) -> None:
    """End the process of a machine whose state is saved."""
    await machine.end()
    body.note(replace(body.journal, phase=Phase.SUSPENDED, process=None))


async def snapshot(
    body: Body, state: SnapshotId, transient: bool, flatten_now: Callable[[], Awaitable[None]]
) -> Manifest:
    """Keep what it is; one that runs goes on before the state is whole. `flatten_now` shortens its chain of layers."""
    context = body.context
    if context.states.is_there(state):
        raise errors.Conflict(f"there is already a snapshot {state}")
    mounts.check_copyable(body.journal.id, body.journal.spec)
    if body.journal.phase is Phase.SUSPENDED:
        made = await freeze.of_suspended(context, body.journal, state, body.record, transient)
    else:
        assert body.held is not None
        if len(body.journal.layers) >= flatten.MOST:
            await flatten_now()  # in the background it did not come to its end
        with body.held.frozen():
            machine = body.held.machine
            made = await freeze.snapshot(context, body.journal, machine, state, body.record, transient)
    if transient:
        context.states.hold(state)  # in the same breath as it became one: nothing is collected in between
    return made


async def rollback(body: Body, state: SnapshotId) -> None:
    """Have it be suspended in a state of before; its process ends, if it has one."""
    manifest = body.context.states.snapshot(state)
    shape.check(body.journal.spec, manifest)
    with body.context.states.pinned(state):
        async with shape.standing_on(body.context, body.journal, manifest) as journal:
            machine = body.let_go()
            try:
                if machine is not None:
                    await machine.kill()
                await body.end_former()
                body.record(journal)
            except BaseException:
                if machine is not None:
                    reason = "it was ended to be put back to a snapshot, which failed"
                    body.note(replace(body.journal, phase=Phase.FAILED, reason=reason, process=body.living))
                raise
    body.context.collect()


async def _stand_still(machine: vm.Vm) -> None:
    """Have a machine that could not go on stand still again; nothing if its process has ended."""
    await machine.disconnect_agent()
    with contextlib.suppress(errors.HutchError):
        await machine.monitor.execute("stop")
