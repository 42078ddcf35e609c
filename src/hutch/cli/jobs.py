"""job start, ls, show, output, cancel."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import options, out, run, service
from hutch.cli.failure import Code

if TYPE_CHECKING:
    from hutch.client import Hutch, nouns

app = typer.Typer(no_args_is_help=True, help="Jobs: commands that run on when nobody waits for them.")

JobRef = Annotated[str, typer.Argument(metavar="JOB", help="Its id, as `hutch job ls` shows it.")]

_EVERY = 0.5  # seconds between two looks at a job that is followed

_COLUMNS: out.Columns = (
    ("ID", lambda it: it.id),
    ("STATE", lambda it: it.state),
    ("EXIT", lambda it: "" if it.exit_code is None else str(it.exit_code)),
    ("AGE", lambda it: out.age(it.created_at)),
    ("OUTPUT", lambda it: out.size(it.stdout_bytes + it.stderr_bytes)),
    ("COMMAND", lambda it: " ".join(it.command)),
)


@app.command(cls=options.WordsCommand)
@options.flat
def start(
    machine: options.MachineRef,
    words: Annotated[list[str], typer.Argument(metavar="CMD", help="The command and its arguments.")],
    surroundings: options.Surroundings,
    as_json: options.AsJson = False,
) -> None:
    """Start a job; a stopped machine is started first. Prints the job's id."""
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        made = hutch.jobs.start(id, run.command(words, surroundings, stdin=False))
    out.one(made, made.id, as_json)


@app.command("ls")
def list_all(machine: options.MachineRef, as_json: options.AsJson = False) -> None:
    """List a machine's jobs, newest first."""
    with service.connect() as hutch:
        out.listing(hutch.jobs.list(service.machine_id(hutch, machine)), _COLUMNS, as_json)


@app.command()
def show(machine: options.MachineRef, job: JobRef, as_json: options.AsJson = False) -> None:
    """Show one job as it is now."""
    with service.connect() as hutch:
        found = hutch.jobs.get(service.machine_id(hutch, machine), job)
    out.single(found, _COLUMNS, as_json)


@app.command()
def output(
    machine: options.MachineRef,
    job: JobRef,
    stderr: Annotated[bool, typer.Option("--stderr", help="Its stderr instead of its stdout.")] = False,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until it ends; exit with its code.")] = False,
) -> None:
    """Print what a job has written, as far as it is kept."""
    with service.connect(Code.NOT_RUN if follow else Code.FAILED) as hutch:
        id = service.machine_id(hutch, machine)
        code = _print(hutch, id, job, "stderr" if stderr else "stdout", follow)
    raise typer.Exit(code)


def _print(hutch: "Hutch", machine: str, job: str, stream: str, follow: bool) -> int:
    offset = 0
    while True:
        found: nouns.Job = hutch.jobs.get(machine, job)
        while (page := hutch.jobs.output(machine, job, stream, offset)).data:
            sys.stdout.buffer.write(page.data)
            sys.stdout.buffer.flush()
            offset = page.next_offset
        if not follow:
            return 0
        if found.state != "running":
            return Code.NOT_RUN if found.exit_code is None else found.exit_code
        time.sleep(_EVERY)


@app.command()
def cancel(machine: options.MachineRef, job: JobRef, as_json: options.AsJson = False) -> None:
    """End a job; its exit code is 143 then. One that has ended is left alone."""
    with service.connect() as hutch:
        done = hutch.jobs.cancel(service.machine_id(hutch, machine), job)
    out.one(done, job, as_json)
