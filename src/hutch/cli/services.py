"""service ls, create, rm, status, logs, start, stop, restart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hutch.cli import machines, options, out, service

if TYPE_CHECKING:
    from hutch.client import Hutch, builds

app = typer.Typer(no_args_is_help=True, help="Services of a machine's systemd.")

ServiceRef = Annotated[str, typer.Argument(metavar="SERVICE", help="Its name, without .service.")]
ServiceRefs = Annotated[list[str], typer.Argument(metavar="SERVICE…", help="Their names, without .service.")]

_STATUS: out.Columns = (
    ("NAME", lambda it: it.name),
    ("ACTIVE", lambda it: it.active),
    ("SUB", lambda it: it.sub),
    ("LOAD", lambda it: it.load),
    ("DESCRIPTION", lambda it: it.description),
)


@dataclass(frozen=True)
class Conduct:
    """How a service behaves."""

    mode: Annotated[Literal["service", "oneshot"], typer.Option(help="oneshot: it runs to its end.")] = "service"
    restart: Annotated[
        Literal["no", "on-failure", "always", "on-abnormal"] | None, typer.Option(help="When it is started anew.")
    ] = None
    after: Annotated[list[str], typer.Option(metavar="UNIT", help="Started after it.")] = field(default_factory=list)
    requires: Annotated[list[str], typer.Option(metavar="UNIT", help="Needs it.")] = field(default_factory=list)
    ready_signal: Annotated[
        bool, typer.Option("--ready-signal", help="It counts as started when it says so (sd_notify).")
    ] = False
    no_enable: Annotated[bool, typer.Option("--no-enable", help="Not started at the next boot.")] = False


@app.command()
@options.flat
def create(
    machine: options.MachineRef,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of your choice.")],
    lines: Annotated[list[str], typer.Argument(metavar="LINE…", help="Command lines, run one after the other.")],
    place: options.Place,
    conduct: Conduct,
    env: Annotated[list[str] | None, typer.Option("-e", "--env", metavar="KEY=VAL")] = None,
) -> None:
    """Make a service, and start it. Prints its name."""
    from hutch.client import NewService, recipes

    wanted = NewService(
        name=name,
        exec=lines,
        mode=conduct.mode,
        env=options.pairs(env or [], "--env"),
        user=place.user,
        workdir=place.workdir,
        after=conduct.after or None,
        requires=conduct.requires or None,
        enable=False if conduct.no_enable else None,
        ready_signal=True if conduct.ready_signal else None,
        restart=None if conduct.restart is None else recipes.RestartPolicy(conduct.restart),
    )
    with service.connect() as hutch:
        hutch.services.create(service.machine_id(hutch, machine), wanted)
    out.data(name)


@app.command("ls")
def list_all(machine: options.MachineRef, as_json: options.AsJson = False) -> None:
    """List the services that were made here, as systemd sees them; not those of the image."""
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        out.listing([hutch.services.status(id, name) for name in hutch.services.list(id)], _STATUS, as_json)


@app.command()
def status(machine: options.MachineRef, name: ServiceRef, as_json: options.AsJson = False) -> None:
    """Show what systemd says of a service."""
    with service.connect() as hutch:
        out.single(hutch.services.status(service.machine_id(hutch, machine), name), _STATUS, as_json)


@app.command()
def logs(
    machine: options.MachineRef,
    name: ServiceRef,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=10_000, help="The last ones.")] = 100,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="As journalctl takes it: 10 min ago.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show a service's journal."""
    with service.connect() as hutch:
        found = hutch.services.logs(service.machine_id(hutch, machine), name, lines, since)
    if as_json:
        out.as_json(found)
        return
    for line in found:
        out.data(f"{line.at.strftime('%Y-%m-%d %H:%M:%S')}  {line.message}")


@app.command()
def rm(machine: options.MachineRef, names: ServiceRefs, as_json: options.AsJson = False) -> None:
    """Stop services and remove them."""

    def act(hutch: "Hutch", name: str) -> str:
        hutch.services.delete(service.machine_id(hutch, machine), name)
        return name

    machines.delete_each(names, act, as_json)


@app.command()
def start(machine: options.MachineRef, names: ServiceRefs, as_json: options.AsJson = False) -> None:
    """Start services."""
    _each(machine, names, lambda hutch, id: hutch.services.start(id, names), as_json)


@app.command()
def stop(machine: options.MachineRef, names: ServiceRefs, as_json: options.AsJson = False) -> None:
    """Stop services."""
    _each(machine, names, lambda hutch, id: hutch.services.stop(id, names), as_json)


@app.command()
def restart(machine: options.MachineRef, names: ServiceRefs, as_json: options.AsJson = False) -> None:
    """Restart services."""
    _each(machine, names, lambda hutch, id: hutch.services.restart(id, names), as_json)


def _each(
    machine: str,
    names: Sequence[str],
    act: "Callable[[Hutch, str], list[builds.ServiceResult]]",
    as_json: bool,
) -> None:
    """Tell what became of each; fails if any was not done."""
    with service.connect() as hutch:
        results = act(hutch, service.machine_id(hutch, machine))
    if as_json:
        out.as_json(results)
    for it in results:
        if not it.done:
            out.say(f"hutch: {it.name}: {it.message}")
        elif not as_json:
            out.data(it.name)
    if not all(it.done for it in results):
        raise typer.Exit(1)
