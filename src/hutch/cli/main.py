"""The command line. Nothing heavy is imported before a command needs it: `hutch --help` is quick."""

import contextlib
import os
import sys
import threading
from typing import Annotated

import typer

from hutch.cli import (
    building,
    code,
    copy,
    doctor,
    domains,
    events,
    freezing,
    images,
    jobs,
    keys,
    machines,
    network,
    options,
    out,
    pools,
    run,
    services,
    sessions,
    shell,
    snapshots,
    tenants,
    tree,
    tunnel,
    up,
    usage,
    volumes,
    watching,
    webhooks,
)
from hutch.cli.failure import Code, Failure

app = typer.Typer(
    name="hutch",
    help="Your own cloud of Linux microVMs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(up.up)
app.command()(doctor.doctor)
app.command(cls=options.WordsCommand)(run.run)
app.command()(machines.create)
app.command()(machines.start)
app.command()(machines.stop)
app.command()(machines.restart)
app.command()(machines.rm)
app.command()(machines.kill)
app.command()(freezing.pause)
app.command()(freezing.suspend)
app.command()(freezing.resume)
app.command()(freezing.fork)
app.command()(freezing.rollback)
app.command()(freezing.resize)
app.command()(freezing.optimize)
app.command()(freezing.wait)
app.command()(machines.ps)
app.command()(tree.tree)
app.command("exec", cls=options.WordsCommand)(run.exec_)
app.command()(code.code)
app.command(cls=options.WordsCommand)(shell.shell)
app.command()(copy.cp)
app.command()(machines.logs)
app.command()(events.events)
app.command()(watching.stats)
app.command()(watching.watch)
app.command()(usage.usage)
app.command()(building.build)
app.add_typer(building.app, name="builds")
app.add_typer(services.app, name="service")
app.add_typer(sessions.app, name="session")
app.add_typer(jobs.app, name="job")
app.command()(network.publish)
app.command()(network.url)
app.command()(tunnel.tunnel)
app.add_typer(network.app, name="net")
app.add_typer(volumes.app, name="volume")
app.add_typer(snapshots.app, name="snapshot")
app.add_typer(pools.app, name="pool")
app.add_typer(images.app, name="image")
app.add_typer(keys.app, name="key")
app.add_typer(tenants.app, name="tenant")
app.add_typer(domains.app, name="domain")
app.add_typer(webhooks.app, name="webhook")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        out.data(f"hutch {metadata.version('hutch')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Your own cloud of Linux microVMs."""


def _run() -> int:
    try:
        app()
    except Failure as failure:
        out.complain(failure)
        return failure.code
    except KeyboardInterrupt:
        return Code.INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main() -> None:
    """Run the command line; end the process with its exit code."""
    code = _run()
    if threading.active_count() > 1:
        # All is tidied up, but a thread that feeds stdin may still be in a native call: Python must not end under it.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
