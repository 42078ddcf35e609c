"""One running virtual machine: its process, its control socket, its console and its agent, held together.

`Launcher` knows what is the same for every machine of this host (QEMU, kernel); `Vm` is one of them. Both templates and
machines are made of these; what a machine *is* and what is kept of it is decided elsewhere.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from hutch import settings
from hutch.host import sockets
from hutch.host.agent.client import Agent
from hutch.host.boot_files import BootFiles
from hutch.host.network.connection import Connection, Connector
from hutch.host.paths import RunPaths
from hutch.host.qemu import argv, console, process, tsc
from hutch.host.qemu.monitor import Monitor
from hutch.model import errors
from hutch.model.machine import NetworkPolicy

T = TypeVar("T")
Record = Callable[[process.Identity], None]

KVM = Path("/dev/kvm")
QUIT_TIMEOUT = 10.0
LAST_WORDS = 400
DEATH_DELAY = 0.3  # a broken connection is noticed before the end of the process that broke it


@dataclass(frozen=True, slots=True)
class Volume:
    """A disk beside the machine's own."""

    path: Path
    serial: str
    readonly: bool


@dataclass(frozen=True, slots=True)
class Hardware:
    """What one process is started with; `layers` are the disk's, base first, the last one writable."""

    board: argv.Board
    memory: Path
    layers: Sequence[Path]
    names: tuple[str, ...] = ()  # of the layers
    shared_memory: bool = False
    policy: NetworkPolicy = field(default_factory=NetworkPolicy)
    incoming: bool = False
    grow: bool = False
    owner: process.Owner | None = None
    volumes: Sequence[Volume] = ()


@contextlib.contextmanager
def _opened(paths: Sequence[tuple[Path, int]]) -> Iterator[list[int]]:
    descriptors: list[int] = []
    try:
        for path, flags in paths:
            descriptors.append(os.open(path, flags | os.O_CLOEXEC))
        yield descriptors
    except FileNotFoundError as error:
        raise errors.MachineFailed(f"a file of the machine is missing: {Path(error.filename).name}") from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


class Launcher:
    """Starts QEMU processes on this host."""

    def __init__(self, host: settings.Host, boot: BootFiles, tag: str, networks: Connector) -> None:
        self._qemu = host.qemu
        self.networks = networks
        self.boot = boot
        self.tag = tag  # tells our processes from those of another HUTCH_HOME

    def launch(self, name: str, where: RunPaths, hardware: Hardware, connection: Connection) -> process.Identity:
        """Start a process whose sockets and logs are in `where`. `MachineFailed` if it cannot be started."""
        owner = hardware.owner
        if owner is not None and hardware.board.accelerator == "kvm":
            owner = replace(owner, groups=(*owner.groups, KVM.stat().st_gid))
        files = [(self.boot.kernel, os.O_RDONLY), (self.boot.initramfs, os.O_RDONLY), (hardware.memory, os.O_RDWR)]
        files += [(path, os.O_RDONLY) for path in hardware.layers[:-1]] + [(hardware.layers[-1], os.O_RDWR)]
        volumes = hardware.volumes
        files += [(volume.path, os.O_RDONLY if volume.readonly else os.O_RDWR) for volume in volumes]
        listening = sockets.listening(where.qmp, where.agent, where.console)
        with _opened(files) as fds, listening as (qmp, agent, console_socket):
            spec = argv.Launch(
                name=f"{self.tag}/{name}",
                board=hardware.board,
                kernel=fds[0],
                initramfs=fds[1],
                memory=fds[2],
                shared_memory=hardware.shared_memory,
                disk=argv.Disk(fds[3], tuple(fds[4 : 3 + len(hardware.layers)]), hardware.names),
                sockets=argv.Sockets(qmp.fileno(), agent.fileno(), console_socket.fileno()),
                netdev=connection.netdev,
                tsc_khz=tsc.khz(),
                incoming=hardware.incoming,
                grow=hardware.grow,
                volumes=tuple(
                    argv.Volume(descriptor, volume.serial, volume.readonly)
                    for descriptor, volume in zip(fds[3 + len(hardware.layers) :], volumes, strict=True)
                ),
            )
            identity = process.spawn(self._qemu, spec, owner, where.qemu_log)
        connection.handed_over()
        return replace(identity, slot=connection.slot)


def last_words(where: RunPaths, console_text: bytes) -> str:
    """Why a process died, from QEMU's standard error and the end of the guest's console."""
    for line in console_text.decode(errors="replace").splitlines():
        if "Kernel panic" in line or "hutch-agent:" in line:
            return f"the guest's kernel says: {line.strip()[-LAST_WORDS:]}"
    with contextlib.suppress(OSError), where.qemu_log.open("rb") as file:
        file.seek(max(0, where.qemu_log.stat().st_size - 4096))
        lines = file.read(4096).decode(errors="replace").strip().splitlines()
        if said := [line for line in lines if "has no peer" not in line]:  # which is so on purpose: see argv
            return f"QEMU says: {said[-1][-LAST_WORDS:]}"
    return "its QEMU process ended without a word"


