"""create, start, stop, rm, ps, logs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import options, out, progress, service
from hutch.cli.failure import Failure

if TYPE_CHECKING:
    from hutch.client import Hutch, NewMachine, models

Image = Annotated[str, typer.Argument(metavar="IMAGE", help="debian, or any OCI reference: python:3.12, …")]
Machines = Annotated[list[str], typer.Argument(metavar="MACHINE…", help="Names, ids, or beginnings of one.")]


def new_machine(image: str, shape: options.Shape, surroundings: options.Surroundings) -> "NewMachine":
    """What is asked for."""
    from hutch.client import NewMachine

    return NewMachine(
        image=image,
        name=shape.name,
        cpus=shape.cpus,
        memory_mb=shape.memory,
        disk_gb=shape.disk,
        network="blocked" if shape.offline else None,
        env=options.pairs(surroundings.env, "--env"),
        workdir=surroundings.workdir,
        labels=options.pairs(shape.label, "--label"),
    )


def start_shown(hutch: "Hutch", id: str, name: str) -> None:
    """Start it; on a terminal, show how it gets on."""
    from hutch.client import errors

    def look(tell: progress.Tell) -> None:
        try:
            now = hutch.machines.get(id).progress
        except errors.ClientError:
            return
        if now:
            tell(now.phase, now.fraction)

    with progress.polled(f"starting {name}", look):
        hutch.machines.start(id)


def state(machine: "models.Machine") -> str:
    """A machine's state for a person."""
    if machine.state != "started" or machine.ready:
        return machine.state
    if machine.progress is None:
        return "starting"
    done = "" if machine.progress.fraction is None else f" {machine.progress.fraction:.0%}"
    return f"starting: {machine.progress.phase}{done}"


def _each(typed: list[str], act: Callable[["Hutch", str, str], object]) -> None:
    """Do it to every machine, whatever happens to the others; print those it was done to."""
    code = 0
    for text in typed:
        try:
            with service.connect() as hutch:
                act(hutch, service.machine_id(hutch, text), text)
            out.data(text)
        except Failure as failure:
            out.complain(failure)
            code = failure.code
    if code:
        raise typer.Exit(code)


@options.flat
def create(
    image: Image,
    shape: options.Shape,
    env: Annotated[list[str] | None, typer.Option("-e", "--env", metavar="KEY=VAL")] = None,
    workdir: Annotated[str | None, typer.Option("-w", "--workdir", help="Where its commands run.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a machine, stopped. Prints its id."""
    wanted = new_machine(image, shape, options.Surroundings(env=env or [], workdir=workdir))
    with service.connect() as hutch:
        machine = hutch.machines.create(wanted)
    if as_json:
        out.as_json(machine)
    else:
        out.data(machine.id)


def start(machines: Machines) -> None:
    """Start machines; returns when they are ready."""
    _each(machines, start_shown)


def stop(machines: Machines) -> None:
    """Stop machines; their disks stay."""
    _each(machines, lambda hutch, id, _: hutch.machines.stop(id))


def rm(machines: Machines) -> None:
    """Delete machines, disks and all, whatever their state."""
    _each(machines, lambda hutch, id, _: hutch.machines.delete(id))


_MACHINES: out.Columns = (
    ("NAME", lambda it: it.name),
    ("ID", lambda it: it.id),
    ("STATE", state),
    ("IMAGE", lambda it: it.image),
    ("CPUS", lambda it: str(it.cpus)),
    ("MEMORY", lambda it: f"{it.memory_mb} MiB"),
    ("AGE", lambda it: out.age(it.created_at)),
    ("REASON", lambda it: (it.reason or "").splitlines()[0] if it.reason else ""),
)
_PROCESSES: out.Columns = (
    ("ID", lambda it: it.id),
    ("PID", lambda it: str(it.pid)),
    ("EXIT", lambda it: "" if it.exit is None else str(it.exit.exit_code)),
    ("AGE", lambda it: out.age(it.started_at)),
    ("COMMAND", lambda it: " ".join(it.command)),
)


def ps(
    machine: Annotated[str, typer.Argument(metavar="[MACHINE]", help="List this machine's processes.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="NAME=VALUE")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List machines, or the processes of one."""
    with service.connect() as hutch:
        if machine:
            out.listing(hutch.processes.list(service.machine_id(hutch, machine)), _PROCESSES, as_json)
        else:
            out.listing(hutch.machines.list(options.pairs(label or [], "--label")), _MACHINES, as_json)


def logs(
    machine: options.MachineRef,
    tail: Annotated[int, typer.Option("-n", "--tail", min=0, help="Lines.")] = 100,
    events: Annotated[bool, typer.Option(help="What happened to it instead of its console.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show a machine's console, or its events."""
    columns: out.Columns = (
        ("WHEN", lambda it: it.created_at.strftime("%Y-%m-%d %H:%M:%S")),
        ("LEVEL", lambda it: it.level),
        ("MESSAGE", lambda it: it.message),
    )
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        if events or as_json:
            out.listing(hutch.machines.events(id)[-tail:], columns, as_json)
        else:
            typer.echo(hutch.machines.logs(id, tail), nl=False)
