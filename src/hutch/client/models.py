"""What goes in and comes out, as frozen dataclasses. Sizes in bytes unless the name says otherwise, times in UTC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Mount:
    """A volume, by id or name, and its place in a machine."""

    volume: str
    path: str
    readonly: bool = False


@dataclass(frozen=True)
class Network:
    """What a machine may reach, and how much it may send."""

    mode: str = "open"  # open, blocked, or allow
    allow: Sequence[str] = ()  # with mode allow: networks such as 10.0.0.0/8, and hosts such as *.example.org
    deny: Sequence[str] = ()  # networks that are refused all the same
    kbit_per_second: int | None = None
    packets_per_second: int | None = None
    burst: int | None = None  # packets at once above that


@dataclass(frozen=True)
class Port:
    """A published TCP port of a machine. A public one is for everybody, else it takes a link, a token or a key."""

    port: int
    public: bool = False


@dataclass(frozen=True)
class Link:
    """A way in to a published port for whoever has it; `expires_at` None: until it is revoked."""

    url: str
    token: str
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Link(expires_at={self.expires_at!r})"


@dataclass(frozen=True)
class NewMachine:
    """A machine to make; None means the service's default. Of an image, or with `snapshot` (id or name) of that."""

    image: str = ""
    name: str | None = None
    cpus: int | None = None
    memory_mb: int | None = None
    disk_gb: int | None = None
    network: str | Network | None = None  # open, blocked, allow, or all that can be said of it
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    command: Sequence[str] | None = None  # started beside the agent at every start
    labels: Mapping[str, str] = field(default_factory=dict)
    ephemeral: bool = False  # deleted when it stops or is suspended
    auto_stop_seconds: int | None = None
    ttl_seconds: int | None = None
    snapshot: str | None = None
    idle_action: str | None = None  # what auto_stop_seconds does: stop, suspend or destroy
    lifetime_action: str | None = None  # what ttl_seconds does
    delete_after_suspended_seconds: int | None = None
    persistence: str | None = None  # ephemeral, sticky or persistent
    priority: int | None = None  # 0 to 10, of a sticky one: higher stays longer
    metadata: Mapping[str, object] = field(default_factory=dict)  # any JSON object, kept as it is
    mounts: Sequence[Mount] = ()
    allow: Sequence[str] = ()  # with network allow: networks such as 10.0.0.0/8, and hosts such as *.example.org
    ports: Sequence[Port] = ()  # published from the start
    wakes_on_traffic: bool = True  # else traffic to a port is refused while it is paused or suspended
    starts_on_traffic: bool = False  # else traffic to a port is refused while it is stopped


@dataclass(frozen=True)
class NewPool:
    """A pool of machines to keep ready; None means the service's default."""

    image: str
    name: str | None = None
    min: int | None = None  # so many are kept ready
    max: int | None = None  # so many at most, as claims come faster
    cpus: int | None = None
    memory_mb: int | None = None
    disk_gb: int | None = None
    network: str | None = None  # open or blocked
    warm_up: Sequence[str] | None = None  # run in each before it waits
    mode: str | None = None  # of a claim that names none: prefer (the default), require or bypass
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class PoolChange:
    """What of a pool is to be otherwise; None: as it is."""

    name: str | None = None
    min: int | None = None
    max: int | None = None
    warm_up: Sequence[str] | None = None  # members warmed by another command go
    state: str | None = None  # enabled; disabled: none is made or taken; draining: those that are ready go too
    mode: str | None = None  # of a claim that names none: prefer, require or bypass
    labels: Mapping[str, str] | None = None
    metadata: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Progress:
    """Where a long piece of work is; `fraction` (0–1) if that is known."""

    phase: str
    fraction: float | None


@dataclass(frozen=True)
class Remaining:
    """Seconds until each timer of a machine fires, as things stood; None: it will not."""

    idle: float | None
    lifetime: float | None
    suspended: float | None


@dataclass(frozen=True)
class Checkout:
    """How a warm pool was used for a machine."""

    source: str  # member; cold: none was ready; bypassed
    mode: str  # prefer, require or bypass
    pool: str | None  # its id; it may be gone


@dataclass(frozen=True)
class Machine:
    """A machine as it was when the service answered."""

    id: str
    name: str
    image: str
    digest: str
    state: str  # created, stopped, started, paused, error, deleted
    ready: bool
    cpus: int
    memory_mb: int
    disk_gb: int
    network: str
    env: Mapping[str, str]
    labels: Mapping[str, str]
    ephemeral: bool
    created_at: datetime
    ready_at: datetime | None = None
    workdir: str | None = None
    command: Sequence[str] | None = None
    reason: str | None = None  # why it failed
    progress: Progress | None = None  # while it starts
    state_detail: str = ""  # exactly: running, paused, suspended, stopping…
    persistence: str = "persistent"
    priority: int | None = None  # of a sticky one
    auto_stop_seconds: int | None = None
    idle_action: str = "stop"
    ttl_seconds: int | None = None
    lifetime_action: str = "destroy"
    delete_after_suspended_seconds: int | None = None
    suspended_at: datetime | None = None
    last_activity_at: datetime | None = None
    parent: str | None = None  # of which it is a fork, or of whose snapshot it was made
    snapshot: str | None = None  # of which it was made
    remaining: Remaining | None = None  # only of one that was looked at by itself
    mounts: Sequence[Mount] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    policy: Network = Network()
    ports: Sequence[Port] = ()
    url: str | None = None  # of its first published port
    wakes_on_traffic: bool = True
    starts_on_traffic: bool = False
    checkout: Checkout | None = None  # None: no pool was considered


