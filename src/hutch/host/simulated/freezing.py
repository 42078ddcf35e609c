"""What is done with the saved state of a simulated machine. The caller has seen to it that it is the machine's turn."""

import asyncio

from hutch.host import mounts
from hutch.host.interface import Life, SavedState
from hutch.host.simulated import processes
from hutch.host.simulated.machine import Machine, Saved
from hutch.host.simulated.world import World
from hutch.model import errors
from hutch.model.ids import SnapshotId

_ALIVE = (Life.RUNNING, Life.PAUSED)


def find(world: World, snapshot: SnapshotId) -> Saved:
    """The snapshot, or `NotFound`."""
    saved = world.snapshots.get(snapshot)
    if saved is None:
        raise errors.NotFound(f"there is no snapshot {snapshot}")
    return saved


def check_space(world: World) -> None:
    """`DiskFull` if a test wants it so."""
    if world.faults.disk_full:
        raise errors.DiskFull("the host has no space left on its disk: remove machines or snapshots")


def check_alive(machine: Machine, *also: Life) -> None:
    """`NotRunning` unless it has a process, or is one of `also`."""
    if machine.life not in (*_ALIVE, *also):
        raise errors.NotRunning(f"machine {machine.id} is {machine.life}: start it first")


async def suspend(world: World, machine: Machine) -> None:
    """No process is left of it, in the eyes of its host."""
    if machine.life is Life.SUSPENDED:
        return
    check_alive(machine)
    check_space(world)
    await world.pause(machine, Life.SUSPENDED)
    machine.is_optimized = False


async def wake(world: World, machine: Machine) -> None:
    """A suspended one goes on."""
    if machine.origin is not None and not machine.origin.is_loadable:
        raise errors.Damaged(f"the saved state of machine {machine.id} is not what was saved")
    machine.renew()
    await machine.wake()
    world.run(machine)
    if "main" not in machine.processes:
        await processes.start_main(machine)


def snapshot(world: World, machine: Machine, id: SnapshotId, is_transient: bool) -> SavedState:
    """A copy of it, made while it stands still."""
    if id in world.snapshots:
        raise errors.Conflict(f"there is already a snapshot {id}")
    mounts.check_copyable(machine.id, machine.spec)
    check_alive(machine, Life.SUSPENDED)
    check_space(world)
    machine.stand_still()
    try:
        saved = world.snapshots[id] = machine.save(id, world.root / id, is_transient)
    finally:
        if machine.life is Life.RUNNING:
            machine.go_on()
    return saved.told


def optimize(world: World, it: Saved | Machine) -> None:
    """It has a whole memory of its own from now on."""
    if isinstance(it, Saved) and "memory" in it.damaged:
        raise errors.Damaged("the saved state cannot be optimized: its memory is not what was saved")
    if not it.is_optimized:
        check_space(world)
    it.is_optimized = True


def optimize_machine(world: World, machine: Machine) -> None:
    """What it is suspended in has."""
    if machine.life in _ALIVE:
        raise errors.Conflict(f"machine {machine.id} is {machine.life}: suspend it first")
    check_alive(machine, Life.SUSPENDED)
    optimize(world, machine.origin or machine)


async def rollback(world: World, machine: Machine, id: SnapshotId) -> None:
    """It is suspended in the snapshot."""
    saved = find(world, id)
    saved.check_fits(machine.spec)
    check_space(world)
    machine.stand_still()
    former = list(machine.processes.values())
    world.running.pop(machine.id, None)
    machine.suspend_in(saved)
    for process in former:
        await process.turn_away()
    await asyncio.gather(*(process.end() for process in former))


def check_claim(machine: Machine, spare: Machine) -> None:
    """Whether one can become the other."""
    if machine is spare or machine.was_started or machine.life is not Life.STOPPED:
        raise errors.Conflict(f"machine {machine.id} was started before")
    check_alive(spare)
    mine, other = (
        (it.spec.image.digest, it.spec.resources, it.spec.network, it.spec.mounts) for it in (machine, spare)
    )
    if mine != other:
        raise errors.Conflict(f"machines {machine.id} and {spare.id} differ in image, resources, network or mounts")


async def claim(world: World, machine: Machine, spare: Machine) -> None:
    """`machine` goes on as what `spare` was."""
    world.machines.pop(spare.id, None)
    world.running.pop(spare.id, None)
    machine.take_over(spare)
    try:
        former = machine.processes.pop("main", None)
        if former is not None:
            await former.end()
        machine.renew()
        machine.go_on()
        world.run(machine)
        await processes.start_main(machine)
    except BaseException:
        await world.end(machine, Life.STOPPED)
        machine.erase()
        machine.was_started = False
        raise
