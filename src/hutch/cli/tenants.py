"""tenant create, ls, limit, suspend, reactivate."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import options, out, service

if TYPE_CHECKING:
    from hutch.client import nouns

app = typer.Typer(no_args_is_help=True, help="Tenants, for the admin of the box.")

TenantRef = Annotated[str, typer.Argument(metavar="TENANT", help="A name, an id, or the beginning of one.")]


def _told(limits: "nouns.Limits") -> str:
    return " ".join(f"{name}={value}" for name, value in dataclasses.asdict(limits).items() if value is not None)


_COLUMNS: out.Columns = (
    ("NAME", lambda it: it.name),
    ("ID", lambda it: it.id),
    ("STATUS", lambda it: it.status),
    ("AGE", lambda it: out.age(it.created_at)),
    ("LIMITS", lambda it: _told(it.limits)),
)


@dataclass(frozen=True)
class Limits:
    """The most a tenant may have at once."""

    machines: Annotated[int | None, typer.Option(min=0)] = None
    running_machines: Annotated[int | None, typer.Option(min=0)] = None
    cpus: Annotated[int | None, typer.Option(min=0, help="Of running machines in all.")] = None
    memory_mb: Annotated[int | None, typer.Option(min=0, help="MiB, of running machines in all.")] = None
    disk_gb: Annotated[int | None, typer.Option(min=0, help="GiB, of all machines and volumes.")] = None
    volumes: Annotated[int | None, typer.Option(min=0)] = None
    checkpoints: Annotated[int | None, typer.Option(min=0, help="Snapshots.")] = None
    requests_per_second: Annotated[
        float | None, typer.Option(min=0, help="Of each key, execs not counted; 0: no limit, whatever the default is.")
    ] = None


def _limits(given: Limits) -> "nouns.Limits":
    from hutch.client import nouns

    return nouns.Limits(**dataclasses.asdict(given))


@app.command()
@options.flat
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of your choice.")],
    limits: Limits = Limits(),
    as_json: options.AsJson = False,
) -> None:
    """Make a tenant; what is not limited is as much as the box has. Prints its id."""
    with service.connect() as hutch:
        made = hutch.tenants.create(name, _limits(limits))
    out.one(made, made.id, as_json)


@app.command("ls")
def list_all(as_json: options.AsJson = False) -> None:
    """List tenants."""
    with service.connect() as hutch:
        out.listing(hutch.tenants.list(), _COLUMNS, as_json)


@app.command()
@options.flat
def limit(
    tenant: TenantRef,
    limits: Limits = Limits(),
    as_json: options.AsJson = False,
) -> None:
    """Replace a tenant's limits: those that are not said are none."""
    with service.connect() as hutch:
        done = hutch.tenants.update(service.tenant_id(hutch, tenant), _limits(limits))
    out.one(done, tenant, as_json)


@app.command()
def suspend(tenant: TenantRef) -> None:
    """Let its keys look and delete, and nothing else; its running machines are suspended."""
    with service.connect() as hutch:
        hutch.tenants.suspend(service.tenant_id(hutch, tenant))
    out.data(tenant)


@app.command()
def reactivate(tenant: TenantRef) -> None:
    """Let its keys work again; its machines stay as they are."""
    with service.connect() as hutch:
        hutch.tenants.reactivate(service.tenant_id(hutch, tenant))
    out.data(tenant)
