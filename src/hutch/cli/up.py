"""up: the service in the foreground."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hutch.cli import config, out, service
from hutch.cli.failure import Failure

if TYPE_CHECKING:
    import socket

    from hutch.control.plane import ControlPlane
    from hutch.settings import Settings


OPEN_FILES = 65536
"""As deploy/hutch.service has it."""


async def _own_key(plane: "ControlPlane", settings: "Settings", url: str) -> None:
    """Keep an admin key for the CLI of this box in its config file: made at the first start, or if it was lost."""
    from hutch.model import errors

    written = config.read(settings.service.home)
    key = await plane.keys.bootstrap()
    if key is None and written is not None:
        try:
            plane.keys.authenticate(written.key)
            key = written.key
        except errors.UnknownKey:
            written = None
    key = key or await plane.keys.bootstrap(force=True)
    assert key is not None, "a forced bootstrap makes a key"
    config.write(settings.service.home, config.Config(url, key))


def _welcome(plane: "ControlPlane", settings: "Settings", url: str, proxy: str) -> None:
    report = plane.health.report()
    home = settings.service.home
    out.say(f"Hutch {report.version} listens on {url}")
    out.say(f"  machines  {report.host.vmm}, {report.host.accelerator} ({report.host.accelerator_reason})")
    out.say(f"  state     {home}")
    out.say(f"  key       {config.path(home)}, which `hutch` reads; `hutch key create` makes more")
    out.say(f"  proxy     {proxy}; published ports at MACHINE-PORT.{settings.proxy.domain}")
    out.say(f"  docs      {url}/smol/docs")
    out.say("  try       hutch run debian -- uname -a")


async def serve(plane: "ControlPlane", settings: "Settings", sock: "socket.socket", proxied: "socket.socket") -> None:
    """Open the plane, serve its API on `sock` and its proxy on `proxied` until SIGTERM or SIGINT, close it.

    Running machines run on.
    """
    from hutch.api import app, server
    from hutch.api.proxy.app import Proxy
    from hutch.api.proxy.listener import Listener

    url = server.url(sock)
    proxy = Listener(Proxy(plane.exposure, plane.keys, settings.proxy), proxied, settings.proxy.idle_timeout)

    def end() -> None:
        plane.processes.release()
        proxy.end()

    try:
        await plane.open()
        await _own_key(plane, settings, url)
        api = server.server(app.build(plane, settings), lambda: _welcome(plane, settings, url, proxy.url), end)
        async with proxy.serving():
            await api.serve(sockets=[sock])
    finally:
        await plane.close()
    out.say("Hutch has stopped; machines that run go on running")


def _allow_connections() -> None:
    """A shell's limit on open files is for small programs: a client of the proxy takes two, a machine some more."""
    import resource

    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def up(
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Default: HUTCH_LISTEN.")] = None,
) -> None:
    """Run the service in the foreground."""
    import asyncio

    import uvloop

    from hutch import bootstrap
    from hutch.api import server
    from hutch.cli import logs
    from hutch.model import errors

    settings = service.load_settings()
    logs.configure(settings.service.log_level, sys.stderr)
    _allow_connections()
    try:
        with (
            server.bind(listen or settings.service.listen) as sock,
            server.bind(settings.proxy.listen) as proxied,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            settings = settings.listening(proxied.getsockname()[1])
            runner.run(serve(bootstrap.build(settings), settings, sock, proxied))
    except errors.HutchError as error:
        raise Failure(error.message, "`hutch doctor` looks at this box") from error
