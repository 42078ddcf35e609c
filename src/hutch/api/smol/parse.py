"""From the smol dialect's requests to what the control plane is asked. Pure.

It says no only where a field that is known cannot act here: ignoring it would be a lie.
"""

import base64
import binascii
import dataclasses
import signal
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from hutch.api.smol import present, requests
from hutch.control import machines, pools, processes
from hutch.model import errors, guest, ids
from hutch.model.machine import CheckoutMode, NetworkMode, NetworkPolicy, Persistence, TimerAction, Timers
from hutch.model.network import PublishedPort

INTERPRETERS: Mapping[str, tuple[str, ...]] = {
    "python": ("python3", "-"),
    "javascript": ("node", "-"),
    "node": ("node", "-"),
}
"""What runs a language; each reads the program from stdin, whose length has no limit as an argument's has."""

MAX_DAYS = 36_500

_MODES = {"open": NetworkMode.OPEN, "blocked": NetworkMode.BLOCKED, "allowCidrs": NetworkMode.ALLOW}


def _ref(text: str, prefix: str) -> str:
    bare = text.removeprefix(prefix)
    return bare if ids.is_machine_id(bare) else text


def machine_ref(text: str) -> str:
    """An id as it is shown or bare, without the prefix; anything else is a name, and stays as it is."""
    return _ref(text, present.ID_PREFIX)


def checkpoint_ref(text: str) -> str:
    """The same of a checkpoint."""
    return _ref(text, present.CHECKPOINT_PREFIX)


def build_ref(text: str) -> str:
    """The same of a build."""
    return _ref(text, present.BUILD_PREFIX)


def pool_ref(text: str) -> str:
    """The same of a pool."""
    return _ref(text, present.POOL_PREFIX)


def volume_ref(text: str) -> str:
    """The same of a volume."""
    return _ref(text, present.VOLUME_PREFIX)


def _cannot(field: str, why: str) -> errors.Unsupported:
    return errors.Unsupported(f"{field}: {why}")


_NO_CACHE_DISKS = "this service has no cache disks"


def _refuse(*cannot_act: tuple[str, Any, str]) -> None:
    """`Unsupported`, by name, for the first field that is given: empty, false and null are not."""
    for field, given, why in cannot_act:
        if given:
            raise _cannot(field, why)


def network(given: requests.Network) -> NetworkPolicy:
    """What a machine may reach."""
    if given.mode == "allowCidrs" and not given.cidrs and not given.hosts:
        raise errors.InvalidRequest("allowCidrs network mode requires at least one CIDR or host")
    return NetworkPolicy(
        _MODES[given.mode],
        tuple(given.cidrs or ()),
        tuple(given.hosts or ()),
        tuple(given.denied or ()),
        given.kbit_per_second,
        given.packets_per_second,
        given.burst,
    )


def ports(given: Iterable[requests.Port] | None) -> tuple[PublishedPort, ...]:
    """Ports to publish: TCP, and private unless said otherwise. `hostPort` is not followed, as documented."""
    return tuple(_port(it) for it in given or ())


def _port(it: requests.Port) -> PublishedPort:
    if it.protocol == "udp":
        raise _cannot("ports", f"{it.port}/udp: only TCP ports are published")
    return PublishedPort(it.port, bool(it.public))


def timers(body: requests.Character | requests.Timers) -> Timers:
    """When something happens to a machine without anybody asking."""
    usual = Timers()
    return Timers(
        idle=body.auto_stop_seconds,
        idle_action=TimerAction(body.idle_action) if body.idle_action else usual.idle_action,
        lifetime=body.ttl_seconds,
        lifetime_action=TimerAction(body.lifetime_action) if body.lifetime_action else usual.lifetime_action,
        suspended=body.delete_after_suspended_seconds,
    )


def _persistence(body: requests.Character) -> dict[str, Any]:
    """`ephemeral` and `persistence` say the same thing, and must not say two."""
    given = body.persistence
    if given is None:
        return {"persistence": Persistence.EPHEMERAL if body.ephemeral else Persistence.PERSISTENT}
    if body.ephemeral is not None and body.ephemeral != (given.type == Persistence.EPHEMERAL.value):
        raise errors.InvalidRequest(f"ephemeral and persistence contradict each other: {given.type} was asked for")
    return persistence(given)


