"""create, start, stop, restart, kill, rm, ps, logs."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import events as happened
from hutch.cli import options, out, progress, service
from hutch.cli.failure import Failure

if TYPE_CHECKING:
    from hutch.client import Hutch, NewMachine, models

Image = Annotated[str | None, typer.Argument(metavar="IMAGE", help="debian, or any OCI reference: python:3.12, …")]


@dataclass(frozen=True)
class Origin:
    """What a machine is made of: an image or a snapshot."""

    image: str = ""
    snapshot: str | None = None


def origin(image: str | None, snapshot: str | None) -> Origin:
    """Exactly one of the two, or the command line makes no sense."""
    if (image is None) == (snapshot is None):
        raise typer.BadParameter("name either an image or a snapshot", param_hint="IMAGE or --from SNAPSHOT")
    return Origin(image or "", snapshot)


def new_machine(
    of: Origin, shape: options.Shape, life: options.Life, env: Sequence[str] = (), workdir: str | None = None
) -> "NewMachine":
    """What is asked for."""
    from hutch.client import NewMachine, models

    if shape.offline and shape.allow:
        raise typer.BadParameter("with --offline nothing is reached", param_hint="--allow")
    persistence, priority = options.persistence(life.persistence)
    return NewMachine(
        image=of.image,
        snapshot=of.snapshot,
        name=shape.name,
        cpus=shape.cpus,
        memory_mb=shape.memory,
        disk_gb=shape.disk,
        network="blocked" if shape.offline else "allow" if shape.allow else None,
        allow=shape.allow,
        ports=[models.Port(*options.port(text)) for text in shape.publish],
        mounts=[models.Mount(*options.mount(text)) for text in shape.mount],
        env=options.pairs(env, "--env"),
        workdir=workdir,
        labels=options.pairs(shape.label, "--label"),
        auto_stop_seconds=options.seconds(life.idle, "--idle"),
        idle_action=life.idle_action,
        ttl_seconds=options.seconds(life.ttl, "--ttl"),
        lifetime_action=life.ttl_action,
        delete_after_suspended_seconds=options.seconds(life.delete_suspended, "--delete-suspended"),
        persistence=persistence,
        priority=priority,
    )


def make(hutch: "Hutch", wanted: "NewMachine") -> "models.Machine":
    """Make it; its snapshot may be meant by the beginning of a name or an id."""
    if wanted.snapshot is not None:
        wanted = dataclasses.replace(wanted, snapshot=service.snapshot_id(hutch, wanted.snapshot))
    return hutch.machines.create(wanted)


def start_shown(hutch: "Hutch", id: str, name: str) -> "models.Machine":
    """Start it; on a terminal, show how it gets on."""
    return started(hutch, id, f"starting {name}", lambda: hutch.machines.start(id))


def started(hutch: "Hutch", id: str, what: str, start: "Callable[[], models.Machine]") -> "models.Machine":
    """What `start` returns; on a terminal, `what` is shown meanwhile, and how the machine gets on."""
    from hutch.client import errors

    def look(tell: progress.Tell) -> None:
        try:
            now = hutch.machines.get(id).progress
        except errors.ClientError:
            return
        if now:
            tell(now.phase, now.fraction)

    with progress.polled(what, look):
        return start()


def state(machine: "models.Machine") -> str:
    """A machine's state for a person."""
    if machine.state == "paused" or (
        machine.state == "started" and machine.state_detail not in ("running", "starting")
    ):
        return machine.state_detail
    if machine.state != "started" or machine.ready:
        return machine.state
    if machine.state_detail == "running":
        return "started: ports closed"
    if machine.progress is None:
        return "starting"
    done = "" if machine.progress.fraction is None else f" {machine.progress.fraction:.0%}"
    return f"starting: {machine.progress.phase}{done}"


def each(typed: list[str], act: "Callable[[Hutch, str, str], models.Machine]", as_json: bool) -> None:
    """Do it to every machine, whatever happens to the others; print those it was done to."""
    code, done = 0, []
    for text in typed:
        try:
            with service.connect() as hutch:
                done.append(act(hutch, service.machine_id(hutch, text), text))
            if not as_json:
                out.data(text)
        except Failure as failure:
            out.complain(failure)
            code = failure.code
    if as_json:
        out.as_json(done)
    if code:
        raise typer.Exit(code)


def delete_each(typed: list[str], act: "Callable[[Hutch, str], str]", as_json: bool) -> None:
    """Delete everything that is named, whatever happens to the others; print what is gone. `act` returns its id."""
    code, done = 0, []
    for text in typed:
        try:
            with service.connect() as hutch:
                done.append({"id": act(hutch, text), "deleted": True})
            if not as_json:
                out.data(text)
        except Failure as failure:
            out.complain(failure)
            code = failure.code
    if as_json:
        out.as_json(done)
    if code:
        raise typer.Exit(code)


@options.flat
def create(
    image: Image = None,
    snapshot: options.From = None,
    shape: options.Shape = options.Shape(),  # noqa: B008 (flattened into options)
    life: options.Life = options.Life(),  # noqa: B008
    env: Annotated[list[str] | None, typer.Option("-e", "--env", metavar="KEY=VAL")] = None,
    workdir: Annotated[str | None, typer.Option("-w", "--workdir", help="Where its commands run.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a machine, stopped, or of a snapshot, suspended. Prints its id."""
    wanted = new_machine(origin(image, snapshot), shape, life, env or (), workdir)
    with service.connect() as hutch:
        machine = make(hutch, wanted)
    if as_json:
        out.as_json(machine)
    else:
        out.data(machine.id)


def start(machines: options.MachineRefs, as_json: options.AsJson = False) -> None:
    """Start machines; returns when they are ready."""
    each(machines, start_shown, as_json)


def stop(machines: options.MachineRefs, as_json: options.AsJson = False) -> None:
    """Stop machines; their disks stay."""
    each(machines, lambda hutch, id, _: hutch.machines.stop(id), as_json)


def restart(machines: options.MachineRefs, as_json: options.AsJson = False) -> None:
    """Stop machines and boot them from their disks; returns when they are ready."""
    each(machines, lambda hutch, id, _: hutch.machines.restart(id), as_json)


def kill(machines: options.MachineRefs, as_json: options.AsJson = False) -> None:
    """End machines at once, whatever they are doing; their disks stay."""
    each(machines, lambda hutch, id, _: hutch.machines.kill(id), as_json)


def rm(machines: options.MachineRefs, as_json: options.AsJson = False) -> None:
    """Delete machines, disks and all, whatever their state."""

    def act(hutch: "Hutch", typed: str) -> str:
        id = service.machine_id(hutch, typed)
        hutch.machines.delete(id)
        return id

    delete_each(machines, act, as_json)


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
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    events: Annotated[bool, typer.Option(help="What happened to it instead of its console.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show a machine's console, or its events."""
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        if events or as_json:
            happened.listing(hutch.machines.events(id)[-tail:], as_json)
        elif follow:
            with closing(hutch.machines.follow_logs(id, tail)) as pieces:  # type: ignore[type-var]
                for piece in pieces:
                    print(piece, end="", flush=True)
        else:
            typer.echo(hutch.machines.logs(id, tail), nl=False)
