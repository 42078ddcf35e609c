"""From the nullspace dialect's requests to what the control plane is asked. Pure.

It says no only where a field that is known cannot act here: ignoring it would be a lie.
"""

import base64
import dataclasses
import math
import re
import shlex
from dataclasses import dataclass
from typing import Any

from hutch.api.nullspace import egress, refs, requests
from hutch.control import machines, pools, processes
from hutch.control.requests import MountRequest
from hutch.model import errors
from hutch.model.machine import CheckoutMode, Persistence, TimerAction, Timers

BASE = "base"
"""The built-in template, and the image it means."""

BASE_IMAGE = "debian"

VCPUS = 1
MEMORY_MB = 256
TIMEOUT_MS = 300_000
CWD = "/workspace"
EXEC_SECONDS = 30
MIB_PER_GIB = 1024
PREVIEW_SECONDS = 3600
"""How long a link to a port is good that is asked for without a time."""

READINESS_SECONDS = 30
READINESS_INTERVAL_MS = 500
REFUSED_PORTS = frozenset((22, *range(5900, 6000)))
VOLUME_GB = 10
"""The size of a volume that is asked for without one."""

_ACTIONS = {"destroy": TimerAction.DESTROY, "hibernate": TimerAction.SUSPEND, "pause": TimerAction.SUSPEND}


def _refuse(*cannot_act: tuple[str, Any, str]) -> None:
    """`Unsupported`, by name, for the first field that is given: empty, false and null are not."""
    for field, given, why in cannot_act:
        if given:
            raise errors.Unsupported(f"{field}: {why}")


def image(template: str) -> str:
    """The image that a template means."""
    return BASE_IMAGE if template == BASE else template


def seconds(milliseconds: int | None) -> int | None:
    """Whole seconds, rounded up: the control plane's timers know nothing less."""
    return None if milliseconds is None else math.ceil(milliseconds / 1000)


def _gib(megabytes: int | None) -> int | None:
    return None if megabytes is None else math.ceil(megabytes / MIB_PER_GIB)


def _action(body: requests.CreateMachine) -> TimerAction:
    """`timeout_action` and `lifecycle.on_timeout` say the same thing, and must not say two."""
    given = {_ACTIONS[body.timeout_action]} if body.timeout_action else set()
    if body.lifecycle is not None and body.lifecycle.on_timeout:
        given.add(_ACTIONS[body.lifecycle.on_timeout])
    if len(given) > 1:
        raise errors.InvalidRequest("timeout_action and lifecycle.on_timeout contradict each other: give one of them")
    return given.pop() if given else TimerAction.DESTROY


def timers(body: requests.CreateMachine) -> Timers:
    """Lease and idle time, whichever ends first, have the same action."""
    action = _action(body)
    if body.auto_resume and body.ephemeral:
        raise errors.InvalidRequest("auto_resume: an ephemeral machine is never hibernated")
    if body.auto_resume and action is TimerAction.DESTROY:
        raise errors.InvalidRequest("auto_resume: only with lifecycle.on_timeout pause or timeout_action hibernate")
    return Timers(
        idle=seconds(body.inactivity_timeout_ms),
        idle_action=action,
        lifetime=seconds(TIMEOUT_MS if body.timeout_ms is None else body.timeout_ms),
        lifetime_action=action,
        suspended=seconds(body.auto_delete_after_ms),
    )


def renewed(has: Timers, body: requests.SetTimeout) -> Timers:
    """The same timers with another lease; an action that is named is that of the idle time too."""
    lifetime = seconds(body.timeout_ms)
    if body.timeout_action is None:
        return dataclasses.replace(has, lifetime=lifetime)
    action = _ACTIONS[body.timeout_action]
    return dataclasses.replace(has, lifetime=lifetime, lifetime_action=action, idle_action=action)


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is looked for: a page at `path`, or just a connection; seconds."""

    path: str | None
    seconds: float
    interval: float


def readiness(body: requests.PreviewReadiness) -> Readiness:
    """What is looked for at a port."""
    if body.kind != "http" and body.path not in (None, "", "/"):
        raise errors.InvalidRequest("path: only with kind http")
    seconds = READINESS_SECONDS if body.timeout_secs is None else body.timeout_secs
    interval = READINESS_INTERVAL_MS if body.interval_ms is None else body.interval_ms
    return Readiness(body.path or "/" if body.kind == "http" else None, seconds, interval / 1000)


def guest_port(given: int | str) -> int:
    """A port that may be seen from outside: those of ssh and VNC may not."""
    text = str(given)
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise errors.InvalidRequest(f"port: {text[:20]!a} is none: 1 to 65535")
    if int(text) in REFUSED_PORTS:
        raise errors.InvalidRequest(f"port: {text} may not be seen from outside, nor may any of 22 and 5900 to 5999")
    return int(text)


def mounts(given: list[requests.VolumeMount] | None) -> tuple[MountRequest, ...]:
    """Volumes by id or name, and where they are mounted."""
    for mount in given or ():
        _refuse(("volumes.subpath", mount.subpath not in (None, "", "/"), "a volume is mounted whole"))
    return tuple(
        MountRequest(mount.ref.removeprefix(refs.VOLUME), mount.mount_path, bool(mount.read_only))
        for mount in given or ()
    )


def check_source(body: requests.CreateMachine) -> None:
    """A machine is made of a template or of a snapshot."""
    if body.snapshot_id is not None and body.template is not None:
        raise errors.InvalidRequest("template and snapshot_id: a machine is made of one of them")


def machine_request(body: requests.CreateMachine, snapshot: str | None) -> machines.MachineRequest:
    """A machine to make, of a template's image or of a `snapshot`, whose shape it has unless it names one."""
    is_new = snapshot is None
    return machines.MachineRequest(
        image=image(body.template or BASE) if is_new else "",
        snapshot=snapshot,
        cpus=VCPUS if is_new and body.vcpus is None else body.vcpus,
        memory_mib=MEMORY_MB if is_new and body.memory_mb is None else body.memory_mb,
        workdir=body.cwd or (CWD if is_new else None),
        mounts=mounts(body.volumes),
        **_rest(body),
    )


