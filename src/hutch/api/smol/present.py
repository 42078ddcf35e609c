"""From the service's nouns to the smol dialect's JSON. Pure; `responses` has the same shapes for the documents."""

import base64
import codecs
import platform
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hutch.api import answers
from hutch.api.answers import Json as Json
from hutch.control import health, images, machines, pools, processes
from hutch.model import guest, keys
from hutch.model.machine import (
    Event,
    ImageRef,
    Machine,
    NetworkMode,
    NetworkPolicy,
    Persistence,
    PoolState,
    Resources,
    Snapshot,
)
from hutch.model.network import PublishedPort
from hutch.model.states import State
from hutch.model.volumes import Mount

ID_PREFIX = "mach-"
CHECKPOINT_PREFIX = "ckpt-"
BUILD_PREFIX = "build-"
POOL_PREFIX = "pool-"
VOLUME_PREFIX = "vol-"
TENANT_PREFIX = "tenant-"
CAPABILITIES = ("machine.branch", "machine.branch_batch", "machine.branch_source_continues", "machine.lineage")
ARCHITECTURE = platform.machine()
API_VERSION = 2
TEXT_LIMIT = 1024 * 1024
"""Bytes of a stream that the text fields of an exec show; the exact ones may show more."""

STATES: Mapping[State, str] = {
    State.CREATING: "created",
    State.STOPPED: "stopped",
    State.STARTING: "started",  # with ready false: clients take `stopped` for a start that failed
    State.RUNNING: "started",
    State.PAUSING: "started",
    State.PAUSED: "paused",
    State.SUSPENDING: "started",
    State.SUSPENDED: "paused",
    State.STOPPING: "started",
    State.DESTROYING: "deleted",
    State.DESTROYED: "deleted",
    State.FAILED: "error",
    State.LOST: "error",
}

_MODES = {NetworkMode.OPEN: "open", NetworkMode.BLOCKED: "blocked", NetworkMode.ALLOW: "allowCidrs"}