def persistence(given: requests.Persistence) -> dict[str, Any]:
    """Of a machine or a checkpoint: `persistence`, and `priority` if one is given."""
    kind = Persistence(given.type)
    if given.priority is None:
        return {"persistence": kind}
    if kind is not Persistence.STICKY:
        raise errors.InvalidRequest("persistence.priority: only what is sticky has one")
    return {"persistence": kind, "priority": given.priority}


def _source(given: requests.Source | None) -> dict[str, Any]:
    """Nothing of a machine out of a pool that does not say."""
    if given is None:
        return {"image": ""}
    if given.type == "smolmachine":
        raise _cannot("source.type", "this service makes machines of images and checkpoints")
    if given.type == "checkpoint":
        return {"image": "", "snapshot": checkpoint_ref(given.reference)}
    return {"image": given.reference}


def _character(body: requests.Character) -> dict[str, Any]:
    resources = body.resources or requests.Resources()
    return {
        "name": body.name,
        "cpus": resources.cpus,
        "memory_mib": resources.memory_mb,
        "disk_gib": resources.disk_gb,
        "network": None if body.network is None else network(body.network),
        "mounts": tuple(_mount(it) for it in body.mounts or ()),
        "env": body.env or {},
        "workdir": body.workdir,
        "command": None if body.command is None else tuple(body.command),
        "labels": body.labels or {},
        "metadata": body.metadata or {},
        "timers": timers(body),
        "ports": ports(body.ports),
        "wakes_on_traffic": body.wakes_on_traffic is not False,
        "starts_on_traffic": bool(body.starts_on_traffic),
        **_persistence(body),
    }


def machine_request(body: requests.CreateMachine) -> machines.MachineRequest:
    """A machine to make, of an image or of a checkpoint. Every machine can be branched, asked for or not."""
    _refuse(
        ("credentials", body.credentials, "this service cannot hold credentials yet"),
        ("cacheDisk", body.cache_disk, _NO_CACHE_DISKS),
    )
    return machines.MachineRequest(**_source(body.source), **_character(body))


def _mount(it: requests.Mount) -> machines.MountRequest:
    return machines.MountRequest(volume_ref(it.volume), it.mount_path, bool(it.readonly))


def restore_request(checkpoint: str, body: requests.Restore) -> machines.MachineRequest:
    """A machine to make of a checkpoint, which the documented service keeps from the network unless told otherwise."""
    _refuse(("cacheDisk", body.cache_disk, _NO_CACHE_DISKS))
    policy = NetworkPolicy(NetworkMode.BLOCKED) if body.network is None else network(body.network)
    return machines.MachineRequest(image="", snapshot=checkpoint_ref(checkpoint), name=body.name, network=policy)


def branch(body: requests.Branch) -> machines.ForkRequest:
    """One copy; like every machine it can be branched itself."""
    names = None if body.name is None else (body.name,)
    return machines.ForkRequest(names=names, freeze_source=bool(body.freeze_source), ports=ports(body.ports) or None)


def branch_batch(body: requests.BranchBatch) -> machines.ForkRequest:
    """Several copies."""
    return machines.ForkRequest(
        count=body.count,
        names=None if body.names is None else tuple(body.names),
        name_prefix=body.name_prefix,
        freeze_source=bool(body.freeze_source),
        ports=ports(body.ports) or None,
    )


def _least(body: requests.CreatePool | requests.UpdatePool) -> int | None:
    if body.target_size is not None and body.min is not None:
        raise errors.InvalidRequest("targetSize and min are the same: give one of them")
    return body.target_size if body.min is None else body.min


def pool_request(body: requests.CreatePool) -> pools.PoolRequest:
    """Machines to keep ready; `targetSize` is the documented name of `min`."""
    _refuse(("maxIdleSecs", body.max_idle_secs, "machines of a pool wait until they are claimed or memory is needed"))
    least = _least(body)
    mode = NetworkMode.BLOCKED if body.network is False else NetworkMode.OPEN
    return pools.PoolRequest(
        machine=machines.MachineRequest(
            image=body.image,
            cpus=body.cpus,
            memory_mib=body.memory_mb,
            disk_gib=body.disk_gb,
            network=NetworkPolicy(mode),
        ),
        name=body.name,
        max=body.max,
        warm_up=None if body.warm_up is None else tuple(body.warm_up),
        min=1 if least is None else least,
        mode=body.mode or CheckoutMode.PREFER,
        labels=body.labels or {},
        metadata=body.metadata or {},
    )


