"""What a caller may ask a machine to be. Pure: every rule about the fields of a request is here, and nowhere else."""

import dataclasses
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hutch import settings
from hutch.control import admission, egress
from hutch.host.interface import Capacity
from hutch.model.errors import Conflict, InvalidRequest
from hutch.model.ids import BuildId
from hutch.model.machine import (
    EndsOn,
    ImageRef,
    MachineSpec,
    NetworkPolicy,
    Persistence,
    Resources,
    Snapshot,
    Timers,
)
from hutch.model.network import PublishedPort

NAME_LENGTH = 63
ENV_BYTES = 128 * 1024  # of all names and values: as much as Linux passes to one process in a string
LABELS = 64
LABEL_KEY_LENGTH = 128
LABEL_VALUE_LENGTH = 1024
METADATA_BYTES = 64 * 1024  # as JSON
MAX_DISK_GIB = 16 * 1024
MAX_SECONDS = 10 * 365 * 86400
MAX_IDLE_BYTES = 2**53  # what JSON can tell exactly
MAX_PRIORITY = 10
MAX_COPIES = 64  # of one fork
MAX_MOUNTS = 8  # of one machine
MAX_PORTS = 16  # published of one machine

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_ENV_KEY = re.compile(r"[^=\0]+")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class MountRequest:
    """A volume by id or name, and where a machine is to have it."""

    volume: str
    path: str
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class MachineRequest:
    """What a caller asks for; None means the service's default."""

    image: str
    name: str | None = None
    cpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None
    network: NetworkPolicy | None = None  # None: the snapshot's, or everything outside
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    command: tuple[str, ...] | None = None
    user: str | None = None  # whose processes are that name none; None: the snapshot's, or the image's
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)  # any JSON object, kept as it is
    persistence: Persistence = Persistence.PERSISTENT
    priority: int = 5  # 0 to 10, of a sticky one
    timers: Timers = field(default_factory=Timers)
    mounts: tuple[MountRequest, ...] = ()
    snapshot: str | None = None  # id or name: `image` is "" then, and resources left out are the snapshot's
    ports: tuple[PublishedPort, ...] = ()
    wakes_on_traffic: bool = True  # else traffic to a port is refused while it is paused or suspended
    starts_on_traffic: bool = False  # else traffic to a port is refused while it is stopped
    private_traffic: bool = False  # a port that is opened without saying how is private, else public
    ends_on: EndsOn = EndsOn.REST  # of an ephemeral one: at which end it is destroyed
    build: BuildId | None = None  # which made what it is made of, or which it is made for
    is_recreated: bool = False  # a start makes it anew, under the same id, if it was destroyed


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """How many copies. Names left out are made of the source's, or of `name_prefix`: web-1, web-2…"""

    count: int | None = None  # 1 to 64; None: as many as names, else 1
    names: tuple[str, ...] | None = None
    name_prefix: str | None = None
    freeze_source: bool = False  # suspend the source once the copies run
    ports: tuple[PublishedPort, ...] | None = None  # of each copy; None: the source's


def check(request: MachineRequest, limits: settings.Machines) -> None:
    """`InvalidRequest`, naming the field and what it may be, for anything that no box could make."""
    if request.snapshot is None and not request.image.strip():
        raise InvalidRequest("image is empty: name one, for example debian or python:3.12")
    if request.snapshot is not None and request.image:
        raise InvalidRequest("image and snapshot: a machine is made of one of them, leave the other out")
    if request.name is not None:
        check_name(request.name)
    _check_resources(request.cpus, request.memory_mib, request.disk_gib, limits)
    if request.network is not None:
        egress.check(request.network)
    check_ports(request.ports)
    check_env(request.env)
    if request.workdir is not None:
        check_path("workdir", request.workdir)
    if request.command is not None:
        check_argv("command", request.command)
    check_labels(request.labels)
    check_metadata(request.metadata)
    _check_mounts(request)
    check_priority(request.priority)
    check_timers(request.timers)


def check_priority(priority: int) -> None:
    """Of something sticky."""
    if not 0 <= priority <= MAX_PRIORITY:
        raise InvalidRequest(f"priority is {priority}: 0 to {MAX_PRIORITY}, and what is higher stays longer")


def check_timers(timers: Timers) -> None:
    """How long each may be."""
    for name, seconds in (
        ("idle stop", timers.idle),
        ("lifetime", timers.lifetime),
        ("time suspended", timers.suspended),
    ):
        if seconds is not None and not 1 <= seconds <= MAX_SECONDS:
            raise InvalidRequest(f"{name} is {seconds} s: at least 1 s, at most {MAX_SECONDS} s, or leave it out")
    if timers.idle_bytes is not None and not 0 <= timers.idle_bytes <= MAX_IDLE_BYTES:
        raise InvalidRequest(
            f"idle bytes is {timers.idle_bytes}: at least 0, at most {MAX_IDLE_BYTES}, or leave it out"
        )


