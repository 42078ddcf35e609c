"""pool create, ls, set, drain, rm, claim."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hutch.cli import machines, options, out, progress, service

if TYPE_CHECKING:
    from hutch.client import PoolChange

Mode = Literal["prefer", "require", "bypass"]
State = Literal["enabled", "disabled", "draining"]

app = typer.Typer(no_args_is_help=True, help="Warm pools: machines kept ready, so that one that fits starts at once.")

PoolRef = Annotated[str, typer.Argument(metavar="POOL", help="A name, an id, or the beginning of one.")]

_COLUMNS: out.Columns = (
    ("NAME", lambda it: it.name),
    ("ID", lambda it: it.id),
    ("STATUS", lambda it: it.status),
    ("IMAGE", lambda it: it.image),
    ("CPUS", lambda it: str(it.cpus)),
    ("MEMORY", lambda it: f"{it.memory_mb} MiB"),
    ("READY", lambda it: f"{it.ready}/{it.min}"),
    ("MAX", lambda it: str(it.max)),
    ("CLAIMED", lambda it: str(it.claimed)),
    ("AGE", lambda it: out.age(it.created_at)),
    ("REASON", lambda it: it.reason or ""),
)


@app.command()
@options.flat
def create(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="debian, or any OCI reference: python:3.12, …")],
    shape: options.PoolShape = options.PoolShape(),  # noqa: B008 (flattened into options)
    least: Annotated[int | None, typer.Option("--min", min=0, help="So many are kept ready; 1 if not said.")] = None,
    most: Annotated[int | None, typer.Option("--max", min=0, help="So many at most, as claims come faster.")] = None,
    warm_up: Annotated[
        str | None, typer.Option(metavar="LINE", help="A shell line, run in each before it waits.")
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="Of a claim that names none: prefer if not said.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Begin to keep machines ready. Prints the pool's name."""
    from hutch.client import NewPool

    wanted = NewPool(
        image,
        name=shape.name,
        min=least,
        max=most,
        cpus=shape.cpus,
        memory_mb=shape.memory,
        disk_gb=shape.disk,
        network="blocked" if shape.offline else None,
        warm_up=None if warm_up is None else ["sh", "-lc", warm_up],
        mode=mode,
    )
    with service.connect() as hutch, progress.shown(f"making a pool of {image}"):
        made = hutch.pools.create(wanted)
    if as_json:
        out.as_json(made)
    else:
        out.data(made.name)


@app.command("ls")
def list_all(as_json: options.AsJson = False) -> None:
    """List pools, and how they stand."""
    with service.connect() as hutch:
        out.listing(hutch.pools.list(), _COLUMNS, as_json)


@app.command("set")
def change(
    pool: PoolRef,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    least: Annotated[int | None, typer.Option("--min", min=0, help="So many are kept ready.")] = None,
    most: Annotated[int | None, typer.Option("--max", min=0, help="So many at most, as claims come faster.")] = None,
    warm_up: Annotated[
        str | None, typer.Option(metavar="LINE", help="A shell line, run in each before it waits.")
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="Of a claim that names none.")] = None,
    state: Annotated[
        State | None, typer.Option(help="enabled; disabled: none is made or taken; draining: those that wait go, too.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Change a pool; what is not named stays. Prints its name."""
    from hutch.client import PoolChange

    line = None if warm_up is None else ["sh", "-lc", warm_up]
    _change(pool, PoolChange(name, least, most, line, state, mode), as_json)


@app.command()
def drain(pool: PoolRef, as_json: options.AsJson = False) -> None:
    """End a pool's waiting machines and make no more, until `pool set --state enabled`. Prints its name."""
    from hutch.client import PoolChange

    _change(pool, PoolChange(state="draining"), as_json)


def _change(pool: str, change: "PoolChange", as_json: bool) -> None:
    with service.connect() as hutch:
        made = hutch.pools.update(service.pool_id(hutch, pool), change)
    if as_json:
        out.as_json(made)
    else:
        out.data(made.name)


@app.command()
def rm(pool: PoolRef, as_json: options.AsJson = False) -> None:
    """End a pool and its waiting machines; claimed ones live on."""
    with service.connect() as hutch:
        id = service.pool_id(hutch, pool)
        hutch.pools.delete(id)
    out.deleted(id, pool, as_json)


@app.command()
@options.flat
def claim(
    pool: PoolRef,
    name: Annotated[str | None, typer.Option(help="A name of your choice.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="NAME=VALUE")] = None,
    env: Annotated[list[str] | None, typer.Option("-e", "--env", metavar="KEY=VAL")] = None,
    life: options.Life = options.Life(),  # noqa: B008 (flattened into options)
    mode: Annotated[Mode | None, typer.Option(help="require: one that is ready, or none.")] = None,
    wait: Annotated[
        float | None, typer.Option(min=0, max=30, metavar="SECONDS", help="Wait so long for one to be ready.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Take a running machine out of a pool, or make one like them if none is ready. Prints its id."""
    shape = options.Shape(name=name, label=label or [])
    wanted = machines.new_machine(machines.Origin(), shape, life, env or ())
    with service.connect() as hutch, progress.shown(f"claiming a machine of {pool}"):
        made = hutch.pools.claim(service.pool_id(hutch, pool), wanted, mode, wait)
    if as_json:
        out.as_json(made)
    else:
        out.data(made.id)
