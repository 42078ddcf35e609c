"""events."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import options, out, service

if TYPE_CHECKING:
    from hutch.client import models

_COLUMNS: out.Columns = (
    ("WHEN", lambda it: it.created_at.strftime("%Y-%m-%d %H:%M:%S")),
    ("LEVEL", lambda it: it.level),
    ("KIND", lambda it: it.kind),
    ("MESSAGE", lambda it: it.message),
)


def listing(events: "list[models.Event]", as_json: bool) -> None:
    """Events of one machine, as asked for."""
    out.listing(events, _COLUMNS, as_json)


def _line(it: "models.Event", as_json: bool) -> str:
    when = it.created_at.strftime("%Y-%m-%d %H:%M:%S")
    return out.line(it) if as_json else f"{when}  {it.kind}  {it.machine}  {it.message}"


def events(
    machine: Annotated[str, typer.Argument(metavar="[MACHINE]", help="Of this one; else of all, from now on.")] = "",
    kind: Annotated[list[str] | None, typer.Option(help="Of all: such as machine.failed or machine.*.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Of one: what was, then what happens.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Tell what happened to a machine, or what happens to all of them until Ctrl-C. With --json a line for each."""
    if machine and kind:
        raise typer.BadParameter("only of all machines", param_hint="--kind")
    with service.connect() as hutch:
        if machine and not follow:
            listing(hutch.machines.events(service.machine_id(hutch, machine)), as_json)
            return
        id = service.machine_id(hutch, machine) if machine else ""
        with closing(hutch.events.follow(id) if id else hutch.events.listen(kind or ())) as told:  # type: ignore[type-var]
            for it in told:
                out.data(_line(it, as_json))
