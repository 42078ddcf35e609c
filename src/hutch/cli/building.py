"""build, builds ls, show, log, cancel."""

import io
import os
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hutch.cli import options, out, service, streaming
from hutch.cli.failure import Code, Failure

if TYPE_CHECKING:
    from datetime import datetime

    from hutch.client import Hutch, builds

app = typer.Typer(no_args_is_help=True, help="Builds: snapshots made of recipes, layer upon layer.")

PASSWORD = "HUTCH_REGISTRY_PASSWORD"  # noqa: S105 (a variable's name)
"""Where the password of `--login` is found: not among the words of a command, which everybody on the box can see."""

BuildRef = Annotated[str, typer.Argument(metavar="BUILD", help="Its id, as `hutch builds ls` shows it.")]

_COLUMNS: out.Columns = (
    ("ID", lambda it: it.id),
    ("STATE", lambda it: it.state),
    ("NAME", lambda it: it.name or ""),
    ("SNAPSHOT", lambda it: it.snapshot),
    ("AGE", lambda it: out.age(it.started_at)),
    ("TOOK", lambda it: "" if it.finished_at is None else _took(it.started_at, it.finished_at)),
    ("REASON", lambda it: (it.reason or "").strip().partition("\n")[0]),
)


@dataclass(frozen=True)
class Wanted:
    """What the snapshot is to be."""

    name: Annotated[str | None, typer.Option(help="What the snapshot is to be called.")] = None
    cpus: Annotated[int | None, typer.Option(help="vCPUs of machines made of it.")] = None
    memory: Annotated[int | None, typer.Option(help="Their memory in MiB.")] = None
    disk: Annotated[int | None, typer.Option(help="Their disk in GiB.")] = None
    sticky: Annotated[bool, typer.Option("--sticky", help="It may go when room is needed.")] = False
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Make every layer anew.")] = False
    login: Annotated[
        str | None,
        typer.Option(metavar="USER@REGISTRY", help=f"Of the base's registry; its password is in {PASSWORD}."),
    ] = None
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="All it may take: 90s, 10m, 2h.")] = None


