"""snapshot create, ls, rename, rm, verify."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hutch.cli import machines, options, out, progress, service
from hutch.cli.failure import Code, Failure

if TYPE_CHECKING:
    from hutch.client import Hutch


def meant(args: list[str], commands: Collection[str], helps: Collection[str]) -> list[str]:
    """What is no command of the group is a machine to make a snapshot of. Pure."""
    is_machine = bool(args) and args[0] not in commands and args[0] not in helps
    return ["create", *args] if is_machine else args


class CreatesByDefault(typer.core.TyperGroup):
    """`hutch snapshot web` is `hutch snapshot create web`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As inherited, once it is clear which command is meant."""
        return super().parse_args(ctx, meant(args, self.commands, ctx.help_option_names))


app = typer.Typer(
    cls=CreatesByDefault,
    no_args_is_help=True,
    help="Snapshots: immutable copies of machines, memory and processes included. `snapshot MACHINE` makes one.",
)


def _columns(names: Mapping[str, str]) -> out.Columns:
    """`names` are the machines there are; one that is gone is shown by its id."""
    return (
        ("NAME", lambda it: it.name),
        ("ID", lambda it: it.id),
        ("STATUS", lambda it: it.status),
        ("MACHINE", lambda it: names.get(it.machine, it.machine)),
        ("IMAGE", lambda it: it.image),
        ("SIZE", lambda it: out.size(it.size)),
        ("AGE", lambda it: out.age(it.created_at)),
    )


@app.command()
def create(
    machine: options.MachineRef,
    name: Annotated[str | None, typer.Option(help="A name of your choice.")] = None,
    persistence: Annotated[
        str | None, typer.Option(metavar="CLASS", help="sticky[:0-10]: it may go when room is needed. persistent: not.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a snapshot of a running, paused or suspended machine, which goes on. Prints its name."""
    kept = options.persistence(persistence)
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        with progress.shown(f"making a snapshot of {machine}"):
            made = hutch.snapshots.create(id, name, None, None, *kept)
    if as_json:
        out.as_json(made)
    else:
        out.data(made.name)


@app.command("ls")
def list_all(
    machine: Annotated[str, typer.Argument(metavar="[MACHINE]", help="Only those made of this one.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """List snapshots."""
    with service.connect() as hutch:
        of = service.machine_id(hutch, machine) if machine else None
        names = {} if as_json else {it.id: it.name for it in hutch.machines.list()}
        out.listing(hutch.snapshots.list(of), _columns(names), as_json)


@app.command()
def rm(
    snapshots: Annotated[list[str], typer.Argument(metavar="SNAPSHOT…", help="Names, ids, or beginnings of one.")],
    as_json: options.AsJson = False,
) -> None:
    """Delete snapshots; machines made of them live on."""

    def act(hutch: "Hutch", typed: str) -> str:
        id = service.snapshot_id(hutch, typed)
        hutch.snapshots.delete(id)
        return id

    machines.delete_each(snapshots, act, as_json)


@app.command()
def rename(
    snapshot: options.SnapshotRef,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name from now on.")],
    as_json: options.AsJson = False,
) -> None:
    """Give a snapshot another name. Prints it."""
    with service.connect() as hutch:
        done = hutch.snapshots.rename(service.snapshot_id(hutch, snapshot), name)
    out.one(done, done.name, as_json)


@app.command()
def verify(snapshot: options.SnapshotRef, as_json: options.AsJson = False) -> None:
    """Read all of a snapshot. Fails if anything is not as it was saved, and says what."""
    with service.connect() as hutch, progress.shown(f"reading {snapshot}"):
        found = hutch.snapshots.verify(service.snapshot_id(hutch, snapshot))
    if as_json:
        out.as_json(found)
    elif not found.damage:
        out.data(snapshot)
    if found.damage:
        raise Failure(f"{snapshot} is damaged: {'; '.join(found.damage)}", "it cannot be repaired", Code.FAILED)
