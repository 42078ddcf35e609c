"""Starting, watching and ending one QEMU process, confined and independent of the service.

The process is its own session, so it outlives the service; it inherits only the descriptors it needs, and where the
service is root it runs under a user id that belongs to this machine alone. It is known by its pid **and** its start
time: a pid alone may mean somebody else tomorrow.
"""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from hutch.host.qemu import argv
from hutch.model import errors

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process: `started` is field 22 of /proc/PID/stat, clock ticks since the host booted (proc(5))."""

    pid: int
    started: int
    slot: int | None = field(default=None, compare=False)  # the network slot it has, if any


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom the process runs as; None leaves it with the service's own ids."""

    uid: int
    groups: tuple[int, ...] = ()


def start_time(pid: int) -> int | None:
    """When a process started; None if there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(process: Identity) -> bool:
    """Whether this very process still runs."""
    return start_time(process.pid) == process.started


def processes_named(prefix: str, is_ours: Callable[[int], bool] = lambda _: True) -> Iterator[tuple[str, Identity]]:
    """Every running process whose `-name` argument begins with `prefix`, by that name; `is_ours` judges its user id."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if not is_ours(entry.stat().st_uid):
                continue
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-name" not in words[:-1]:
            continue
        name = words[words.index(b"-name") + 1].decode(errors="replace").split(",")[0]
        started = start_time(int(entry.name))
        if name.startswith(prefix) and started is not None:
            yield name, Identity(int(entry.name), started)


def confined(command: list[str], owner: Owner | None) -> list[str]:
    """`command` under another user without any privilege: no capability, none to be gained."""
    if owner is None:
        return command
    groups = ["--groups", ",".join(map(str, owner.groups))] if owner.groups else ["--clear-groups"]
    drop = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return ["setpriv", "--reuid", str(owner.uid), "--regid", str(owner.uid), *groups, *drop, *command]


def spawn(qemu: str, launch: argv.Launch, owner: Owner | None, log_file: Path) -> Identity:
    """Start it. Raises `MachineFailed` if it cannot be started at all."""
    command = confined(argv.build(qemu, launch), owner)
    # Appending, so that it may be cut short while the process writes: a guest can make QEMU complain for ever.
    descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            command,
            pass_fds=argv.inherited(launch),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
        )
    except OSError as error:
        raise errors.MachineFailed(f"QEMU cannot be started: {error.strerror}", command=command) from error
    finally:
        os.close(descriptor)
    child.returncode = 0  # reaped by `Watch`, not by subprocess
    started = start_time(child.pid)
    with contextlib.suppress(OSError):
        resource.prlimit(child.pid, resource.RLIMIT_CORE, (0, 0))
    log.debug("qemu started", pid=child.pid, command=" ".join(command))
    return Identity(child.pid, started or 0)


class Watch:
    """Tells the moment a process ends, whether it is our child or an adopted one; a child is reaped."""

    def __init__(self, process: Identity) -> None:
        self.process = process
        self.ended = asyncio.Event()
        self._descriptor = -1
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self.ended.set()
            return
        self._descriptor = descriptor
        if is_alive(process):
            asyncio.get_running_loop().add_reader(descriptor, self._finish)
        else:
            self._finish()

    def __repr__(self) -> str:
        return f"<Watch pid={self.process.pid} {'ended' if self.ended.is_set() else 'running'}>"

    def _finish(self) -> None:
        self.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.process.pid, os.WNOHANG)
        self.ended.set()

    def kill(self) -> None:
        """End it at once; no error if it has ended."""
        if self._descriptor >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    async def wait(self, timeout: float) -> bool:
        """Whether it ended within so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), timeout)
        return self.ended.is_set()

    def close(self) -> None:
        """Stop watching; the process runs on."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for tidying up even if we are cancelled meanwhile; the cancellation takes effect afterwards."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
        except Exception:  # told below
            break
    task.result()
    if cancelled:
        raise asyncio.CancelledError


async def end(process: Identity, timeout: float = 10.0) -> None:
    """Kill a process and wait until it is gone; no error if it is. Raises `MachineFailed` if it will not go."""
    watch = Watch(process)
    try:
        watch.kill()
        if not await watch.wait(timeout):
            raise errors.MachineFailed(f"process {process.pid} cannot be ended", pid=process.pid)
    finally:
        watch.close()
