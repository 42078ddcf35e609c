"""What the control plane may ask of a host. The only part of `host` that `control` imports.

A host is the truth about what really runs; it knows no tenant, no key and no name. Every call is safe to repeat:
after a crash the caller asks again and the host finishes what was begun. Errors are those of `hutch.model.errors`.
`host/local.py` is the real one, `host/simulated` the fake that passes the same contract suite.
"""

import builtins
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from hutch.model import guest
from hutch.model.facts import ProcessFacts
from hutch.model.ids import MachineId, SnapshotId, VolumeId
from hutch.model.machine import ImageRef, MachineSpec, NetworkPolicy, Resources
from hutch.model.network import Endpoint, NetworkFacts, Traffic
from hutch.model.recipes import Credentials


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a long piece of work is: a phase for a person to read, and how much is done (0–1) if that is known."""

    phase: str
    fraction: float | None = None


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """The `OnProgress` of somebody who does not want to know."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an OCI image says about how it wants to be run."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] | None = None
    workdir: str | None = None
    user: str | None = None
    shell: tuple[str, ...] = ()  # in which lines of a Dockerfile that stands on it are run
    triggers: tuple[str, ...] = ()  # its ONBUILD: instructions for such a Dockerfile


@dataclass(frozen=True, slots=True)
class Image:
    """An image this host has, ready to be booted."""

    ref: ImageRef
    size: int  # bytes the root image takes on the host's disk
    created_at: float  # Unix seconds
    config: ImageConfig = ImageConfig()
    systemd: bool = False  # its init is systemd; else the agent is PID 1


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the box has for machines in all (its own reserve is taken off), and what of it is free now.

    `disk_gib` is the size of the file system: disks are sparse, so only what is free now ends a write.
    """

    cpus: int
    memory_mib: int
    memory_free_mib: int
    disk_gib: int
    disk_free_gib: int


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What this host runs machines with, and why."""

    accelerator: str  # kvm or tcg
    accelerator_reason: str
    vmm: str  # "qemu 7.2.22"
    agent: str  # the agent's version
    isolation: str  # how QEMU processes are confined


class Life(StrEnum):
    """A machine as its host sees it."""

    STOPPED = "stopped"  # a disk, no process
    RUNNING = "running"  # a process whose agent has answered
    PAUSED = "paused"  # the same, but its vCPUs stand still
    SUSPENDED = "suspended"  # no process; memory and disk are kept in a saved state, from which a start goes on
    FAILED = "failed"  # it had a process that died; the reason says why


@dataclass(frozen=True, slots=True)
class HostMachine:
    """What really is."""

    id: MachineId
    life: Life
    reason: str | None = None
    pid: int | None = None
    network: NetworkPolicy | None = None  # the policy it is held to; None: not told
    resources: Resources | None = None  # with which it runs, or starts next; None: not told


@dataclass(frozen=True, slots=True)
class SavedState:
    """A snapshot a host holds: memory, devices and disk of one machine at one moment, immutable."""

    id: SnapshotId
    machine: MachineId  # of which it was made
    created_at: float  # Unix seconds
    size: int  # bytes that it alone takes on the host's disk: written memory and frozen disk layer


