"""Copies of a running machine, processes and memory included, with the Python SDK; each step with its time.

Needs a service: `hutch up` in another terminal, then `HUTCH_KEY=$(hutch key create) python examples/02_fork.py`
(HUTCH_URL says where it is, if not on 127.0.0.1:7070). Leaves nothing behind.
"""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console

from hutch.client import Command, Hutch, NewMachine, errors, models

CHILDREN = 8
SERVER = """
import http.server, os, random
random.seed(42)
loaded = [random.random() for _ in range(1_000_000)]   # what took long to load is there in every copy

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{os.uname().nodename} {sum(loaded):.6f}".encode())

http.server.HTTPServer(("127.0.0.1", 8000), Answer).serve_forever()
"""
ASK = """
import time, urllib.request
while True:
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8000", timeout=60).read().decode())
        break
    except OSError:
        time.sleep(0.1)
"""

out = Console(highlight=False)
Done = TypeVar("Done")


def step(title: str, work: Callable[[], Done], note: Callable[[Done], str] = str) -> Done:
    """Do it, and print it with its time and a note of what came of it."""
    began = time.monotonic()
    done = work()
    took = 1000 * (time.monotonic() - began)
    out.print(f"[green]✓[/] {title:<40} [bold]{took:>9.1f} ms[/]  [dim]{note(done)}[/]")
    return done


def ask(hutch: Hutch, machine: models.Machine) -> str:
    """What the server in a machine answers."""
    done = hutch.processes.run(machine.id, Command(["python3", "-c", ASK], timeout=120))
    if done.exit_code:
        raise RuntimeError(done.stderr.decode())
    return done.stdout.decode().strip()


def demonstrate(hutch: Hutch, made: list[models.Machine]) -> None:
    """Fork, suspend, wake, snapshot, make of it, roll back. `made` is filled with every machine there is."""
    source = step("a Debian machine", lambda: hutch.machines.create(NewMachine("debian")), lambda it: it.name)
    made.append(source)
    step("started", lambda: hutch.machines.start(source.id), lambda it: it.state)
    hutch.processes.start(source.id, Command(["python3", "-c", SERVER]))
    first = step("a server in it has loaded its data", lambda: ask(hutch, source))

    copies = step(f"{CHILDREN} copies of it", lambda: hutch.machines.fork(source.id, CHILDREN), lambda it: it[-1].name)
    made += copies
    answers = step("each answers", lambda: [ask(hutch, child) for child in copies], lambda it: it[0])
    if {answer.split()[1] for answer in answers} != {first.split()[1]}:
        raise RuntimeError(f"not what the source had loaded: {answers}")
    if len({answer.split()[0] for answer in answers}) != CHILDREN:
        raise RuntimeError(f"not everyone has a name of its own: {answers}")

    step("the source is suspended", lambda: hutch.machines.suspend(source.id), lambda it: it.state_detail)
    step("and answers all the same: it is woken", lambda: ask(hutch, source))
    snapshot = step("a snapshot", lambda: hutch.snapshots.create(source.id), lambda it: f"{it.size / 2**20:.0f} MiB")
    try:
        of_it = step(
            "a machine made of it", lambda: hutch.machines.create(NewMachine(snapshot=snapshot.id)), lambda it: it.name
        )
        made.append(of_it)
        step("answers", lambda: ask(hutch, of_it))
        hutch.processes.run(source.id, Command("rm -rf /usr/lib/python3*"))
        step(
            "a mistake in the source, rolled back",
            lambda: hutch.machines.rollback(source.id, snapshot.id),
            lambda it: it.state,
        )
        step("answers again", lambda: ask(hutch, source))
    finally:
        hutch.snapshots.delete(snapshot.id)


def main() -> int:
    """The exit status."""
    made: list[models.Machine] = []
    try:
        with Hutch() as hutch:
            try:
                demonstrate(hutch, made)
            finally:
                for machine in made:
                    hutch.machines.delete(machine.id)
    except (errors.ClientError, RuntimeError) as error:
        out.print(f"[red]✗ {error}[/]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