def pool_change(body: requests.UpdatePool) -> pools.PoolChange:
    """What of a pool is to be otherwise."""
    return pools.PoolChange(
        name=body.name,
        min=_least(body),
        max=body.max,
        warm_up=body.warm_up,
        state=body.state,
        mode=body.mode,
        labels=body.labels,
        metadata=body.metadata,
    )


def claim_request(body: requests.Claim) -> machines.MachineRequest:
    """What a machine out of a pool is to be; what it leaves out of image and shape is the pool's."""
    return machines.MachineRequest(**_source(body.source), **_character(body))


def labels(given: Iterable[str]) -> dict[str, str]:
    """`k=v` filters as a mapping."""
    wanted = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise errors.InvalidRequest(f"label: {text!r} is not of the form name=value")
        wanted[name] = value
    return wanted


def query(given: requests.Listing) -> machines.Query:
    """Which page of which machines."""
    usual = machines.Query()
    return machines.Query(
        states=tuple(given.state),
        labels=labels(given.label),
        limit=given.limit or usual.limit,
        token=given.next,
    )


def terminal(given: requests.Terminal) -> guest.TerminalSize:
    """A terminal's size."""
    return guest.TerminalSize(given.cols, given.rows)


def _exact(field: str, text: str | None, b64: str | None) -> bytes | None:
    """Bytes that are given as text or, exactly, as base64."""
    if b64 is None:
        return None if text is None else text.encode("utf-8", "surrogatepass")
    if text is not None:
        raise errors.InvalidRequest(f"{field} and {field}B64 exclude each other")
    try:
        return base64.b64decode(b64, validate=True)
    except (binascii.Error, ValueError) as flaw:
        raise errors.InvalidRequest(f"{field}B64: {flaw}") from None


def content(text: str | None, b64: str | None) -> bytes:
    """What is to be in a file."""
    given = _exact("content", text, b64)
    if given is None:
        raise errors.InvalidRequest("content: give it, or contentB64")
    return given


def work(body: requests.Work) -> processes.Command:
    """A string is a line for the shell, a list an argv."""
    shell = isinstance(body.command, str)
    return processes.Command(
        argv=None if shell else tuple(body.command),
        shell=body.command if isinstance(body.command, str) else None,
        env=body.env or {},
        cwd=body.cwd,
        user=body.user,
        timeout=body.timeout_seconds,
        stdin=_exact("stdin", body.stdin, body.stdin_b64),
    )


def command(body: requests.Exec) -> processes.Command:
    """A command, and how it is to be run."""
    return dataclasses.replace(
        work(body),
        interactive=bool(body.interactive),
        background=bool(body.background),
        terminal=None if body.terminal is None else terminal(body.terminal),
    )


def program(body: requests.Code) -> processes.Command:
    """A program for its language's interpreter."""
    argv = INTERPRETERS.get(body.language)
    if argv is None:
        known = ", ".join(INTERPRETERS)
        raise errors.InvalidRequest(f"unsupported language: {body.language!r} (supported: {known})")
    return processes.Command(
        argv=argv,
        env=body.env or {},
        cwd=body.cwd,
        user=body.user,
        timeout=body.timeout_seconds,
        stdin=body.code.encode("utf-8", "surrogatepass"),
    )


def signal_number(given: int | str) -> int:
    """9, "KILL" and "SIGKILL" are the same."""
    if isinstance(given, int):
        return given
    name = given.upper().removeprefix("SIG")
    try:
        return signal.Signals[f"SIG{name}"].value
    except KeyError:
        raise errors.InvalidRequest(f"signal: there is no {given!r}") from None


def lifetime(days: int | None) -> timedelta | None:
    """How long a key lives: as long as a calendar can tell."""
    if days is not None and days > MAX_DAYS:
        raise errors.InvalidRequest(f"expiresInDays is {days}: at most {MAX_DAYS}, or leave it out")
    return None if days is None else timedelta(days=days)
