"""From the service's nouns to the nullspace dialect's JSON. Pure; `responses` has the same shapes for the documents.

What is not known is left out; the documented client takes nothing that it does not know in processes, snapshots,
metrics and files.
"""

import base64
import posixpath
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hutch.api.answers import moment, unix
from hutch.api.nullspace import parse, refs
from hutch.control import processes, timers
from hutch.model import guest
from hutch.model.guest import FileKind, FileStat
from hutch.model.machine import Checkout, CheckoutSource, Machine, Persistence, Resources, Snapshot, TimerAction
from hutch.model.network import Traffic
from hutch.model.states import State

STATES: Mapping[State, str] = {
    State.CREATING: "creating",
    State.STOPPED: "paused",  # what runs in it is gone, but it is resumed like any that does not run
    State.STARTING: "creating",
    State.RUNNING: "running",
    State.PAUSING: "running",
    State.PAUSED: "paused",
    State.SUSPENDING: "running",
    State.SUSPENDED: "paused",
    State.STOPPING: "running",
    State.DESTROYING: "destroyed",
    State.DESTROYED: "destroyed",
    State.FAILED: "error",
    State.LOST: "error",
}
_MOUNT_STATES = {
    "creating": "requested",
    "running": "mounted",
    "paused": "paused",
    "destroyed": "released",
    "error": "failed",
}
STATUSES = ("creating", "running", "paused", "destroyed", "error")


def status(it: Machine) -> str:
    """A machine's status."""
    return STATES[it.state]


def config(it: Resources) -> dict[str, int]:
    """A machine's shape."""
    return {"vcpus": it.cpus, "memory_mb": it.memory_mib, "disk_mb": it.disk_gib * parse.MIB_PER_GIB}


def template(it: Machine) -> str:
    """What a machine was made of: a snapshot, else its image."""
    return refs.SNAPSHOT + it.snapshot if it.snapshot else template_ref(it.spec.image.reference)


def template_ref(image: str) -> str:
    """An image as a template."""
    return parse.BASE if image == parse.BASE_IMAGE else image


def action(it: Machine) -> str:
    """What the end of its lease, or else of its idle time, does. Stopped is as good as hibernated: it is resumed."""
    its = it.timers
    does = its.lifetime_action if its.lifetime is not None or its.idle is None else its.idle_action
    return "destroy" if does is TimerAction.DESTROY else "hibernate"


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def lease(it: Machine, remaining: float | None) -> dict[str, Any]:
    """`remaining` are the seconds it still has, as things stand; None: nothing will end it."""
    ends = timers.find_deadline(it) if remaining is not None else None
    shown = {
        "timeout_ms": _milliseconds(it.timers.lifetime),
        "timeout_at": None if ends is None else moment(ends),
        "remaining_ms": _milliseconds(remaining),
        "timeout_action": action(it),
    }
    return {name: value for name, value in shown.items() if value is not None}


def metadata(it: Machine) -> dict[str, Any]:
    """What its maker said of it, and its volumes."""
    shown = dict(it.metadata)
    return {**shown, "volume_attachments": attachments(it)} if it.spec.mounts else shown


def attachments(it: Machine) -> list[dict[str, Any]]:
    """Its volumes, in the order in which they were asked for."""
    state = _MOUNT_STATES[status(it)]
    return [
        {
            "id": f"{refs.VOLUME}{mount.volume}@{it.id}",
            "volume_id": refs.VOLUME + mount.volume,
            "machine_id": refs.MACHINE + it.id,
            "mount_path": mount.path,
            "read_only": mount.readonly,
            "subpath": None,
            "state": state,
            "created_at": moment(it.created_at),
            "updated_at": moment(it.updated_at),
        }
        for mount in it.spec.mounts
    ]


def machine(it: Machine, remaining: float | None) -> dict[str, Any]:
    """A machine, whole."""
    lent = lease(it, remaining)
    shown = {
        "id": refs.MACHINE + it.id,
        "status": status(it),
        "config": config(it.spec.resources),
        "template": template(it),
        "created_at": moment(it.created_at),
        "metadata": metadata(it),
        "started_at": None if it.ready_at is None else moment(it.ready_at),
        **lent,
        "expires_at": lent.get("timeout_at"),
        "last_active_at": None if it.last_activity_at is None else moment(it.last_activity_at),
        "inactivity_timeout_ms": _milliseconds(it.timers.idle),
        "auto_delete_after_ms": _milliseconds(it.timers.suspended),
        "ephemeral": it.persistence is Persistence.EPHEMERAL,
        "cwd": it.spec.workdir,
        "snapshot_id": refs.SNAPSHOT + it.id if status(it) == "paused" else None,
        "warm_pool_checkout": None if it.checkout is None else checkout(it.checkout),
    }
    return {name: value for name, value in shown.items() if value is not None}


