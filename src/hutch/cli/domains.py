"""domain add, verify, ls, rm."""

from typing import Annotated

import typer

from hutch.cli import options, out, service

app = typer.Typer(no_args_is_help=True, help="Domains: names of your own that lead to machines.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as shop.example.")]
Port = Annotated[int, typer.Argument(metavar="PORT", min=1, max=65535, help="Of the machine.")]

_COLUMNS: out.Columns = (
    ("NAME", lambda it: it.name),
    ("MACHINE", lambda it: it.machine),
    ("PORT", lambda it: str(it.port)),
    ("VERIFIED", lambda it: "yes" if it.verified_at else "no"),
    ("AGE", lambda it: out.age(it.created_at)),
)


@app.command()
def add(name: Name, machine: options.MachineRef, port: Port, as_json: options.AsJson = False) -> None:
    """Claim a name for a port of a machine, or lead one that is yours there. Says how to prove that it is yours."""
    with service.connect() as hutch:
        made = hutch.domains.add(name, service.machine_id(hutch, machine), port)
    out.one(made, made.name, as_json)
    if made.verified_at is None and not as_json:
        out.say(f"Publish the TXT record {made.record_name} with {made.proof}")
        out.say(f"or serve that text at {made.file_url}, and then: hutch domain verify {made.name}")


@app.command()
def verify(name: Name, as_json: options.AsJson = False) -> None:
    """Have the proof looked for; the name leads to its machine from then on."""
    with service.connect() as hutch:
        done = hutch.domains.verify(name)
    out.one(done, done.name, as_json)


@app.command("ls")
def list_all(as_json: options.AsJson = False) -> None:
    """List domains and claims."""
    with service.connect() as hutch:
        out.listing(hutch.domains.list(), _COLUMNS, as_json)


@app.command()
def rm(name: Name, as_json: options.AsJson = False) -> None:
    """Give a name up."""
    with service.connect() as hutch:
        hutch.domains.delete(name)
    out.deleted(name, name, as_json)
