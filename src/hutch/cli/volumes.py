"""volume create, ls, rm."""

from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import machines, options, out, service

if TYPE_CHECKING:
    from hutch.client import Hutch

app = typer.Typer(
    no_args_is_help=True, help="Volumes: disks that outlive machines. `hutch create --mount` attaches one."
)

_COLUMNS: out.Columns = (
    ("NAME", lambda it: it.name),
    ("ID", lambda it: it.id),
    ("SIZE", lambda it: f"{it.size_gb} GiB"),
    ("STATUS", lambda it: it.status),
    ("MACHINES", lambda it: ",".join(it.machines)),
    ("AGE", lambda it: out.age(it.created_at)),
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of your choice.")],
    size: Annotated[int, typer.Option(min=1, help="GiB.")] = 10,
    as_json: options.AsJson = False,
) -> None:
    """Make a volume, empty. Prints its id."""
    with service.connect() as hutch:
        made = hutch.volumes.create(name, size)
    out.one(made, made.id, as_json)


@app.command("ls")
def list_all(as_json: options.AsJson = False) -> None:
    """List volumes, and which machines mount them."""
    with service.connect() as hutch:
        out.listing(hutch.volumes.list(), _COLUMNS, as_json)


@app.command()
def rm(
    volumes: Annotated[list[str], typer.Argument(metavar="VOLUME…", help="Names, ids, or beginnings of one.")],
    as_json: options.AsJson = False,
) -> None:
    """Remove volumes with all they hold; not while a machine mounts one."""

    def act(hutch: "Hutch", typed: str) -> str:
        id = service.volume_id(hutch, typed)
        hutch.volumes.delete(id)
        return id

    machines.delete_each(volumes, act, as_json)
