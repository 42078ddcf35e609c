"""usage."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import options, out, service

if TYPE_CHECKING:
    from hutch.client import nouns

_COLUMNS: out.Columns = (
    ("FROM", lambda it: it.start.strftime("%Y-%m-%d %H:%M")),
    ("TO", lambda it: it.end.strftime("%Y-%m-%d %H:%M")),
    ("MACHINES", lambda it: "" if it.machines is None else str(it.machines)),
    ("UPTIME", lambda it: f"{it.uptime_seconds / 3600:.2f} h"),
    ("CPU", lambda it: f"{it.cpu_hours:.2f} h"),
    ("MEMORY", lambda it: f"{it.memory_gb_hours:.2f} GiB·h"),
    ("DISK", lambda it: f"{it.disk_gb_hours:.2f} GiB·h"),
    ("SENT", lambda it: out.size(it.egress_gb * 2**30)),
    ("EXECS", lambda it: str(it.execs)),
    ("EXEC TIME", lambda it: f"{it.exec_seconds:.1f} s"),
)


def moment(text: str | None, option: str) -> datetime | None:
    """An ISO 8601 date or time; without an offset, UTC."""
    try:
        when = datetime.fromisoformat(text) if text else None
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date such as 2026-11-22", param_hint=option) from None
    return when.replace(tzinfo=UTC) if when and when.tzinfo is None else when


def usage(
    machine: Annotated[str, typer.Argument(metavar="[MACHINE]", help="Of this one; by its id also when deleted.")] = "",
    start: Annotated[str | None, typer.Option("--from", metavar="DATE", help="ISO 8601, inclusive.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="DATE", help="ISO 8601, exclusive; else now.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant: for the admin of the box.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell what was used: by all your machines in a period, or by one."""
    if machine and (start or end or tenant):
        raise typer.BadParameter("a machine's usage has no period and no tenant", param_hint="MACHINE")
    since, until = moment(start, "--from"), moment(end, "--to")
    with service.connect() as hutch:
        found: nouns.Usage
        if machine:
            is_id = machine.startswith("mach-")
            found = hutch.usage.of_machine(machine if is_id else service.machine_id(hutch, machine))
        else:
            found = hutch.usage.report(since, until, tenant and service.tenant_id(hutch, tenant))
    out.single(found, _COLUMNS, as_json)