class Vm:
    """A process we hold. `attach` works for one just started and for one that a former service left running."""

    def __init__(
        self,
        where: RunPaths,
        watch: process.Watch,
        monitor: Monitor,
        tail: console.Tail,
        connection: Connection,
    ) -> None:
        self.where = where
        self.watch = watch
        self.monitor = monitor
        self.console = tail
        self.connection = connection
        self.agent: Agent | None = None
        self._gave_up: str | None = None

    def __repr__(self) -> str:
        return f"<Vm {self.where.root.name} {self.watch!r} agent={'yes' if self.agent else 'no'}>"

    @classmethod
    async def start(
        cls, launcher: Launcher, name: str, where: RunPaths, hardware: Hardware, record: Record = lambda _: None
    ) -> "Vm":
        """Launch a process and attach to it; `record` is told which it is before anything else happens.

        On an error no process is left.
        """
        connection = await launcher.networks.connect(hardware.policy)
        try:
            identity = launcher.launch(name, where, hardware, connection)
            try:
                record(identity)
                return await cls.attach(where, identity, connection)
            except BaseException:
                await process.to_the_end(process.end(identity))
                raise
        except BaseException:
            connection.end()
            raise

    @classmethod
    async def attach(cls, where: RunPaths, identity: process.Identity, connection: Connection) -> "Vm":
        """Connect to a process's control socket and console. The process is left as it is if that fails."""
        watch = process.Watch(identity)
        try:
            monitor = await while_alive(watch, Monitor.connect(where.qmp), lambda: last_words(where, b""))
        except BaseException:
            watch.close()
            raise
        try:
            tail = console.Tail(where.console, where.console_log)
            return cls(where, watch, monitor, tail, connection)
        except OSError as error:
            watch.close()
            await monitor.close()
            raise errors.MachineFailed("QEMU's console cannot be reached", cause=repr(error)) from error

    def last_words(self) -> str:
        """Why it died."""
        if self._gave_up:
            return self._gave_up
        self.console.drain()
        return last_words(self.where, self.console.text)

    async def connect_agent(self, timeout: float) -> Agent:
        """Begin a conversation. `MachineFailed` at once, with the reason, when the process dies meanwhile."""
        self.agent = await while_alive(self.watch, Agent.connect(self.where.agent, timeout), self.last_words)
        return self.agent

    async def disconnect_agent(self) -> None:
        """End the conversation in order."""
        agent, self.agent = self.agent, None
        if agent is not None:
            await agent.close()

    async def end(self) -> None:
        """Flush the disks and end the process; by force if it does not go."""
        await self.disconnect_agent()
        await self.monitor.quit()
        if not await self.watch.wait(QUIT_TIMEOUT):
            await self.kill()
        await self.close()

    async def give_up(self, why: str) -> None:
        """End the process because it cannot go on; `why` is then what it died of."""
        self._gave_up = why
        self.watch.kill()
        await self.watch.wait(QUIT_TIMEOUT)

    async def kill(self) -> None:
        """End the process at once and let go of it, even if we are cancelled meanwhile.

        `MachineFailed` if it cannot be ended (it hangs in the host's kernel): it still has its disk open then.
        """
        await process.to_the_end(self._kill())

    async def _kill(self) -> None:
        self.watch.kill()
        if not await self.watch.wait(QUIT_TIMEOUT):
            raise errors.MachineFailed(f"process {self.watch.process.pid} of the machine cannot be ended")
        await self.close()

    async def close(self) -> None:
        """Let go of it; a running process runs on."""
        await self.disconnect_agent()
        await self.monitor.close()
        self.console.close()
        self.watch.close()
        if self.watch.ended.is_set():
            self.connection.end()


async def while_alive(watch: process.Watch, work: Coroutine[Any, Any, T], why: Callable[[], str]) -> T:
    """The result of `work`, unless the process ends first: then `MachineFailed` with `why()`, at once."""
    task = asyncio.ensure_future(work)
    ended = asyncio.ensure_future(watch.ended.wait())
    try:
        await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        if task.done() and task.exception() is not None:
            await watch.wait(DEATH_DELAY)
        if watch.ended.is_set():
            raise errors.MachineFailed(why())
        return task.result()
    finally:
        task.cancel()
        ended.cancel()
        await asyncio.gather(task, ended, return_exceptions=True)
