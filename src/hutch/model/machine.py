"""The nouns around a machine, as frozen dataclasses. No I/O, no defaults that depend on the box."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hutch.model.ids import BuildId, MachineId, PoolId, SnapshotId, TenantId
from hutch.model.network import Grant, PublishedPort
from hutch.model.states import State
from hutch.model.volumes import Mount


@dataclass(frozen=True, slots=True)
class Resources:
    """What a machine is given."""

    cpus: int
    memory_mib: int
    disk_gib: int


class NetworkMode(StrEnum):
    """What a machine may reach."""

    OPEN = "open"  # the outside world, never the host itself
    BLOCKED = "blocked"  # nothing
    ALLOW = "allow"  # only the named networks and hosts


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """The egress policy of a machine; `cidrs` and `hosts` matter only for `allow`.

    Whatever it says, the host itself, other machines, private and link-local networks and cloud metadata are refused
    unless the operator allows them (`settings.Network.allow_private`).
    """

    mode: NetworkMode = NetworkMode.OPEN
    cidrs: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()  # names such as example.org, or *.example.org for all below it
    denied: tuple[str, ...] = ()  # networks that are refused even where the mode allows them
    kbit_per_second: int | None = None  # most it may send
    packets_per_second: int | None = None  # most it may send
    burst: int | None = None  # packets it may send at once above that


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image by the name it was asked for and the digest this name meant at that moment (`sha256:…`)."""

    reference: str
    digest: str


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """Everything a host needs to know to make and start a machine."""

    image: ImageRef
    resources: Resources
    hostname: str
    network: NetworkPolicy = NetworkPolicy()
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None  # made in the guest if missing; the cwd of every process that names none
    mounts: tuple[Mount, ...] = ()
    command: tuple[str, ...] | None = None  # started beside the agent at every start; its process id is `main`
    user: str | None = None  # whose processes are that name none: a name, a number, NAME:GROUP; None: the image's


class TimerAction(StrEnum):
    """What a timer does when its time has come."""

    STOP = "stop"
    SUSPEND = "suspend"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class Timers:
    """When something happens to a machine without anybody asking. Seconds; None means never."""

    idle: int | None = None  # so long without activity (exec, files, terminals, traffic to a port) while it runs
    idle_action: TimerAction = TimerAction.STOP
    lifetime: int | None = None  # so long after it was created, or after `since`
    lifetime_action: TimerAction = TimerAction.DESTROY  # a machine that is started again after that is left alone
    suspended: int | None = None  # so long suspended: it is destroyed
    since: datetime | None = None  # when the lifetime last began anew
    idle_bytes: int | None = None  # more bytes than this, to and from it together, are activity; None: no traffic is


class EndsOn(StrEnum):
    """At which end an ephemeral machine is destroyed."""

    STOP = "stop"  # when it stops; it may be suspended
    REST = "rest"  # when it stops or is suspended


class Persistence(StrEnum):
    """What becomes of a machine that does not run."""

    EPHEMERAL = "ephemeral"  # destroyed when it stops or is suspended
    STICKY = "sticky"  # destroyed when room is needed: lowest priority first, of these the one longest not used
    PERSISTENT = "persistent"  # kept until somebody deletes it


class CheckoutMode(StrEnum):
    """What a new machine has to do with the members of a pool."""

    PREFER = "prefer"  # it takes a ready one; if there is none in time, it is made as any other
    REQUIRE = "require"  # it takes a ready one, or is not made
    BYPASS = "bypass"  # it takes none


class CheckoutSource(StrEnum):
    """What a machine came of."""

    MEMBER = "member"  # a ready member of a pool
    COLD = "cold"  # none was ready: it was made as any other
    BYPASSED = "bypassed"  # no pool was asked


@dataclass(frozen=True, slots=True)
class Checkout:
    """How a pool was used when a machine was made."""

    source: CheckoutSource
    mode: CheckoutMode
    pool: PoolId | None = None  # that may be gone


