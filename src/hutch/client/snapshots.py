"""Snapshots, which the wire calls checkpoints, as the API's JSON. Pure."""

from hutch.client import models, wire
from hutch.client.wire import Json


def path(snapshot: str, *rest: str) -> str:
    """The path of a snapshot, by id or name, or of something below it."""
    return "/".join(("/v1/checkpoints", wire.segment(snapshot), *rest))


def persistence(kind: str | None, priority: int | None) -> Json | None:
    """What becomes of it when room is needed; None: as usual."""
    if kind is None:
        return None
    return {"type": kind} | ({} if priority is None else {"priority": priority})


def snapshot(data: Json) -> models.Snapshot:
    """A snapshot."""
    its = data["resources"]
    return models.Snapshot(
        id=data["id"],
        name=data["name"],
        machine=data["machineId"],
        image=data["source"]["reference"],
        status=data["status"],
        size=data["sizeBytes"],
        cpus=its["cpus"],
        memory_mb=its["memoryMb"],
        disk_gb=its["diskGb"],
        created_at=wire.time(data["createdAt"]),
        damage=data["damage"],
        verified_at=wire.maybe_time(data["verifiedAt"]),
        metadata=data["metadata"],
        persistence=data["persistence"]["type"],
        priority=data["persistence"]["priority"],
        build=data["buildId"],
        used_at=wire.maybe_time(data["usedAt"]),
    )
