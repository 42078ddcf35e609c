"""publish, url, net show, net set."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import options, out, service
from hutch.cli.failure import Failure

if TYPE_CHECKING:
    from hutch.client import models

app = typer.Typer(no_args_is_help=True, help="What machines may reach.")

Port = Annotated[int | None, typer.Argument(metavar="[PORT]", min=1, max=65535, help="In the machine.")]

_PORTS: out.Columns = (
    ("PORT", lambda it: str(it.port)),
    ("ACCESS", lambda it: "public" if it.public else "private"),
)
_NETWORK: out.Columns = (
    ("MODE", lambda it: it.mode),
    ("ALLOW", lambda it: ",".join(it.allow)),
    ("DENY", lambda it: ",".join(it.deny)),
    ("KBIT/S", lambda it: "" if it.kbit_per_second is None else str(it.kbit_per_second)),
    ("PACKETS/S", lambda it: "" if it.packets_per_second is None else str(it.packets_per_second)),
    ("BURST", lambda it: "" if it.burst is None else str(it.burst)),
)


@dataclass(frozen=True)
class Policy:
    """What a machine is to be let do."""

    open: Annotated[bool, typer.Option("--open", help="Reach everything that is not denied.")] = False
    blocked: Annotated[bool, typer.Option("--blocked", help="Reach nothing.")] = False
    allow: Annotated[
        list[str], typer.Option(metavar="NET|HOST", help="Reach only this: 10.0.0.0/8, example.org, *.example.org.")
    ] = field(default_factory=list)
    deny: Annotated[list[str], typer.Option(metavar="NET", help="Never reach this network.")] = field(
        default_factory=list
    )
    kbit: Annotated[int | None, typer.Option(min=1, help="Most it may send, in kbit/s.")] = None
    pps: Annotated[int | None, typer.Option(min=1, help="Most it may send, in packets/s.")] = None
    burst: Annotated[int | None, typer.Option(min=1, help="With --pps: packets at once above that.")] = None


def publish(
    machine: options.MachineRef,
    port: Port = None,
    public: Annotated[bool, typer.Option("--public", help="For everybody, without a link, token or key.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Publish it no more.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Publish a port of a machine, or list what is published. Prints where it is reached."""
    from hutch.client import models

    if (port is None and (public or remove)) or (public and remove):
        raise typer.BadParameter("--public or --remove, of one port", param_hint="PORT")
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        ports = hutch.machines.get(id).ports
        if port is not None:
            wanted = {it.port: it for it in ports}
            if not remove:
                wanted[port] = models.Port(port, public)
            elif wanted.pop(port, None) is None:
                raise Failure(
                    f"port {port} of {machine} is not published", f"`hutch publish {machine}` lists those that are"
                )
            done = hutch.ports.publish(id, [*wanted.values()])
    if port is None:
        out.listing(ports, _PORTS, as_json)
    elif as_json:
        out.as_json(done.ports)
    else:
        out.data(str(port) if remove else _url(done, port))


def url(
    machine: options.MachineRef,
    port: Port = None,
    ttl: Annotated[str | None, typer.Option(metavar="TIME", help="A link good for so long: 90s, 10m, 2h, 1d.")] = None,
    link: Annotated[bool, typer.Option("--link", help="A link that is good until it is revoked.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="End all links and tokens of the machine.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Tell where a published port is reached, the first one if none is named. Whoever has a link gets in with it."""
    if revoke and (port is not None or ttl is not None or link or as_json):
        raise typer.BadParameter("it goes with nothing else", param_hint="--revoke")
    if ttl is not None and link:
        raise typer.BadParameter("one of --ttl and --link", param_hint="--link")
    seconds = options.seconds(ttl, "--ttl")
    with service.connect() as hutch:
        id = service.machine_id(hutch, machine)
        if revoke:
            hutch.ports.revoke(id)
            out.data(machine)
            return
        found = hutch.machines.get(id)
        port = _published(found, port)
        signed = hutch.ports.link(id, port, seconds) if link or ttl is not None else None
    plain = _url(found, port)
    if as_json:
        ends = None if signed is None else signed.expires_at
        out.as_json({"port": port, "url": plain if signed is None else signed.url, "expires_at": ends})
    else:
        out.data(plain if signed is None else signed.url)


@app.command()
def show(machine: options.MachineRef, as_json: options.AsJson = False) -> None:
    """Show what a machine may reach."""
    with service.connect() as hutch:
        found = hutch.machines.get(service.machine_id(hutch, machine))
    out.single(found.policy, _NETWORK, as_json)


@app.command("set")
@options.flat
def set_policy(
    machine: options.MachineRef,
    policy: Policy = Policy(),
    as_json: options.AsJson = False,
) -> None:
    """Say what a machine may reach, in place of all that was said before. Holds at once; breaks what it forbids."""
    wanted = _policy(policy)
    with service.connect() as hutch:
        done = hutch.machines.set_network(service.machine_id(hutch, machine), wanted)
    out.single(done.policy, _NETWORK, as_json)


def _policy(given: Policy) -> "models.Network":
    from hutch.client import models

    if given == Policy():
        raise typer.BadParameter(
            "say what it may reach", param_hint="--open, --blocked, --allow, --deny, --kbit, --pps"
        )
    if given.open + given.blocked + bool(given.allow) > 1:
        raise typer.BadParameter("one of them", param_hint="--open, --blocked, --allow")
    mode = "blocked" if given.blocked else "allow" if given.allow else "open"
    return models.Network(mode, given.allow, given.deny, given.kbit, given.pps, given.burst)


def _published(machine: "models.Machine", port: int | None) -> int:
    ports = [it.port for it in machine.ports]
    if port in ports:
        return port
    if port is None and ports:
        return ports[0]
    what = "no port" if port is None else f"port {port}"
    is_not = "is" if port is None else "is not"
    raise Failure(
        f"{what} of {machine.name} {is_not} published", f"publish it first: hutch publish {machine.name} PORT"
    )


def _url(machine: "models.Machine", port: int) -> str:
    """Of any of its ports: they differ in the port alone."""
    first = machine.ports[0].port
    return str(machine.url).replace(f"-{first}.", f"-{port}.", 1)
