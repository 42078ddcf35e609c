"""pause, suspend, resume, fork, rollback, resize, optimize, wait."""

from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import machines, options, out, progress, service

if TYPE_CHECKING:
    from hutch.client import Hutch, models

STATES = (
    *("creating", "stopped", "starting", "running", "pausing", "paused", "suspending", "suspended", "stopping"),
    *("destroying", "destroyed", "failed", "lost"),
)
"""All there are, for the help."""


def pause(refs: options.MachineRefs, as_json: options.AsJson = False) -> None:
    """Let machines stand still; their memory stays in RAM, so that they go on at once."""
    machines.each(refs, lambda hutch, id, _: hutch.machines.pause(id), as_json)


def suspend(refs: options.MachineRefs, as_json: options.AsJson = False) -> None:
    """Save machines to disk, processes and all; any use wakes them."""

    def act(hutch: "Hutch", id: str, name: str) -> "models.Machine":
        with progress.shown(f"suspending {name}"):
            return hutch.machines.suspend(id)

    machines.each(refs, act, as_json)


def resume(refs: options.MachineRefs, as_json: options.AsJson = False) -> None:
    """Let paused and suspended machines go on; others are started."""

    def act(hutch: "Hutch", id: str, name: str) -> "models.Machine":
        return machines.started(hutch, id, f"resuming {name}", lambda: hutch.machines.resume(id))

    machines.each(refs, act, as_json)


def fork(
    machine: options.MachineRef,
    count: Annotated[int | None, typer.Option("-n", "--count", min=1, help="How many; one if not said.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="A child's name; again for each.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Names are PREFIX-1, PREFIX-2…; else after the source.")] = None,
    freeze_source: Annotated[bool, typer.Option("--freeze-source", help="Suspend the source afterwards.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Copy a machine, processes and memory included; all copies or none. Prints their names."""
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        with progress.shown(f"forking {machine}"):
            children = hutch.machines.fork(id, count, name, prefix, freeze_source)
    if as_json:
        out.as_json(children)
        return
    for child in children:
        out.data(child.name)


def rollback(machine: options.MachineRef, snapshot: options.SnapshotRef, as_json: options.AsJson = False) -> None:
    """Put a machine back to one of its snapshots; what it has become since is lost."""
    with service.connect() as hutch:
        id, to = service.machine_id(hutch, machine), service.snapshot_id(hutch, snapshot)
        with progress.shown(f"rolling {machine} back to {snapshot}"):
            done = hutch.machines.rollback(id, to)
    _tell(done, machine, as_json)


def resize(
    machine: options.MachineRef,
    disk: Annotated[int | None, typer.Option(min=1, help="Disk in GiB, more than it has.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="vCPUs.")] = None,
    memory: Annotated[int | None, typer.Option(min=1, help="Memory in MiB.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Give a machine a larger disk, other vCPUs or another memory.

    A disk grows at once if the machine runs, else at its next start. For vCPUs and memory a machine that runs is
    stopped and started again: its disk stays, its processes do not. One that is suspended or paused is stopped.
    """
    if disk is None and cpus is None and memory is None:
        raise typer.BadParameter("name what is to change", param_hint="--disk, --cpus or --memory")
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        with progress.shown(f"resizing {machine}"):
            done = hutch.machines.resize(id, disk, cpus, memory)
    _tell(done, machine, as_json)


def optimize(machine: options.MachineRef, as_json: options.AsJson = False) -> None:
    """Suspend a machine so that it and its copies go on most cheaply; it stays suspended."""
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        with progress.shown(f"optimizing {machine}"):
            done = hutch.machines.optimize(id)
    _tell(done, machine, as_json)


def wait(
    machine: options.MachineRef,
    state: Annotated[
        list[str] | None, typer.Option(help=f"Any of these; running if not said. There are {', '.join(STATES)}.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0, max=3600, help="Seconds.")] = 60,
    as_json: options.AsJson = False,
) -> None:
    """Wait until a machine is in a state. Fails when the time is over, or once the machine has failed or is gone."""
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        with progress.shown(f"waiting for {machine}"):
            done = hutch.machines.wait(id, *(state or ()), timeout=timeout)
    _tell(done, machine, as_json)


def _tell(machine: "models.Machine", typed: str, as_json: bool) -> None:
    if as_json:
        out.as_json(machine)
    else:
        out.data(typed)