def time(when: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    return None if when is None else _time(when)


_time = answers.moment
_unix = answers.unix


def network(policy: NetworkPolicy) -> dict[str, Any]:
    """Lists and rates only where they say something."""
    extra = {
        "denied": policy.denied or None,
        "kbitPerSecond": policy.kbit_per_second,
        "packetsPerSecond": policy.packets_per_second,
        "burst": policy.burst,
    }
    allowed = {"cidrs": policy.cidrs, "hosts": policy.hosts} if policy.mode is NetworkMode.ALLOW else {}
    return {"mode": _MODES[policy.mode]} | allowed | {name: it for name, it in extra.items() if it is not None}


def progress(it: images.Progress) -> dict[str, Any]:
    """Where a long piece of work is."""
    return {"phase": it.phase, "fraction": it.fraction}


def _source(ref: ImageRef) -> dict[str, Any]:
    return {"type": "image", "reference": ref.reference, "digest": ref.digest}


def _resources(it: Resources) -> dict[str, Any]:
    return {"cpus": it.cpus, "memoryMb": it.memory_mib, "diskGb": it.disk_gib}


def _prefixed(prefix: str, id: str | None) -> str | None:
    return None if id is None else prefix + id


def _mount(it: Mount) -> dict[str, Any]:
    return {"volume": VOLUME_PREFIX + it.volume, "mountPath": it.path, "readonly": it.readonly}


def _port(it: PublishedPort) -> dict[str, Any]:
    """No port of the host is opened for it: it is reached by name, or by `connect`."""
    return {"port": it.port, "hostPort": None, "protocol": "tcp", "public": it.is_public}


def _life(it: Machine) -> dict[str, Any]:
    """What becomes of it without anybody asking."""
    return {
        "ephemeral": it.persistence is Persistence.EPHEMERAL,
        "persistence": _persistence(it),
        "autoStopSeconds": it.timers.idle,
        "idleAction": it.timers.idle_action.value,
        "ttlSeconds": it.timers.lifetime,
        "lifetimeAction": it.timers.lifetime_action.value,
        "deleteAfterSuspendedSeconds": it.timers.suspended,
    }


def _remaining(it: machines.Remaining) -> dict[str, Any]:
    return {
        "idleRemainingSeconds": it.idle,
        "lifetimeRemainingSeconds": it.lifetime,
        "suspendedRemainingSeconds": it.suspended,
    }


def machine(
    it: Machine,
    getting_on: machines.Progress | None = None,
    remaining: machines.Remaining | None = None,
    url: str | None = None,
    is_ready: bool = True,
) -> dict[str, Any]:
    """A machine; `reason` only if it failed, `progress` (`getting_on`) only while it starts, `timers` if told.

    `url` of its first published port; `is_ready` of all of them.
    """
    spec, running = it.spec, it.state is State.RUNNING
    ready = running and is_ready
    shown = {
        "id": ID_PREFIX + it.id,
        "name": it.name,
        "source": _source(spec.image),
        "state": STATES[it.state],
        "stateDetail": it.state.value,
        "ready": ready,
        "readyAt": time(it.ready_at) if ready else None,
        "resources": _resources(spec.resources),
        "network": network(spec.network),
        "env": dict(spec.env),
        "workdir": spec.workdir,
        "mounts": [_mount(mount) for mount in spec.mounts],
        "command": spec.command,
        "labels": dict(it.labels),
        "metadata": dict(it.metadata),
        **_life(it),
        "parentId": _prefixed(ID_PREFIX, it.parent),
        "checkpointId": _prefixed(CHECKPOINT_PREFIX, it.snapshot),
        "suspendedAt": time(it.suspended_at),
        "lastActivityAt": time(it.last_activity_at),
        "createdAt": _time(it.created_at),
        "updatedAt": _time(it.updated_at),
        "url": url,
        "ports": [_port(port) for port in it.ports],
        "wakesOnTraffic": it.wakes_on_traffic,
        "startsOnTraffic": it.starts_on_traffic,
        "branchable": True,
        "forkable": True,
        "capabilities": {"exec": True, "branch": True},
    }
    if it.checkout is not None:
        pool = _prefixed(POOL_PREFIX, it.checkout.pool)
        shown["checkout"] = {"source": it.checkout.source.value, "mode": it.checkout.mode.value, "poolId": pool}
    if STATES[it.state] == "error":
        shown["reason"] = it.reason
    if it.state is State.STARTING and getting_on is not None:
        shown["progress"] = progress(getting_on)
    if remaining is not None:
        shown["timers"] = _remaining(remaining)
    return shown


def _persistence(it: Machine | Snapshot) -> dict[str, Any]:
    is_sticky = it.persistence is Persistence.STICKY
    return {"type": it.persistence.value, "priority": it.priority if is_sticky else None}


def checkpoint(it: Snapshot) -> dict[str, Any]:
    """A checkpoint. It cannot be downloaded, and how much it shares with others is not counted."""
    return {
        "id": CHECKPOINT_PREFIX + it.id,
        "machineId": ID_PREFIX + it.machine,
        "status": "damaged" if it.damage else "ready",
        "sizeBytes": it.size,
        "reusedBytes": None,
        "arch": ARCHITECTURE,
        "createdAt": _time(it.created_at),
        "downloadUrl": "",
        "name": it.name,
        "source": _source(it.spec.image),
        "resources": _resources(it.spec.resources),
        "damage": it.damage,
        "verifiedAt": time(it.verified_at),
        "metadata": dict(it.metadata),
        "persistence": _persistence(it),
        "buildId": None if it.build is None else BUILD_PREFIX + it.build,
        "usedAt": time(it.used_at),
    }


def _standing(it: pools.PoolStatus) -> str:
    if it.pool.state is not PoolState.ENABLED:
        return it.pool.state.value
    if it.ready >= it.pool.min:
        return "ready"
    return "waiting" if it.reason else "filling"


def pool(it: pools.PoolStatus) -> dict[str, Any]:
    """A pool and how it stands."""
    spec = it.pool.spec
    return {
        "id": POOL_PREFIX + it.pool.id,
        "image": spec.image.reference,
        "status": _standing(it),
        "idleCount": it.ready,
        "busyCount": it.claimed,
        "targetSize": it.pool.min,
        "name": it.pool.name,
        "min": it.pool.min,
        "max": it.pool.max,
        "makingCount": it.making,
        "resources": _resources(spec.resources),
        "network": network(spec.network),
        "warmUp": it.pool.warm_up,
        "state": it.pool.state.value,
        "mode": it.pool.mode.value,
        "labels": dict(it.pool.labels),
        "metadata": dict(it.pool.metadata),
        "createdAt": _time(it.pool.created_at),
        "updatedAt": _time(it.pool.updated_at or it.pool.created_at),
        "reason": it.reason,
    }


def _text(data: bytes) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return decoder.decode(data[:TEXT_LIMIT], final=len(data) <= TEXT_LIMIT)


def b64(data: bytes) -> str:
    """Bytes as JSON can carry them exactly."""
    return base64.b64encode(data).decode("ascii")


def exec_result(done: processes.Completed, machine_id: str, output: str, user: str | None) -> dict[str, Any]:
    """`output` is text, b64 or both; the text fields are always there, empty with b64."""
    as_text = output != "b64"
    shown = {
        "stdout": _text(done.stdout) if as_text else "",
        "stderr": _text(done.stderr) if as_text else "",
        "exitCode": done.exit.shell_code,
        "durationMs": round(done.duration * 1000),
        "machineId": ID_PREFIX + machine_id,
        "stdoutTruncated": done.stdout_truncated or (as_text and len(done.stdout) > TEXT_LIMIT),
        "stderrTruncated": done.stderr_truncated or (as_text and len(done.stderr) > TEXT_LIMIT),
        "processId": done.process,
    }
    if output != "text":
        shown |= {"stdoutB64": b64(done.stdout), "stderrB64": b64(done.stderr)}
    if user is not None:
        shown["user"] = user
    return shown


def event(it: Event) -> dict[str, Any]:
    """One thing that happened."""
    return {
        "id": it.id,
        "level": it.level.value,
        "message": it.message,
        "createdAt": _time(it.created_at),
        "kind": it.kind,
        "machineId": _prefixed(ID_PREFIX, it.machine or None),
        "checkpointId": _prefixed(CHECKPOINT_PREFIX, it.snapshot),
    }


def key(it: keys.ApiKey) -> dict[str, Any]:
    """A key without its secret."""
    return {
        "id": it.id,
        "scopes": sorted(it.scopes),
        "description": it.description,
        "prefix": it.prefix,
        "createdAt": _time(it.created_at),
        "expiresAt": time(it.expires_at),
        "lastUsedAt": time(it.last_used_at),
    }


def health_report(it: health.Report, ready: bool) -> dict[str, Any]:
    """One box is one node."""
    return {
        "clusterId": it.cluster,
        "version": it.version,
        "apiVersion": API_VERSION,
        "capabilities": CAPABILITIES,
        "nodesTotal": 1,
        "nodesReady": int(ready),
        "groupsTotal": 0,
        "appsTotal": 0,
        "poolsTotal": it.pools,
        "uptimeSecs": int(it.uptime),
        "accelerator": it.host.accelerator,
        "acceleratorReason": it.host.accelerator_reason,
        "vmm": it.host.vmm,
        "agent": it.host.agent,
        "isolation": it.host.isolation,
    }


def _exit(it: guest.Exit | None) -> dict[str, Any] | None:
    return None if it is None else {"exitCode": it.shell_code, "signal": it.signal, "timedOut": it.timed_out}


def process(it: guest.ProcessInfo) -> dict[str, Any]:
    """A process the agent keeps."""
    return {
        "id": it.id,
        "pid": it.pid,
        "command": it.argv,
        "startedAt": _unix(it.started_at),
        "stdoutBytes": it.stdout_bytes,
        "stderrBytes": it.stderr_bytes,
        "exit": _exit(it.exit),
    }


def process_output(page: guest.Output) -> dict[str, Any]:
    """Exact bytes, and where to go on."""
    return {
        "stdoutB64": b64(page.stdout),
        "stdoutOffset": page.stdout_at,
        "stdoutNextOffset": page.stdout_at + len(page.stdout),
        "stderrB64": b64(page.stderr),
        "stderrOffset": page.stderr_at,
        "stderrNextOffset": page.stderr_at + len(page.stderr),
        "exit": _exit(page.exit),
    }


def image(it: images.Image) -> dict[str, Any]:
    """An image that is here."""
    return {
        "reference": it.ref.reference,
        "digest": it.ref.digest,
        "sizeBytes": it.size,
        "createdAt": _unix(it.created_at),
        "entrypoint": it.config.entrypoint,
        "cmd": it.config.cmd,
        "env": dict(it.config.env or {}),
        "workdir": it.config.workdir,
        "user": it.config.user,
        "systemd": it.systemd,
    }