@dataclass(frozen=True, slots=True)
class Died:
    """A running machine ended without being asked to: the guest powered off, or guest or process died.

    `clean` is True when the guest shut itself down in order.
    """

    machine: MachineId
    reason: str
    clean: bool


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a console was read: bytes since a process began to write it, and of the machine's own command.

    Where another process writes by now, or another command, it means the beginning of what is kept.
    """

    run: str = ""
    at: int = 0
    command: str = ""
    stdout: int = 0
    stderr: int = 0


START = Cursor()
"""The beginning of what is kept."""


@dataclass(frozen=True, slots=True)
class Console:
    """What was written, up to where to go on."""

    text: bytes
    end: Cursor


class Images(Protocol):
    """The images of a host."""

    async def resolve(self, reference: str, credentials: Credentials | None = None) -> ImageRef:
        """What a reference means now. Asks the registry unless the name is built in or pinned and present.

        Raises `InvalidRequest` (malformed) or `ImageUnavailable` (with the registry's own words). `credentials` are
        shown to their registry alone, and kept nowhere.
        """

    async def ensure(
        self, ref: ImageRef, on_progress: OnProgress = ignore_progress, credentials: Credentials | None = None
    ) -> Image:
        """Pull or build it unless it is there. Concurrent calls do the work once.

        What was pulled with credentials is private: it is not listed, and `resolve` asks its registry every time, so
        that only who may pull it learns what it means. Whoever has an `ImageRef` of its repository may use it; by the
        name of another one it is pulled once more, as the proof that it is there too.
        """

    async def list(self) -> list[Image]:
        """All that are there, newest first, but for private ones."""

    async def remove(self, reference: str) -> None:
        """Remove by reference or digest, with its templates. `NotFound`; `Conflict` while a machine is made of it."""


class Processes(Protocol):
    """Processes in guests. A process belongs to no connection: it lives on across restarts of the service."""

    async def start(self, machine: MachineId, process: str, spec: guest.ProcessSpec) -> guest.ProcessInfo:
        """Start it under an id of the caller's choice (unique per machine; `Conflict` if taken).

        `GuestNotFound` if the program or the cwd is not there, `GuestError` for an unknown user.
        """

    async def read(
        self, machine: MachineId, process: str, stdout_at: int, stderr_at: int, wait: float, limit: int = 256 * 1024
    ) -> guest.Output:
        """Output from these offsets on, at most `limit` bytes of each stream.

        Waits up to `wait` seconds until there is any or the process has ended; an empty page means: ask again.
        Reading at an offset tells the agent that all before it has been received.
        """

    async def write(self, machine: MachineId, process: str, data: bytes, end: bool = False) -> None:
        """Write all of `data` to its stdin, waiting as a pipe would; `end` closes it."""

    async def signal(self, machine: MachineId, process: str, number: int) -> None:
        """Send a signal to its whole process group; no error if it has ended."""

    async def resize(self, machine: MachineId, process: str, size: guest.TerminalSize) -> None:
        """Resize its terminal."""

    async def list(self, machine: MachineId) -> list[guest.ProcessInfo]:
        """All the agent knows, oldest first."""

    async def forget(self, machine: MachineId, process: str) -> None:
        """Drop it and its output; a running one is killed first. No error if it is not there."""


class Files(Protocol):
    """Files in guests. Paths are absolute; `GuestNotFound` and `GuestError` carry the path and the guest's words."""

    async def read(self, machine: MachineId, path: str) -> tuple[guest.FileStat, AsyncIterator[bytes]]:
        """A regular file's stat and bytes, in chunks; pulled, so memory stays flat for any size."""

    async def write(self, machine: MachineId, path: str, chunks: AsyncIterator[bytes], mode: int | None = None) -> None:
        """Replace or make a file, with missing directories. All or nothing: it appears whole when all chunks are there.

        `mode` None keeps the mode of the file it replaces, else 0644.
        """

    async def stat(self, machine: MachineId, path: str) -> guest.FileStat:
        """Of the path itself: symlinks are not followed."""

    async def list(self, machine: MachineId, path: str) -> list[guest.FileStat]:
        """What a directory holds, by name."""

    async def make_directory(self, machine: MachineId, path: str, mode: int = 0o755) -> None:
        """Make it and what is missing above it; no error if it is there."""

    async def remove(self, machine: MachineId, path: str, recursive: bool = False) -> None:
        """Remove a file, a symlink, or a directory (an empty one unless `recursive`)."""

    async def rename(self, machine: MachineId, path: str, to: str) -> None:
        """Move it, within one file system; replaces a file that is there, as rename(2) does."""

    async def change(self, machine: MachineId, path: str, mode: int | None, owner: str | None) -> None:
        """Set permission bits, and owner ("user", "user:group", or numbers). What is None stays as it is."""

    async def find(
        self, machine: MachineId, path: str, pattern: str, limit: int = 1000
    ) -> builtins.list[guest.FileStat]:
        """All below a directory whose name matches a shell pattern (`*.py`); links are not followed."""

    async def search(self, machine: MachineId, path: str, text: str, limit: int = 1000) -> builtins.list[guest.Match]:
        """The lines of regular text files at or below a path that hold this text, literally."""

    def watch(
        self,
        machine: MachineId,
        path: str,
        recursive: bool = False,
        skip: Sequence[str] = (),
        on_open: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[guest.Change]:
        """What happens to the files of a directory from the first `anext` on, until the iterator is closed.

        What is in the directories of `skip` (at most 64) is not looked at. `on_open` is called when all is watched.

        It ends with `GuestNotFound` when the directory is gone, `GuestError` when more happened than could be told of,
        and as any call does when the machine stands still or ends.
        """


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A volume a host holds."""

    id: VolumeId
    size_gib: int
    stored: int  # bytes it takes on the host's disk


class Volumes(Protocol):
    """Volumes of a host: ext4 file systems, each a virtio disk of its own in the machines whose spec mounts it.

    A volume is writable in one running machine at a time, or readable in many: a start that would break this is a
    `Conflict` that names the volume and the other machine. Suspended and paused machines hold theirs. A volume is no
    part of a snapshot; a machine made of one must mount what its source did not write.
    """

    async def create(self, volume: VolumeId, size_gib: int) -> None:
        """Make it, empty and formatted; sparse. Nothing if it is there. `InvalidRequest`, `DiskFull`."""

    async def remove(self, volume: VolumeId) -> None:
        """Remove it with all it holds. `Conflict` while a machine's spec mounts it; no error if it is not there."""

    def list(self) -> builtins.list[StoredVolume]:
        """All that are there."""


class Networks(Protocol):
    """Machines' networks. A machine's policy is part of its spec; what enforces it is outside the guest."""

    async def endpoint(self, machine: MachineId, port: int) -> Endpoint:
        """Where this service connects to reach a TCP port of a running guest. `NotRunning`.

        Whether anything listens there only a connection tells. It holds until the machine stops, is suspended or
        paused. Nobody else on this host can use it where the host has network slots.
        """

    async def set_policy(self, machine: MachineId, policy: NetworkPolicy) -> None:
        """From now on, running or not, and kept with the machine. Connections it forbids are broken.

        `Unsupported` where this host cannot enforce it; then nothing has changed.
        """

    def facts(self, machine: MachineId) -> NetworkFacts | None:
        """How it is connected now; None while it has no process."""

    async def traffic(self, machine: MachineId) -> Traffic:
        """What it has received and sent since its process was started; zeros while it has none.

        `Unsupported` where it is not counted.
        """


class Host(Protocol):
    """One host's machines."""

    @property
    def images(self) -> Images: ...

    @property
    def processes(self) -> Processes: ...

    @property
    def files(self) -> Files: ...

    @property
    def volumes(self) -> Volumes: ...

    @property
    def networks(self) -> Networks: ...

    async def open(self) -> list[HostMachine]:
        """Take possession: finish or undo what was begun, adopt what runs, and tell of every machine there is."""

    async def close(self) -> None:
        """Let go. Running machines run on."""

    def info(self) -> HostInfo: ...

    async def capacity(self) -> Capacity: ...

    async def create(self, machine: MachineId, spec: MachineSpec, snapshot: SnapshotId | None = None) -> None:
        """Make room for it. Quick: images and templates are made at the first start.

        `InvalidRequest` for mounts that no machine can have, `NotFound` without one of the volumes.

        With a `snapshot` the machine comes to be suspended in it: its first start goes on from there, with its own
        identity. Image, cpus, memory and mounts must be those of the snapshot and the disk at least as large
        (`InvalidRequest`); `NotFound` without such a snapshot.
        """

    async def start(self, machine: MachineId, on_progress: OnProgress = ignore_progress) -> None:
        """Run it; returns when the agent has answered.

        A suspended machine goes on with its processes; any other boots: out of its template the first time, from its
        own disk later. `NoCapacity`, `DiskFull`, `ImageUnavailable`, `MachineFailed`; `Incompatible` for a saved state
        of another board or QEMU, `Damaged` for one that is not what was saved; `Conflict` while another machine has a
        volume of its, `GuestError` if the guest cannot mount one.

        A start that is cancelled or fails leaves no process, and a suspended machine suspended as it was.
        """

    async def stop(self, machine: MachineId, grace: float) -> None:
        """Shut down in order; after `grace` seconds without an end, by force. The disk is flushed either way.

        Without `grace` it also ends a stop that still waits, whose caller is told `Conflict`. A paused machine is ended
        by force. A suspended one loses its memory and keeps its disk.
        """

    async def pause(self, machine: MachineId) -> None:
        """Its vCPUs stand still; memory stays where it is. `NotRunning`. Nothing if it is paused."""

    async def resume(self, machine: MachineId) -> None:
        """Let a paused machine go on, with its clock set right. Nothing if it runs; `NotRunning`."""

    async def suspend(self, machine: MachineId) -> None:
        """Save memory and disk of a running or paused machine and end its process. Nothing if it is suspended.

        On an error (`DiskFull`, `MachineFailed`) it runs on, or is paused, as before.
        """

    async def snapshot(self, machine: MachineId, snapshot: SnapshotId, transient: bool = False) -> SavedState:
        """Keep an immutable copy of a running, paused or suspended machine, which goes on as it was.

        A conversation with the guest is not disturbed. `transient`: only for machines that are made of it at once
        (a fork); it does not outlive this service and is never listed. `Conflict` if the id is taken, or the machine
        mounts a volume to write; `NotRunning`, `DiskFull`.
        """

    async def rollback(self, machine: MachineId, snapshot: SnapshotId) -> None:
        """Put a machine, in whatever state, back to a snapshot: it is suspended in it then; what it was is lost.

        `NotFound` without such a snapshot; `InvalidRequest` if it is one of another shape.
        """

    async def claim(self, machine: MachineId, spare: MachineId) -> None:
        """Have a machine that was never started go on with the process, memory and disk of a paused or running `spare`.

        `spare` is no machine any more then. `machine` runs with its own identity, names, environment and command when
        this returns. `Conflict` if image, resources, network or mounts of the two differ, or `machine` was started
        before.
        On an error `machine` is as it was, and `spare` is gone.
        """

    async def resize(self, machine: MachineId, disk_gib: int) -> None:
        """Grow its disk, and the root file system on it: at once in a running machine, else at its next start.

        `InvalidRequest` for less than it has.
        """

    async def reshape(self, machine: MachineId, cpus: int, memory_mib: int) -> None:
        """Give a machine at rest other CPUs and memory: its next start boots it from its disk with these.

        A suspended one loses its memory, with what its guest has not written to the disk yet, and is stopped then.
        `Conflict` while it runs or is paused.
        """

    async def optimize(self, snapshot: SnapshotId) -> None:
        """Make one memory file of a snapshot, which the machines made of it share.

        They start as quickly as out of a template then. Safe to repeat; nothing if it was done. `NotFound`,
        `DiskFull`, `Damaged`: then it is as it was. Also of the state that a suspended machine is in: see
        `optimize_machine`.
        """

    async def optimize_machine(self, machine: MachineId) -> None:
        """The same for a suspended machine's own state: it, and copies of it, go on most cheaply.

        `NotRunning` if there is no memory of it; `Conflict` while it runs or is paused.
        """

    def snapshots(self) -> list[SavedState]:
        """All that are kept, oldest first."""

    async def verify(self, snapshot: SnapshotId) -> list[str]:
        """Read the whole of a snapshot, and tell what is not as it was saved; nothing if it is whole. `NotFound`."""

    async def remove_snapshot(self, snapshot: SnapshotId) -> None:
        """Drop it. What machines still need of it is kept until they do not. No error if it is not there."""

    async def storage(self, machine: MachineId) -> int:
        """Bytes of the host's disk that are this machine's alone: its disk layers and its saved memory."""

    async def destroy(self, machine: MachineId) -> None:
        """End it and remove all it has, in whatever state it is; no error if it is not there."""

    def get(self, machine: MachineId) -> HostMachine | None:
        """What really is, at once."""

    def facts(self, machine: MachineId) -> ProcessFacts:
        """What it is run with, at once. `NotFound`."""

    async def stats(self, machine: MachineId) -> guest.GuestStats: ...

    async def console(self, machine: MachineId, since: Cursor = START) -> Console:
        """What the guest's kernel and init wrote to the console, and the machine's own command, since a cursor.

        Of what is older than the end that is kept nothing is told.
        """

    def deaths(self) -> AsyncIterator[Died]:
        """Every unasked end of a machine, as it happens. One reader."""