def claim_request(body: requests.CreateMachine) -> machines.MachineRequest:
    """A machine to take out of a warm pool, which has a shape of its own: what is left out is the pool's."""
    return machines.MachineRequest(
        image=image(body.template) if body.template else "",
        snapshot=body.snapshot_id,
        cpus=body.vcpus,
        memory_mib=body.memory_mb,
        workdir=body.cwd or CWD,
        mounts=mounts(body.volumes),
        **_rest(body),
    )


def _rest(body: requests.CreateMachine) -> dict[str, Any]:
    _refuse(("desktop", body.desktop, "this service has no desktops"))
    return {
        "disk_gib": _gib(body.disk_mb),
        "network": egress.of_new(body),
        "wakes_on_traffic": bool(body.auto_resume),
        "private_traffic": body.network is not None and body.network.allow_public_traffic is False,
        "env": body.envs or {},
        "metadata": body.metadata or {},
        "persistence": Persistence.EPHEMERAL if body.ephemeral else Persistence.PERSISTENT,
        "timers": timers(body),
    }


def command(body: requests.Exec, keep: bool = False) -> processes.Command:
    """A command. A line for the shell: with `shell`, or without `args` when it is more than one word.

    `keep`: its stdin stays open.
    """
    if body.shell or (not body.args and re.search(r"\s", body.command)):
        line = " ".join((body.command, *(shlex.quote(word) for word in body.args or ())))
        argv, shell = None, line
    else:
        argv, shell = (body.command, *(body.args or ())), None
    return processes.Command(
        argv=argv,
        shell=shell,
        env=body.envs or {},
        cwd=body.cwd,
        timeout=EXEC_SECONDS if body.timeout_secs is None else body.timeout_secs,
        interactive=keep,
    )


def content(body: requests.WriteFile) -> bytes:
    """What a file is to hold."""
    if body.encoding != "base64":
        return body.content.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body.content, validate=True)
    except ValueError as flaw:
        raise errors.InvalidRequest(f"content: {flaw}") from None


def mode(text: str) -> int:
    """Permission bits: 755, 0755 and 0o755 are the same."""
    return int(text.removeprefix("0o"), 8)


def _refuse_of_pool(body: requests.PoolFields) -> None:
    """What no pool has here, neither a new one nor a changed one."""
    _refuse(
        ("version_policy", body.version_policy == "track_tag", "a pool keeps the image its template meant at first"),
        ("track_tag", body.track_tag, "a pool keeps the image its template meant at first"),
        ("host_pool_id", body.host_pool_id, "this service is one box"),
        ("cell_id", body.cell_id, "this service is one box"),
        ("idle_timeout_seconds", body.idle_timeout_seconds, "machines of a pool wait until they are wanted"),
        ("stale_after_seconds", body.stale_after_seconds, "machines of a pool wait until they are wanted"),
    )


def pool_request(body: requests.CreatePool) -> pools.PoolRequest:
    """Machines to keep ready. They wait until they are wanted or their memory is needed elsewhere."""
    wanted = body.template_ref or body.template
    if not wanted:
        raise errors.InvalidRequest("template_ref: name a template")
    if body.template not in (None, "", wanted):
        raise errors.InvalidRequest("template_ref and template are the same: give one of them")
    _refuse_of_pool(body)
    return pools.PoolRequest(
        machine=machines.MachineRequest(
            image=image(wanted),
            cpus=body.resources.vcpus,
            memory_mib=body.resources.memory_mb,
            disk_gib=_gib(body.resources.disk_mb),
        ),
        name=body.name,
        min=body.min_ready,
        max=body.max_ready,
        mode=CheckoutMode(body.checkout_policy or "prefer"),
        labels=body.labels or {},
        metadata=body.metadata or {},
    )


def pool_change(body: requests.UpdatePool) -> pools.PoolChange:
    """What of a pool is to be otherwise; its template and resources cannot."""
    _refuse_of_pool(body)
    _refuse(
        ("template_ref", body.template_ref or body.template, "make another pool of it"),
        ("resources", body.resources is not None, "make another pool with them"),
    )
    return pools.PoolChange(
        name=body.name,
        min=body.min_ready,
        max=body.max_ready,
        mode=None if body.checkout_policy is None else CheckoutMode(body.checkout_policy),
        labels=body.labels,
        metadata=body.metadata,
    )


def scopes(text: str | None) -> list[str]:
    """Scopes with spaces or commas between them; none means the caller's own."""
    return re.split(r"[\s,]+", text.strip()) if text and text.strip() else []


def pid(text: str) -> int:
    """A process id."""
    if not text.isdecimal() or len(text) > 10:
        raise errors.InvalidRequest(f"pid: {text[:20]!r} is not a number")
    return int(text)


def snapshot_ref(text: str) -> str:
    """A snapshot's id, as shown or bare, or its name."""
    return text.removeprefix(refs.SNAPSHOT)