@dataclass(frozen=True)
class Timers:
    """When something happens to a machine without anybody asking, as in `NewMachine`. Seconds; None: never."""

    auto_stop_seconds: int | None = None
    idle_action: str | None = None
    ttl_seconds: int | None = None
    lifetime_action: str | None = None
    delete_after_suspended_seconds: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """An immutable copy of a machine, memory and processes included."""

    id: str
    name: str
    machine: str  # of which it was made; that may be gone
    image: str
    status: str  # ready or damaged
    size: int  # bytes that it alone takes
    cpus: int
    memory_mb: int
    disk_gb: int
    created_at: datetime
    damage: Sequence[str] = ()  # what the last verification found
    verified_at: datetime | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    persistence: str = "persistent"  # or sticky: removed when room is needed
    priority: int | None = None  # of a sticky one
    build: str | None = None  # which made it
    used_at: datetime | None = None  # when a machine was last made of it


@dataclass(frozen=True)
class Pool:
    """Machines that are kept ready, and how they stand."""

    id: str
    name: str
    image: str
    status: str  # ready, filling, waiting, disabled or draining
    min: int
    max: int
    ready: int
    making: int
    claimed: int  # since the service began
    cpus: int
    memory_mb: int
    disk_gb: int
    network: str
    warm_up: Sequence[str] | None
    created_at: datetime
    reason: str | None = None  # why it is not full, if it should be
    state: str = "enabled"
    mode: str = "prefer"
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    updated_at: datetime | None = None


@dataclass(frozen=True)
class Command:
    """A command to run: a list is an argv, a string a line for `sh -lc`. `timeout` in seconds."""

    command: Sequence[str] | str
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    user: str | None = None
    timeout: int | None = None
    stdin: bytes | None = None
    interactive: bool = False  # only streamed: stdin stays open for `Processes.write`


@dataclass(frozen=True)
class Code:
    """A program for the interpreter of its language: python, javascript or node. `timeout` in seconds."""

    language: str
    code: str
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    user: str | None = None
    timeout: int | None = None


@dataclass(frozen=True)
class ExecResult:
    """A command that has ended."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    duration: float  # seconds
    process: str
    truncated: bool  # there was more than the service keeps


@dataclass(frozen=True)
class Started:
    """A streamed command runs from here on; `process` is what it is called."""

    process: str


@dataclass(frozen=True)
class Output:
    """Bytes a streamed command wrote to `stream` (stdout or stderr)."""

    stream: str
    data: bytes


@dataclass(frozen=True)
class Exited:
    """How a command ended; `exit_code` as a shell tells it: 124 after a timeout, 128 + n after a signal."""

    exit_code: int
    signal: int | None = None
    timed_out: bool = False


ExecEvent = Started | Output | Exited


@dataclass(frozen=True)
class Process:
    """A process the guest's agent keeps, running or ended."""

    id: str
    pid: int
    command: Sequence[str]
    started_at: datetime
    stdout_bytes: int
    stderr_bytes: int
    exit: Exited | None


@dataclass(frozen=True)
class Page:
    """A page of a process's output, and the offsets to go on from."""

    stdout: bytes
    stderr: bytes
    offsets: tuple[int, int]
    exit: Exited | None


@dataclass(frozen=True)
class Event:
    """Something that happened to a machine."""

    id: str
    level: str
    message: str
    created_at: datetime
    kind: str  # for programs: machine.started, …
    machine: str
    snapshot: str | None = None


@dataclass(frozen=True)
class FileInfo:
    """A file, a directory or what else a path in a machine is."""

    path: str
    name: str
    type: str  # file, directory, symlink or other
    size: int
    mode: int
    modified_at: datetime
    target: str | None  # of a symlink


@dataclass(frozen=True)
class Image:
    """An image that is there. `entrypoint`, `cmd` and the like are what it says of itself."""

    reference: str
    digest: str
    size: int
    created_at: datetime
    entrypoint: Sequence[str]
    cmd: Sequence[str]
    workdir: str | None
    user: str | None
    systemd: bool


@dataclass(frozen=True)
class Key:
    """An API key without its secret."""

    id: str
    scopes: Sequence[str]
    description: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class Health:
    """The service, and what it runs machines with."""

    version: str
    uptime: float
    ready: bool
    accelerator: str
    accelerator_reason: str
    vmm: str
