"""The nouns around a machine, as frozen dataclasses. No I/O, no defaults that depend on the box."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hutch.model.ids import MachineId, TenantId
from hutch.model.states import State


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
    """The egress policy of a machine; `cidrs` and `hosts` matter only for `allow`."""

    mode: NetworkMode = NetworkMode.OPEN
    cidrs: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


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
    command: tuple[str, ...] | None = None  # started beside the agent at every start; its process id is `main`


@dataclass(frozen=True, slots=True)
class Timers:
    """When a machine is stopped or deleted without anybody asking. Seconds; None means never."""

    idle_stop: int | None = None  # stop after so long without activity
    lifetime: int | None = None  # delete so long after it was created


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
    ephemeral: bool = False  # deleted when it stops
    timers: Timers = Timers()


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