@dataclass(frozen=True, slots=True)
class Machine:
    """The control plane's record of a machine."""

    id: MachineId
    tenant: TenantId
    name: str
    spec: MachineSpec
    state: State
    created_at: datetime
    updated_at: datetime
    reason: str | None = None  # why it failed
    ready_at: datetime | None = None  # when the agent last began to answer
    last_activity_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)  # any JSON object, kept as it is
    persistence: Persistence = Persistence.PERSISTENT
    priority: int = 5  # 0 to 10, of a sticky one: higher stays longer
    timers: Timers = Timers()
    parent: MachineId | None = None  # of which it is a fork, or of whose snapshot it was made
    snapshot: SnapshotId | None = None  # of which it was made
    suspended_at: datetime | None = None  # when it was last suspended; None while it is not
    ports: tuple[PublishedPort, ...] = ()
    token_generation: int = 0  # raised to make all its traffic tokens and links invalid
    share_generation: int = 0  # raised to make the token of what it shares invalid
    checkout: Checkout | None = None  # None: no pool was considered
    wakes_on_traffic: bool = True  # else traffic to a port is refused while it is paused or suspended
    starts_on_traffic: bool = False  # else traffic to a port is refused while it is stopped
    private_traffic: bool = False  # a port that is opened without saying how is private, else public
    grants: tuple[Grant, ...] = ()
    ends_on: EndsOn = EndsOn.REST  # of an ephemeral one
    build: BuildId | None = None  # which made what it was made of, or which it is made for
    is_recreated: bool = False  # a start makes it anew, under the same id, if it was destroyed


@dataclass(frozen=True, slots=True)
class Defaults:
    """What machines made of a snapshot have unless they are asked to be otherwise; None: as others."""

    idle: int | None = None  # seconds
    ports: tuple[PublishedPort, ...] | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The control plane's record of a snapshot."""

    id: SnapshotId
    tenant: TenantId
    name: str
    machine: MachineId  # of which it was made; that may be gone
    spec: MachineSpec  # of that machine, at that moment
    created_at: datetime
    size: int  # bytes that it alone takes
    damage: tuple[str, ...] = ()  # what the last verification found; empty if it was whole
    verified_at: datetime | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)  # any JSON object, kept as it is
    persistence: Persistence = Persistence.PERSISTENT  # or sticky: removed when room is needed
    priority: int = 5  # 0 to 10, of a sticky one
    build: BuildId | None = None  # which made it
    recipe: str | None = None  # the hash of the layer that it is
    defaults: Defaults = Defaults()
    used_at: datetime | None = None  # when a machine was last to be made of it, or put back to it
    deleted_at: datetime | None = None  # only its record is left


class PoolState(StrEnum):
    """What is done with a pool."""

    ENABLED = "enabled"  # it is filled, and its members are taken
    DISABLED = "disabled"  # none is made and none taken; those that are ready stay
    DRAINING = "draining"  # none is made and none taken; those that are ready are destroyed


@dataclass(frozen=True, slots=True)
class Pool:
    """Machines kept ready: restored, warmed by one command, and paused until somebody wants one like them."""

    id: PoolId
    tenant: TenantId
    name: str
    spec: MachineSpec  # its image, resources and network must be equal for a machine to come from here
    min: int  # so many are kept ready
    max: int  # so many at most, as claims come faster
    warm_up: tuple[str, ...] | None  # run in each before it is paused
    created_at: datetime
    state: PoolState = PoolState.ENABLED
    mode: CheckoutMode = CheckoutMode.PREFER  # of a checkout that names none
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)  # any JSON object, kept as it is
    updated_at: datetime | None = None  # when it was last changed


class Level(StrEnum):
    """How grave an event is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a machine, told for a person to read."""

    id: str
    machine: MachineId
    level: Level
    message: str
    created_at: datetime
    kind: str = "machine.noted"  # for programs: machine.created, .started, .suspended, .failed, …
    snapshot: SnapshotId | None = None  # which it was about; it may be gone