def check_ports(ports: Sequence[PublishedPort]) -> None:
    """Ports that are to be published."""
    if len(ports) > MAX_PORTS:
        raise InvalidRequest(f"ports: {len(ports)} given, at most {MAX_PORTS}")
    numbers = [it.port for it in ports]
    for number in numbers:
        if not 1 <= number <= 65535:
            raise InvalidRequest(f"ports: {number} is not a port: 1 to 65535")
        if numbers.count(number) > 1:
            raise InvalidRequest(f"ports: {number} is given twice")


def check_fork(request: ForkRequest) -> int:
    """How many copies are asked for."""
    count = request.count if request.count is not None else len(request.names or (None,))
    if not 1 <= count <= MAX_COPIES:
        raise InvalidRequest(f"count is {count}: a fork makes 1 to {MAX_COPIES} copies")
    check_ports(request.ports or ())
    if request.names is not None:
        if len(request.names) != count:
            raise InvalidRequest(f"names: {len(request.names)} given for {count} copies: one for each, or none")
        if len(set(request.names)) != count:
            raise InvalidRequest("names: two of them are the same, and a machine's name is its own")
        if request.name_prefix is not None:
            raise InvalidRequest("names and name prefix: give one of them")
        for name in request.names:
            check_name(name)
    if request.name_prefix is not None:
        check_name(request.name_prefix)
    return count


def check_disk(asked_gib: int, resources: Resources) -> None:
    """The size a disk is to grow to."""
    if not resources.disk_gib <= asked_gib <= MAX_DISK_GIB:
        raise InvalidRequest(
            f"disk is {asked_gib} GiB: at least the {resources.disk_gib} GiB it has, at most {MAX_DISK_GIB} GiB"
        )


def check_resize(
    has: Resources, disk_gib: int | None, cpus: int | None, memory_mib: int | None, limits: settings.Machines
) -> None:
    """What a machine that has this much is to have instead; None: as it is."""
    if disk_gib is cpus is memory_mib is None:
        raise InvalidRequest("nothing to resize: give a disk, cpus or memory that it is to have")
    if disk_gib is not None:
        check_disk(disk_gib, has)
    _check_resources(cpus, memory_mib, None, limits)


def plan(request: MachineRequest, name: str, image: ImageRef, limits: settings.Machines, box: Capacity) -> MachineSpec:
    """The machine that a checked request asks for, on this box. `NoCapacity` if it could never run here.

    A default that is more than the box has is cut to what it has; what was asked for is not.
    """
    resources = Resources(
        cpus=request.cpus or min(limits.default_cpus, box.cpus),
        memory_mib=request.memory_mib or min(limits.default_memory_mib, box.memory_mib),
        disk_gib=request.disk_gib or min(limits.default_disk_gib, box.disk_gib),
    )
    admission.check_possible(resources, box, limits.max_cpus)
    return MachineSpec(
        image=image,
        resources=resources,
        hostname=make_hostname(name),
        network=request.network or NetworkPolicy(),
        env=dict(request.env),
        workdir=request.workdir,
        command=request.command,
        user=request.user,
    )


def check_copy(what: str, spec: MachineSpec) -> None:
    """`Conflict` for a copy of a machine that writes a volume: a volume has one writer, and is no part of a copy."""
    written = [mount for mount in spec.mounts if not mount.readonly]
    if written:
        raise Conflict(
            f"{what} has volume {written[0].volume} mounted for writing at {written[0].path}, and a volume has one "
            "writer: only machines whose volumes are mounted read-only can be copied"
        )


def plan_from(request: MachineRequest, name: str, snapshot: Snapshot) -> MachineSpec:
    """The machine that a checked request asks for, made of a snapshot.

    Its image, cpus and memory are the snapshot's; the disk may be larger, the network policy another. Variables are
    laid over the snapshot's.
    """
    its = snapshot.spec.resources
    for what, unit, asked, has in (
        ("cpus", "", request.cpus, its.cpus),
        ("memory", " MiB", request.memory_mib, its.memory_mib),
    ):
        if asked is not None and asked != has:
            raise InvalidRequest(
                f"{what} is {asked}{unit}: snapshot {snapshot.name} has {has}{unit}, and so do machines made of it"
            )
    if request.disk_gib is not None:
        check_disk(request.disk_gib, its)
    return dataclasses.replace(
        snapshot.spec,
        resources=dataclasses.replace(its, disk_gib=request.disk_gib or its.disk_gib),
        hostname=make_hostname(name),
        network=request.network or snapshot.spec.network,
        env={**snapshot.spec.env, **request.env},
        workdir=request.workdir or snapshot.spec.workdir,
        command=request.command or snapshot.spec.command,
        user=request.user or snapshot.spec.user,
    )


