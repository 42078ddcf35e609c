"""Options that several commands share: a dataclass each, whose fields become options of the command that takes one.

Without it every command would repeat them, and a function with a dozen parameters would pass them all on.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

import typer


def _flattened(function: Callable[..., Any]) -> tuple[list[inspect.Parameter], dict[str, type[Any]]]:
    flat, groups = [], {}
    hints = get_type_hints(function, include_extras=True)
    for name, given in inspect.signature(function).parameters.items():
        if not dataclasses.is_dataclass(hints[name]):
            flat.append(given.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[name] = hints[name]
        inner = get_type_hints(hints[name], include_extras=True)
        for it in dataclasses.fields(hints[name]):
            default = it.default if it.default_factory is dataclasses.MISSING else it.default_factory()
            flat.append(
                inspect.Parameter(it.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=inner[it.name])
            )
    return flat, groups


def flat(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose dataclass parameters are groups of options."""
    parameters, groups = _flattened(function)

    def command(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{it.name: given.pop(it.name) for it in dataclasses.fields(kind)})
        function(**given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {it.name: it.annotation for it in parameters}
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command


@dataclass(frozen=True)
class PoolShape:
    """What the machines of a new pool are to be."""

    name: Annotated[str | None, typer.Option(help="A name of your choice.")] = None
    cpus: Annotated[int | None, typer.Option(help="vCPUs.")] = None
    memory: Annotated[int | None, typer.Option(help="Memory in MiB.")] = None
    disk: Annotated[int | None, typer.Option(help="Disk in GiB.")] = None
    offline: Annotated[bool, typer.Option("--offline", help="Reach nothing.")] = False


@dataclass(frozen=True)
class Shape(PoolShape):
    """What a new machine is to be."""

    label: Annotated[list[str], typer.Option("--label", "-l", metavar="NAME=VALUE")] = field(default_factory=list)
    mount: Annotated[
        list[str], typer.Option(metavar="VOLUME:PATH[:ro]", help="A volume, and where it is to be in the machine.")
    ] = field(default_factory=list)
    allow: Annotated[
        list[str], typer.Option(metavar="NET|HOST", help="Reach only this: 10.0.0.0/8, example.org, *.example.org.")
    ] = field(default_factory=list)
    publish: Annotated[
        list[str], typer.Option("--publish", "-p", metavar="PORT[:public]", help="A port to be reached from outside.")
    ] = field(default_factory=list)


Action = Literal["stop", "suspend", "destroy"]
"""What a timer may do."""


@dataclass(frozen=True)
class Life:
    """How long a new machine lives without anybody asking."""

    idle: Annotated[str | None, typer.Option(metavar="TIME", help="After so long without use: 90s, 10m, 2h, 1d.")] = (
        None
    )
    idle_action: Annotated[Action | None, typer.Option(help="What --idle does; stop if not said.")] = None
    ttl: Annotated[str | None, typer.Option(metavar="TIME", help="So long after it was made.")] = None
    ttl_action: Annotated[Action | None, typer.Option(help="What --ttl does; destroy if not said.")] = None
    delete_suspended: Annotated[
        str | None, typer.Option(metavar="TIME", help="Delete it when it has been suspended for so long.")
    ] = None
    persistence: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="ephemeral: deleted when it stops or is suspended. sticky[:0-10]: when room is needed, the lowest "
            "first. persistent: never.",
        ),
    ] = None


@dataclass(frozen=True)
class Place:
    """Where a command runs, and as whom."""

    workdir: Annotated[str | None, typer.Option("-w", "--workdir", help="Where it runs.")] = None
    user: Annotated[str | None, typer.Option("-u", "--user", help="As whom: a name or uid[:gid].")] = None


@dataclass(frozen=True)
class Surroundings(Place):
    """In what a command runs."""

    env: Annotated[list[str], typer.Option("-e", "--env", metavar="KEY=VAL")] = field(default_factory=list)
    timeout: Annotated[int | None, typer.Option(help="Seconds until it is killed.")] = None


class WordsCommand(typer.core.TyperCommand):
    """A command that ends in another command's words.

    `MACHINE ls -l` gives -l to ls. `MACHINE --user me -- ls -l`, where one thing stands before the `--`, lets
    our own options follow it; any other `--` belongs to the words.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As inherited, once it is known where the words begin."""
        ctx.allow_interspersed_args = True
        ctx.allow_interspersed_args = "--" in args and self._is_one_thing(ctx, args[: args.index("--")])
        return super().parse_args(ctx, args)

    def _is_one_thing(self, ctx: Any, args: list[str]) -> bool:
        thing, words = (it.name for it in self.params if isinstance(it, typer.core.TyperArgument))
        try:
            found, _, _ = self.make_parser(ctx).parse_args(list(args))
        except Exception:
            return False  # an option we do not have: it is the words'
        return isinstance(found.get(thing), str) and not found.get(words)


AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
MachineRef = Annotated[str, typer.Argument(metavar="MACHINE", help="A name, an id, or the beginning of one.")]
MachineRefs = Annotated[list[str], typer.Argument(metavar="MACHINE…", help="Names, ids, or beginnings of one.")]
SnapshotRef = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="A name, an id, or the beginning of one.")]
From = Annotated[str | None, typer.Option("--from", metavar="SNAPSHOT", help="Of this snapshot instead of an image.")]


def mount(text: str) -> tuple[str, str, bool]:
    """`VOLUME:PATH` or `VOLUME:PATH:ro`: the volume, the path, and whether it is read only."""
    volume, colon, path = text.removesuffix(":ro").partition(":")
    if not (volume and colon and path.startswith("/")):
        raise typer.BadParameter(f"{text!r} is not of the form VOLUME:/path or VOLUME:/path:ro", param_hint="--mount")
    return volume, path, text.endswith(":ro")


def port(text: str) -> tuple[int, bool]:
    """`PORT` or `PORT:public`: the port, and whether it is public."""
    number, colon, access = text.partition(":")
    if not re.fullmatch(r"\d{1,5}", number) or not 1 <= int(number) <= 65535 or (colon and access != "public"):
        raise typer.BadParameter(f"{text!r} is not of the form PORT or PORT:public", param_hint="--publish")
    return int(number), bool(colon)


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping."""
    for text in given:
        if "=" not in text:
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=option)
    return dict(text.split("=", 1) for text in given)


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str | None, option: str) -> int | None:
    """`90`, `90s`, `10m`, `2h` or `1d`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a time such as 90s, 10m, 2h or 1d", param_hint=option)
    return int(found[1]) * _UNITS[found[2]]


def persistence(text: str | None) -> tuple[str | None, int | None]:
    """`ephemeral`, `persistent`, `sticky` or `sticky:PRIORITY`: the class, and the priority if one was named."""
    name, colon, priority = (text or "").partition(":")
    if text is None:
        return None, None
    if name not in ("ephemeral", "sticky", "persistent") or (
        colon and (name != "sticky" or not re.fullmatch(r"\d{1,9}", priority))
    ):
        raise typer.BadParameter(
            f"{text!r} is not ephemeral, sticky, sticky:PRIORITY or persistent", param_hint="--persistence"
        )
    return name, int(priority) if colon else None
