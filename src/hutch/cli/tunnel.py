"""tunnel: a port of a machine as a port of this box, through the service, with the key that is configured.

For what is not HTTP (ssh, databases), and for ports that nobody else is to reach.
"""

import re
from typing import Annotated

import typer

from hutch.cli import options, service
from hutch.cli.failure import Failure


def ports(typed: str) -> tuple[int, int]:
    """`[LOCAL:]PORT`: the port here, by default the same, and the one in the machine. 0 here: any that is free."""
    here, colon, there = typed.rpartition(":")
    if not re.fullmatch(r"\d{1,5}", there) or not 1 <= int(there) <= 65535:
        raise typer.BadParameter(f"{there!r} is not a port: 1 to 65535", param_hint="PORT")
    if colon and not (re.fullmatch(r"\d{1,5}", here) and int(here) <= 65535):
        raise typer.BadParameter(f"{here!r} is not a port of this box: 0 to 65535", param_hint="PORT")
    return int(here) if colon else int(there), int(there)


def tunnel(
    machine: options.MachineRef,
    port: Annotated[str, typer.Argument(metavar="[LOCAL:]PORT", help="Here, by default the same; in the machine.")],
) -> None:
    """Lead a port of this box to a published port of a machine until Ctrl-C. Prints the address here."""
    from hutch.cli import tunnelling

    here, there = ports(port)
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        if there not in {it.port for it in hutch.machines.get(id).ports}:
            raise Failure(f"port {there} is not published on {machine}", f"`hutch publish {machine} {there}` does that")
    tunnelling.run(id, here, there)
