"""stats, watch."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import options, out, service

if TYPE_CHECKING:
    from hutch.client import nouns

_STATS: out.Columns = (
    ("CPU", lambda it: f"{it.cpu_percent:.1f}%"),
    ("USED", lambda it: out.size(it.memory_used)),
    ("AVAILABLE", lambda it: out.size(it.memory_available)),
    ("MEMORY", lambda it: out.size(it.memory_total)),
)


def stats(
    machine: options.MachineRef,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C or the end of its run.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, max=10, help="Seconds between two lines of --follow.")] = 1,
    as_json: options.AsJson = False,
) -> None:
    """Tell how busy a machine's CPUs are and how much memory it uses. With -f --json a line for each."""
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        if not follow:
            out.single(hutch.watching.stats(id), _STATS, as_json)
            return
        with closing(hutch.watching.follow_stats(id, interval)) as told:  # type: ignore[type-var]
            for it in told:
                out.data(_line(it, as_json))


def _line(it: "nouns.Stats", as_json: bool) -> str:
    memory = f"{out.size(it.memory_used)} of {out.size(it.memory_total)}"
    return out.line(it) if as_json else f"{it.at.strftime('%H:%M:%S')}  {it.cpu_percent:5.1f}%  {memory}"


def watch(
    machine: options.MachineRef,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="A directory; / without the system's own.")] = "/",
    as_json: options.AsJson = False,
) -> None:
    """Tell what happens to files below a directory, a line each, until Ctrl-C."""
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        with closing(hutch.watching.files(id, path)) as told:  # type: ignore[type-var]
            for it in told:
                out.data(out.line(it) if as_json else f"{it.kind:8} {it.path}{'/' if it.directory else ''}")
