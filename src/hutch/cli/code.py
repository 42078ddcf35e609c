"""code."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hutch.cli import options, service, streaming
from hutch.cli.failure import Code, Failure

_LANGUAGES = {".py": "python", ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript"}


def language_of(file: str, said: str | None) -> str:
    """What is said, or what the file's name tells. Pure."""
    found = said or _LANGUAGES.get(Path(file).suffix)
    if found is None:
        raise typer.BadParameter(f"{file} does not tell it", param_hint="--language")
    return found


@options.flat
def code(
    machine: options.MachineRef,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The program; - is stdin.")],
    surroundings: options.Surroundings,
    language: Annotated[
        str | None, typer.Option("--language", "-L", help="python, javascript or node; else as FILE's name ends.")
    ] = None,
) -> None:
    """Run a program of this box in a machine, in its language's interpreter. Exits with its code."""
    from hutch.client import Code as Program

    wanted = language_of(file, language)
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    program = Program(
        wanted,
        text,
        env=options.pairs(surroundings.env, "--env"),
        cwd=surroundings.workdir,
        user=surroundings.user,
        timeout=surroundings.timeout,
    )
    with service.connect(Code.NOT_RUN) as hutch:
        done = hutch.processes.code(service.machine_id(hutch, machine), program)
    streaming.write("stdout", done.stdout)
    streaming.write("stderr", done.stderr)
    raise typer.Exit(done.exit_code)