_SOURCES = {
    CheckoutSource.MEMBER: "ready_instance",
    CheckoutSource.COLD: "cold_create",
    CheckoutSource.BYPASSED: "bypassed",
}


def checkout(it: Checkout) -> dict[str, Any]:
    """How a warm pool was used."""
    shown = {"source": _SOURCES[it.source], "hit": it.source is CheckoutSource.MEMBER, "mode": it.mode.value}
    return shown if it.pool is None else {**shown, "id": refs.POOL + it.pool}


def snapshot(it: Snapshot) -> dict[str, Any]:
    """A snapshot."""
    return {
        "id": refs.SNAPSHOT + it.id,
        "machine_id": refs.MACHINE + it.machine,
        "size_bytes": it.size,
        "created_at": moment(it.created_at),
        "metadata": dict(it.metadata),
    }


def hibernation(it: Machine, size: int) -> dict[str, Any]:
    """What a machine that does not run is resumed from; it takes `size` bytes of the host's disk."""
    return {
        "id": refs.SNAPSHOT + it.id,
        "machine_id": refs.MACHINE + it.id,
        "size_bytes": size,
        "created_at": moment(it.suspended_at or it.updated_at),
        "metadata": dict(it.metadata),
    }


def text(data: bytes) -> str:
    """Output as text: what is not UTF-8 is replaced."""
    return data.decode("utf-8", "replace")


def exec_result(done: processes.Completed) -> dict[str, Any]:
    """A command that has ended, or one in the background that has begun."""
    shown = {
        "exit_code": done.exit.shell_code,
        "stdout": text(done.stdout),
        "stderr": text(done.stderr),
        "pid": done.pid or None,
    }
    cut = {"stdout_truncated": done.stdout_truncated, "stderr_truncated": done.stderr_truncated}
    return shown | {name: value for name, value in cut.items() if value}


def process(it: guest.ProcessInfo) -> dict[str, Any]:
    """A process the agent keeps."""
    return {"pid": it.pid, "command": " ".join(it.argv), "running": it.exit is None}


def logs(stdout: bytes, stderr: bytes, end: guest.Exit | None) -> dict[str, Any]:
    """All that a process wrote, as far as it is kept. In `output` stdout comes first: their order is not known."""
    return {
        "stdout": text(stdout),
        "stderr": text(stderr),
        "output": text(stdout) + text(stderr),
        "exit_code": None if end is None else end.shell_code,
    }


_TYPES = {FileKind.FILE: "file", FileKind.DIRECTORY: "dir", FileKind.SYMLINK: "symlink", FileKind.OTHER: "other"}


def permissions(mode: int) -> str:
    """`rwxr-xr-x`."""
    return "".join(letter if mode & 1 << (8 - at) else "-" for at, letter in enumerate("rwxrwxrwx"))


def file(it: FileStat) -> dict[str, Any]:
    """A path in a guest. Owner and group are numbers: names are the guest's own."""
    shown = {
        "name": posixpath.basename(it.path.rstrip("/")) or "/",
        "path": it.path,
        "is_dir": it.kind is FileKind.DIRECTORY,
        "size": it.size,
        "type": _TYPES[it.kind],
        "mode": f"{it.mode:04o}",
        "permissions": permissions(it.mode),
        "owner": str(it.uid),
        "group": str(it.gid),
        "modified_time": unix(it.modified_at),
    }
    return shown if it.target is None else {**shown, "symlink_target": it.target}


def read(data: bytes, encoding: str) -> dict[str, Any]:
    """A file's content."""
    shown = text(data) if encoding == "utf8" else base64.b64encode(data).decode("ascii")
    return {"content": shown, "encoding": encoding, "size": len(data)}


def match(it: guest.Match) -> dict[str, Any]:
    """A line that holds what was looked for."""
    return {"file": it.path, "line": it.line, "content": it.text}


def metrics(
    now: datetime, before: guest.GuestStats, after: guest.GuestStats, cpus: int, traffic: Traffic
) -> dict[str, Any]:
    """What a guest's kernel says of itself, its CPU between two looks, and what its host counted."""
    total, busy = after.cpu_total - before.cpu_total, after.cpu_busy - before.cpu_busy
    return {
        "timestamp": moment(now),
        "cpu_percent": round(100 * busy / total, 2) if total > 0 else 0.0,
        "cpu_count": cpus,
        "mem_used_bytes": after.memory_total - after.memory_available,
        "mem_total_bytes": after.memory_total,
        "disk_used_bytes": after.disk_total - after.disk_available,
        "disk_total_bytes": after.disk_total,
        "network_rx_bytes": traffic.received,
        "network_tx_bytes": traffic.sent,
    }