@options.flat
def build(
    dash: Annotated[str, typer.Argument(metavar="[-]", help="The Dockerfile is on stdin.")] = "",
    file: Annotated[
        str | None, typer.Option("-f", "--file", metavar="DOCKERFILE", help="./Dockerfile if nothing is said.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="FILE", help="A recipe in YAML or JSON instead; - is stdin.")
    ] = None,
    wanted: Wanted = Wanted(),
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing of how it gets on.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Build a snapshot of a Dockerfile or a recipe. Prints what it is called. Ctrl-C ends the build."""
    if dash not in ("", "-"):
        raise typer.BadParameter("only - is taken: there is no build context", param_hint="[-]")
    if sum((dash == "-", file is not None, recipe is not None)) > 1:
        raise typer.BadParameter("name one Dockerfile or one recipe", param_hint="-, --file or --recipe")
    body = _body(_recipe(recipe) if recipe is not None else _of_dockerfile(dash or file or "Dockerfile"), wanted)
    with service.connect() as hutch:
        begun = hutch.builds.create(body)
        try:
            done = _followed(hutch, begun, quiet)
        except KeyboardInterrupt:
            hutch.builds.cancel(begun.id)
            out.say(f"build {begun.id} was cancelled")
            raise
    if as_json:
        out.as_json(done)
    if done.state != "succeeded":
        raise Failure(f"build {done.id} {done.state}: {done.reason or 'see its log'}", f"hutch builds log {done.id}")
    if not as_json:
        out.data(done.name or done.snapshot)


def _read(path: str) -> str:
    try:
        if path == "-":
            return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8").read()
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


def _of_dockerfile(path: str) -> dict[str, Any]:
    return {"base": {"dockerfile": _read(path)}}


def _recipe(path: str) -> dict[str, Any]:
    """A recipe out of a file: the API's own JSON, or YAML of the same form."""
    import json

    import yaml

    text = _read(path)
    try:
        found = yaml.safe_load(text)
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()  # YAML has dates and more, which JSON has not
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise Failure(f"{path}: neither YAML nor JSON: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise Failure(f"{path}: not a recipe: it has no fields such as base and layers")
    return found


def _body(recipe: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """The recipe with what the options say; sizes are the lowest layer's. What is wrong with it the service says."""
    sizes = {"cpus": wanted.cpus, "memoryMb": wanted.memory, "diskGb": wanted.disk}
    lowest = {name: size for name, size in sizes.items() if size is not None}
    layers = recipe.get("layers") or [{}] * bool(lowest or wanted.no_cache)
    if isinstance(layers, list) and all(isinstance(it, dict) for it in layers):
        forced = {"skipCache": True} if wanted.no_cache else {}
        layers = [it | forced | (lowest if at == 0 else {}) for at, it in enumerate(layers)]
    said = {
        "layers": layers or None,
        "name": wanted.name,
        "persistence": {"type": "sticky"} if wanted.sticky else None,
        "credentials": _credentials(wanted.login),
        "timeoutSeconds": options.seconds(wanted.timeout, "--timeout"),
    }
    return recipe | {name: value for name, value in said.items() if value is not None}


def _credentials(login: str | None) -> dict[str, str] | None:
    if login is None:
        return None
    user, at, registry = login.rpartition("@")
    password = os.environ.get(PASSWORD)
    if not (user and at and registry):
        raise typer.BadParameter(f"{login!r} is not of the form USER@REGISTRY", param_hint="--login")
    if not password:
        raise Failure("--login: there is no password", f"set {PASSWORD}", Code.USAGE)
    return {"registry": registry, "username": user, "password": password}


def _took(since: "datetime", until: "datetime") -> str:
    return f"{(until - since).total_seconds():.1f} s"


def _followed(hutch: "Hutch", begun: "builds.Build", quiet: bool) -> "builds.Build":
    """The build when it has ended; meanwhile what it does is said on stderr."""
    from hutch.client import builds

    told = Told(begun, quiet)
    with closing(hutch.builds.follow(begun.id)) as events:  # type: ignore[type-var]
        for event in events:
            if isinstance(event, builds.Build):
                told.end(event)
                return event
            told.take(event)
    return hutch.builds.get(begun.id)


class Told:
    """How a build gets on, for a person: its phases with the time each took, and what its commands write."""

    def __init__(self, build: "builds.Build", quiet: bool) -> None:
        self._build = build
        self._quiet = quiet
        self._count = 0
        self._last: builds.Phase | None = None
        self._at_line_start = True

    def take(self, event: "builds.Phase | builds.Output") -> None:
        """A phase, or output."""
        from hutch.client import builds

        if self._quiet:
            return
        if isinstance(event, builds.Output):
            streaming.write("stderr", event.data)
            self._at_line_start = event.data.endswith(b"\n") if event.data else self._at_line_start
            return
        self._close(event.started_at)
        self._last, self._count = event, self._count + 1
        self._say(f"[{self._count}/{max(self._count, len(self._build.planned))}] {event.name}")

    def end(self, build: "builds.Build") -> None:
        """It is over."""
        if self._quiet or build.finished_at is None:
            return
        self._close(build.finished_at)
        self._say(f"{build.state} after {_took(build.started_at, build.finished_at)}")

    def _close(self, now: "datetime") -> None:
        if self._last is not None:
            self._say(f"    {_took(self._last.started_at, now)}")

    def _say(self, text: str) -> None:
        if not self._at_line_start:
            out.say("")
        self._at_line_start = True
        out.say(text)


@app.command("ls")
def list_all(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="The last ones.")] = 100,
    as_json: options.AsJson = False,
) -> None:
    """List builds, newest first."""
    with service.connect() as hutch:
        out.listing(hutch.builds.list(limit), _COLUMNS, as_json)


_PHASES: out.Columns = (
    ("STARTED", lambda it: it.started_at.strftime("%Y-%m-%d %H:%M:%S")),
    ("PHASE", lambda it: it.name),
    ("SNAPSHOT", lambda it: it.snapshot or ""),
)


@app.command()
def show(build: BuildRef, as_json: options.AsJson = False) -> None:
    """Show one build as it is now, and what it has begun."""
    with service.connect() as hutch:
        found, phases = hutch.builds.get(build), hutch.builds.phases(build)
    if as_json:
        out.as_json({"build": found, "phases": phases})
        return
    out.table([found], _COLUMNS)
    out.table(phases, _PHASES)


@app.command()
def log(build: BuildRef) -> None:
    """Tell what a build does until it has ended. Ctrl-C ends only the telling."""
    with service.connect() as hutch:
        done = _followed(hutch, hutch.builds.get(build), quiet=False)
    if done.reason:
        raise Failure(f"build {done.id} {done.state}: {done.reason}")


@app.command()
def cancel(build: BuildRef, as_json: options.AsJson = False) -> None:
    """End a build. One that has ended stays as it is."""
    with service.connect() as hutch:
        done = hutch.builds.cancel(build)
    out.one(done, done.id, as_json)
