"""session create, ls, exec, rm."""

from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import options, out, service, streaming
from hutch.cli.failure import Code

if TYPE_CHECKING:
    from hutch.client import nouns

app = typer.Typer(no_args_is_help=True, help="Sessions: a directory and variables kept from one command to the next.")

SessionRef = Annotated[str, typer.Argument(metavar="SESSION", help="Its id, as `hutch session ls` shows it.")]

_COLUMNS: out.Columns = (
    ("ID", lambda it: it.id),
    ("CWD", lambda it: it.cwd or ""),
    ("AGE", lambda it: out.age(it.created_at)),
    ("LAST USED", lambda it: out.age(it.last_exec_at) if it.last_exec_at else ""),
    ("ENV", lambda it: " ".join(f"{name}={value}" for name, value in it.env.items())),
)


@app.command()
def create(
    machine: options.MachineRef,
    id: Annotated[str | None, typer.Option("--id", help="An id of your choice.")] = None,
    env: Annotated[list[str] | None, typer.Option("-e", "--env", metavar="KEY=VAL")] = None,
    workdir: Annotated[str | None, typer.Option("-w", "--workdir", help="Where it begins.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Open a session in a machine. Prints its id."""
    with service.connect() as hutch:
        variables = options.pairs(env or (), "--env")
        made: nouns.Session = hutch.sessions.create(service.machine_id(hutch, machine), workdir, variables, id)
    out.one(made, made.id, as_json)


@app.command("ls")
def list_all(machine: options.MachineRef, as_json: options.AsJson = False) -> None:
    """List a machine's sessions."""
    with service.connect() as hutch:
        out.listing(hutch.sessions.list(service.machine_id(hutch, machine)), _COLUMNS, as_json)


@app.command("exec")
@options.flat
def exec_(
    machine: options.MachineRef,
    session: SessionRef,
    line: Annotated[str, typer.Argument(metavar="LINE", help="A line for the shell; `cd` and `export` stay.")],
    surroundings: options.Surroundings,
) -> None:
    """Run a shell line in a session. Exits with its code."""
    from hutch.client import Command

    wanted = Command(
        line,
        env=options.pairs(surroundings.env, "--env"),
        cwd=surroundings.workdir,
        user=surroundings.user,
        timeout=surroundings.timeout,
    )
    with service.connect(Code.NOT_RUN) as hutch:
        code = streaming.show(hutch.sessions.stream(service.machine_id(hutch, machine), session, wanted))
    raise typer.Exit(code)


@app.command()
def rm(machine: options.MachineRef, session: SessionRef, as_json: options.AsJson = False) -> None:
    """End a session, and a command that runs in it."""
    with service.connect() as hutch:
        hutch.sessions.delete(service.machine_id(hutch, machine), session)
    out.deleted(session, session, as_json)
