"""From the service's nouns to the freestyle dialect's JSON. Pure; `responses` has the same shapes for documents."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hutch.api.answers import moment
from hutch.api.freestyle import parse, refs, states
from hutch.control.snapshot_views import SnapshotState, SnapshotView
from hutch.model.builds import Build, Phase
from hutch.model.ids import BuildId, MachineId, SnapshotId
from hutch.model.machine import EndsOn, Machine, Persistence, Snapshot
from hutch.model.states import State

_MIB_PER_GIB = 1024


def _moment(when: datetime | None) -> str | None:
    return None if when is None else moment(when)


def _snapshot_id(id: SnapshotId | None) -> str | None:
    return None if id is None else refs.SNAPSHOT + id


def _build_id(id: BuildId | None) -> str | None:
    return None if id is None else refs.BUILD + id


def name(it: Machine) -> str:
    """What a VM is called: need not be unique."""
    return it.labels.get(parse.DISPLAY_NAME, it.name)


def _persistence(it: Machine) -> dict[str, Any]:
    match it.persistence:
        case Persistence.STICKY:
            return {"type": "sticky", "priority": it.priority}
        case Persistence.EPHEMERAL:
            return {"type": "ephemeral", "deleteEvent": "OnStop" if it.ends_on is EndsOn.STOP else "OnSuspend"}
        case Persistence.PERSISTENT:
            return {"type": "persistent"}


def listed(it: Machine, cpu_time: float | None) -> dict[str, Any]:
    """A VM in a list."""
    return {
        "id": it.id,
        "name": name(it),
        "state": states.state(it),
        "createdAt": moment(it.created_at),
        "lastNetworkActivity": _moment(it.last_activity_at),
        "cpuTimeSeconds": cpu_time,
        "persistence": _persistence(it),
        "snapshotId": _snapshot_id(it.snapshot),
        "deleted": it.state is State.DESTROYED,
        "createdDeclaratively": it.build is not None,
        "buildId": _build_id(it.build),
    }


def vms(
    shown: Sequence[Machine], found: int, there: Sequence[Machine], cpu_times: Mapping[MachineId, float], user: str
) -> dict[str, Any]:
    """A page of VMs, of so many that were found; `there` are all that are not deleted."""
    counts = Counter(states.state(it) for it in there)
    return {
        "vms": [listed(it, cpu_times.get(it.id)) for it in shown],
        "totalCount": found,
        **{f"{state}Count": counts[state] for state in states.STATES_SHOWN},
        "userId": user,
    }


def vm(it: Machine, cpu_time: float | None) -> dict[str, Any]:
    """A VM."""
    return {
        "id": it.id,
        "name": name(it),
        "vmInstanceId": refs.instance(it),
        "lastNetworkActivity": _moment(it.last_activity_at),
        "state": states.state(it),
        "cpuTimeSeconds": cpu_time,
        "buildId": _build_id(it.build),
    }


def created(it: Machine, domains: Sequence[str]) -> dict[str, Any]:
    """A VM that was just made."""
    shown = {"id": it.id, "domains": [*domains], "consoleUrl": None}
    return {**shown, "snapshotId": _snapshot_id(it.snapshot)}


def forked(source: MachineId, copies: Mapping[MachineId, Sequence[str]]) -> dict[str, Any]:
    """Copies, with their domains."""
    shown = [{"id": id, "domains": [*domains], "consoleUrl": None} for id, domains in copies.items()]
    return {"vmId": source, "forks": shown}


def exit_status(it: Machine) -> str:
    """How a VM came to run no more."""
    match it.state:
        case State.FAILED:
            return f"failed: {it.reason or 'the reason is not known'}"
        case State.DESTROYED:
            return "deleted"
        case _:
            return states.STATES[it.state]


def build(it: Build) -> dict[str, Any]:
    """A build."""
    return {
        "buildId": refs.BUILD + it.id,
        "accountId": it.tenant,
        "requestId": it.request,
        "state": states.BUILD_STATES[it.state],
        "templateHash": it.recipe,
        "failureReason": it.reason,
        "plannedPhases": [*it.planned],
        "startedAt": moment(it.started_at),
        "finishedAt": _moment(it.finished_at),
        "updatedAt": moment(it.updated_at),
    }


def phase(it: Phase) -> dict[str, Any]:
    """A phase of a build."""
    return {
        "phaseId": refs.PHASE + it.id,
        "buildId": refs.BUILD + it.build,
        "name": it.name,
        "snapshotId": _snapshot_id(it.snapshot),
        "startedAt": moment(it.started_at),
    }


def _kept(it: Snapshot | None) -> dict[str, Any]:
    if it is not None and it.persistence is Persistence.STICKY:
        return {"type": "sticky", "priority": it.priority}
    return {"type": "persistent"}


def snapshot(it: SnapshotView, account: str) -> dict[str, Any]:
    """A snapshot, or what is to become one."""
    made, build = it.snapshot, it.build
    has = None if made is None else made.spec.resources
    return {
        "snapshotId": refs.SNAPSHOT + it.id,
        "state": it.state.value,
        "sourceVmId": None if made is None else made.machine,
        "accountId": account,
        "createdAt": moment(it.created_at),
        "name": it.name,
        **{state.value: it.state is state for state in _BAD},
        "failureReason": it.reason,
        "deleted": it.deleted,
        "snapshotPersistence": _kept(made),
        "buildId": _build_id((None if build is None else build.id) or (None if made is None else made.build)),
        "templateHash": (None if made is None else made.recipe) or (None if build is None else build.recipe),
        "vcpuCount": None if has is None else has.cpus,
        "memSizeMib": None if has is None else has.memory_mib,
        "rootfsSizeMb": None if has is None else has.disk_gib * _MIB_PER_GIB,
    }


_BAD = (SnapshotState.FAILED, SnapshotState.CANCELLED, SnapshotState.LOST)


def snapshots(shown: Sequence[SnapshotView], there: Sequence[SnapshotView], account: str) -> dict[str, Any]:
    """A list of snapshots; `there` are all."""
    counts = Counter(it.state for it in there if not it.deleted)
    return {
        "snapshots": [snapshot(it, account) for it in shown],
        "totalCount": len(shown),
        **{f"{state.value}Count": counts[state] for state in SnapshotState},
        "deletedCount": sum(it.deleted for it in there),
    }
