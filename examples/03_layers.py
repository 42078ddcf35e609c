"""A machine made of layers, each made once, with the Python SDK; each step with its time.

Needs a service: `hutch up` in another terminal, then `HUTCH_KEY=$(hutch key create) python examples/03_layers.py`
(HUTCH_URL says where it is, if not on 127.0.0.1:7070). Leaves no machine and no snapshot of its own behind.
"""

import secrets
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console

from hutch.client import Command, Hutch, NewMachine, errors
from hutch.client.builds import Build, Phase
from hutch.client.recipes import File, Layer, NewService, Recipe, User

SERVER = "import http.server\nhttp.server.test(http.server.SimpleHTTPRequestHandler, port=8000)\n"

out = Console(highlight=False)
Done = TypeVar("Done")


def recipe(page: str, name: str, run: str) -> Recipe:
    """A user, a web server, and on top of that what changes most: the page. `run` makes layers of this run alone."""
    below = Layer(users=[User("web")], files=[File("/opt/serve.py", SERVER)], discriminator=run)
    server = NewService(name="site", exec=["/usr/bin/python3 /opt/serve.py"], user="web", workdir="/srv")
    above = Layer(files=[File("/srv/index.html", page)], services=[server])
    return Recipe(layers=[below, above], name=name)


def step(title: str, work: Callable[[], Done], note: Callable[[Done], str] = str) -> Done:
    """Do it, and print it with its time and a note of what came of it."""
    began = time.monotonic()
    done = work()
    took = 1000 * (time.monotonic() - began)
    out.print(f"[green]✓[/] {title:<40} [bold]{took:>9.1f} ms[/]  [dim]{note(done)}[/]")
    return done


def build(hutch: Hutch, wanted: Recipe) -> Build:
    """Follow it to its end."""
    begun = hutch.builds.create(wanted)
    for event in hutch.builds.follow(begun.id):
        if isinstance(event, Phase):
            out.print(f"    [dim]{event.name}[/]")
    ended = hutch.builds.get(begun.id)
    if ended.state != "succeeded":
        raise RuntimeError(f"the build {ended.state}: {ended.reason}")
    return ended


def visit(hutch: Hutch, snapshot: str) -> str:
    """What the server of a machine made of this snapshot answers. It runs already: it is in the snapshot."""
    machine = hutch.machines.create(NewMachine(snapshot=snapshot))
    try:
        ask = "curl -sS --retry 30 --retry-connrefused --retry-delay 1 http://127.0.0.1:8000/"
        done = hutch.processes.run(machine.id, Command(ask, timeout=120))
        if done.exit_code:
            raise RuntimeError(done.stderr.decode())
        return done.stdout.decode().strip()
    finally:
        hutch.machines.delete(machine.id)


def demonstrate(hutch: Hutch, run: str) -> None:
    """Build, build again, change the top, build again."""
    made: list[str] = []
    try:
        for title, page, name in (
            ("two layers are built", "first", "one"),
            ("the same again: it is there", "first", "one"),
            ("another page: only the top is built", "second", "two"),
        ):
            wanted = recipe(page, f"layers-{run}-{name}", run)
            built = step(title, lambda wanted=wanted: build(hutch, wanted), lambda it: it.snapshot)  # type: ignore[misc]
            made.append(built.snapshot)
            answer = step("a machine made of it answers", lambda built=built: visit(hutch, built.snapshot))  # type: ignore[misc]
            if answer != page:
                raise RuntimeError(f"not the page of this build: {answer!r}")
    finally:
        for snapshot in dict.fromkeys(made):
            hutch.snapshots.delete(snapshot)


def main() -> int:
    """The exit status."""
    try:
        with Hutch() as hutch:
            demonstrate(hutch, secrets.token_hex(3))
    except (errors.ClientError, RuntimeError) as error:
        out.print(f"[red]✗ {error}[/]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
