"""key create, ls, revoke."""

from typing import Annotated

import typer

from hutch.cli import options, out, service

app = typer.Typer(no_args_is_help=True, help="API keys.")

_COLUMNS: out.Columns = (
    ("ID", lambda it: it.id),
    ("PREFIX", lambda it: it.prefix),
    ("SCOPES", lambda it: ",".join(it.scopes)),
    ("AGE", lambda it: out.age(it.created_at)),
    ("EXPIRES", lambda it: it.expires_at.strftime("%Y-%m-%d") if it.expires_at else ""),
    ("LAST USED", lambda it: out.age(it.last_used_at) if it.last_used_at else ""),
    ("DESCRIPTION", lambda it: it.description),
)


@app.command()
def create(
    scope: Annotated[list[str] | None, typer.Option(help="What it may do; none means all that yours may.")] = None,
    prefix: Annotated[str, typer.Option(help="What it begins with: the dialect it is for.")] = "smk",
    description: Annotated[str, typer.Option(help="For you to know it by.")] = "",
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="Days until it ends.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant: for the admin of the box.")] = None,
) -> None:
    """Make a key. Prints it, this once, and nothing else."""
    with service.connect() as hutch:
        of = service.tenant_id(hutch, tenant) if tenant else None
        _, key = hutch.keys.create(scope or (), prefix, description, expires_in_days, of)
    out.data(key)


@app.command("ls")
def list_all(as_json: options.AsJson = False) -> None:
    """List keys, without their secrets."""
    with service.connect() as hutch:
        out.listing(hutch.keys.list(), _COLUMNS, as_json)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="As `hutch key ls` shows it.")],
    as_json: options.AsJson = False,
) -> None:
    """End a key at once."""
    with service.connect() as hutch:
        hutch.keys.revoke(key)
    out.deleted(key, key, as_json)
