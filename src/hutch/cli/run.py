"""run and exec."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import machines, options, out, service, streaming
from hutch.cli.failure import Code, Failure

if TYPE_CHECKING:
    from hutch.client import Command, Hutch, models

Words = Annotated[list[str] | None, typer.Argument(metavar="CMD", help="The command and its arguments.")]


def command(words: Sequence[str], surroundings: options.Surroundings, stdin: bool = True) -> "Command":
    """A command as asked for; our stdin is its own if there is any and `stdin` allows it."""
    from hutch.client import Command

    return Command(
        list(words),
        env=options.pairs(surroundings.env, "--env"),
        cwd=surroundings.workdir,
        user=surroundings.user,
        timeout=surroundings.timeout,
        interactive=stdin and streaming.has_stdin(),
    )


def argv(entrypoint: Sequence[str], cmd: Sequence[str], words: Sequence[str]) -> list[str]:
    """What an image runs, as docker has it: what is asked for takes the place of `cmd`, never of `entrypoint`."""
    return [*entrypoint, *(words or cmd)]


def _image_argv(hutch: "Hutch", machine: "models.Machine", words: Sequence[str]) -> list[str]:
    image = next((it for it in hutch.images.list() if it.digest == machine.digest), None)
    wanted = argv(image.entrypoint if image else (), image.cmd if image else (), words)
    if not wanted:
        raise Failure(
            f"{machine.image} has no command of its own",
            f"say one: hutch run {machine.image} -- uname -a",
            Code.NOT_RUN,
        )
    return wanted


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _removed(hutch: "Hutch", machine: "models.Machine", keep: bool) -> Iterator[None]:
    """The machine is deleted when this is left, however that comes about: SIGTERM and SIGHUP count as Ctrl-C."""
    from hutch.client import errors

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        if keep:
            out.say(f"kept: {machine.name}")
        else:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            with suppress(errors.NotFound):
                hutch.machines.delete(machine.id)


@options.flat
def run(
    image: machines.Image = None,
    words: Words = None,
    snapshot: options.From = None,
    shape: options.Shape = options.Shape(),  # noqa: B008 (flattened into options)
    life: options.Life = options.Life(),  # noqa: B008
    surroundings: options.Surroundings = options.Surroundings(),  # noqa: B008
    keep: Annotated[bool, typer.Option("--keep", help="Do not delete the machine afterwards.")] = False,
) -> None:
    """Run a command in a new machine and delete it afterwards. Without a command, what the image itself runs.

    With --from there is no IMAGE: all words are the command's.
    """
    if snapshot is not None and image is not None:
        words, image = [image, *(words or ())], None
    wanted = machines.new_machine(machines.origin(image, snapshot), shape, life, surroundings.env, surroundings.workdir)
    with service.connect(Code.NOT_RUN) as hutch:
        machine = machines.make(hutch, wanted)
        with _removed(hutch, machine, keep):
            machines.start_shown(hutch, machine.id, machine.name)
            line = command(_image_argv(hutch, machine, words or ()), surroundings)
            code = streaming.run(hutch, machine.id, line)
    raise typer.Exit(code)


@options.flat
def exec_(
    machine: options.MachineRef,
    words: Annotated[list[str], typer.Argument(metavar="CMD", help="The command and its arguments.")],
    surroundings: options.Surroundings,
    shell: Annotated[bool, typer.Option("--shell", help="CMD is a line for `sh -lc`.")] = False,
    background: Annotated[bool, typer.Option("-d", "--background", help="Print its process id and leave it.")] = False,
) -> None:
    """Run a command in a machine; a stopped one is started first. Exits with the command's code."""
    line = ["sh", "-lc", " ".join(words)] if shell else words
    wanted = command(line, surroundings, stdin=not background)
    with service.connect(Code.NOT_RUN) as hutch:
        id = service.machine_id(hutch, machine)
        if background:
            out.data(hutch.processes.start(id, wanted))
            return
        code = streaming.run(hutch, id, wanted)
    raise typer.Exit(code)