def make_hostname(name: str) -> str:
    """A name as a host's own: lower case, with hyphens for what a host name may not have."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def check_name(name: str) -> None:
    """A machine's name: what a host may be called, and a little more."""
    if not _NAME.fullmatch(name) or len(name) > NAME_LENGTH:
        raise InvalidRequest(
            f"name {_shown(name)}: use 1 to {NAME_LENGTH} letters, digits, hyphens, dots and underscores, "
            "with a letter or digit first and last"
        )


def check_env(env: Mapping[str, str]) -> None:
    """Environment variables, of a machine or of one command."""
    for key, value in env.items():
        if not _ENV_KEY.fullmatch(key):
            raise InvalidRequest(f"env: {_shown(key)} is not a name of a variable: it is empty or holds '=' or NUL")
        if "\0" in value:
            raise InvalidRequest(f"env: the value of {_shown(key)} holds a NUL, which no variable can")
    size = sum(len(key.encode(errors="replace")) + len(value.encode(errors="replace")) for key, value in env.items())
    if size > ENV_BYTES:
        raise InvalidRequest(f"env is {size} bytes in all: at most {ENV_BYTES}; put the rest into a file")


def check_path(what: str, path: str) -> None:
    """An absolute path in a guest."""
    if not path.startswith("/") or "\0" in path or len(path.encode(errors="replace")) > 4096:
        raise InvalidRequest(f"{what} {_shown(path)}: use an absolute path of at most 4096 bytes, without NUL")


def check_argv(what: str, argv: tuple[str, ...]) -> None:
    """A program and its arguments."""
    if not argv or not argv[0]:
        raise InvalidRequest(f"{what} is empty: name a program")
    if any("\0" in word for word in argv):
        raise InvalidRequest(f"{what}: an argument holds a NUL, which no program can be given")


def _check_resources(cpus: int | None, memory_mib: int | None, disk_gib: int | None, limits: settings.Machines) -> None:
    for name, unit, asked, least, most in (
        ("cpus", "", cpus, 1, None),
        ("memory", " MiB", memory_mib, limits.min_memory_mib, None),
        ("disk", " GiB", disk_gib, 1, MAX_DISK_GIB),
    ):
        if asked is not None and (asked < least or (most is not None and asked > most)):
            bounds = f"at least {least}{unit}" + (f", at most {most}{unit}" if most is not None else "")
            raise InvalidRequest(f"{name} is {asked}{unit}: {bounds}")


def check_labels(labels: Mapping[str, str]) -> None:
    if len(labels) > LABELS:
        raise InvalidRequest(f"labels: {len(labels)} given, at most {LABELS}")
    for key, value in labels.items():
        if not key or len(key) > LABEL_KEY_LENGTH or "=" in key or _CONTROL.search(key):
            raise InvalidRequest(
                f"labels: {_shown(key)} is not a key: use 1 to {LABEL_KEY_LENGTH} characters without '='"
            )
        if len(value) > LABEL_VALUE_LENGTH or "\0" in value:
            raise InvalidRequest(f"labels: the value of {_shown(key)} is longer than {LABEL_VALUE_LENGTH} or holds NUL")


def check_metadata(metadata: Mapping[str, object]) -> None:
    try:
        size = len(json.dumps(metadata).encode())
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequest("metadata: this is not a JSON object") from None
    if size > METADATA_BYTES:
        raise InvalidRequest(f"metadata is {size} bytes as JSON: at most {METADATA_BYTES}; put the rest into a file")


def _check_mounts(request: MachineRequest) -> None:
    mounts = request.mounts
    if mounts and request.snapshot is not None:
        raise InvalidRequest("mounts: a machine made of a snapshot has the snapshot's own, leave them out")
    if len(mounts) > MAX_MOUNTS:
        raise InvalidRequest(f"mounts: {len(mounts)} given, at most {MAX_MOUNTS}")
    for mount in mounts:
        check_path("mounts: path", mount.path)
        if posixpath.normpath(mount.path) != mount.path or mount.path in ("/", "//"):
            raise InvalidRequest(f"mounts: path {_shown(mount.path)}: use a plain directory such as /data")
    for what, named in (("path", [it.path for it in mounts]), ("volume", [it.volume for it in mounts])):
        twice = [it for it in named if named.count(it) > 1]
        if twice:
            raise InvalidRequest(f"mounts: {what} {_shown(twice[0])} is given twice")


def _shown(text: str) -> str:
    """A caller's own words, cut, with what cannot be seen escaped."""
    return ascii(text if len(text) <= 80 else text[:77] + "…")
