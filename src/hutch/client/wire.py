"""The native API's JSON, read into `models` and written from them. Pure."""

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from hutch.client import errors, models

Json = Mapping[str, Any]


def to_json(body: Json) -> str:
    """As it goes over the wire."""
    return json.dumps(body)


def segment(text: str) -> str:
    """A part of a path, percent-encoded whole: `.` and `..` too, which lead elsewhere on the way (RFC 3986, 5.2.4)."""
    return quote(text, safe="").replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def machine_path(machine: str, *rest: str) -> str:
    """The path of a machine, by id or name, or of something below it."""
    return "/".join(("/v1/machines", segment(machine), *rest))


def pool_path(pool: str, *rest: str) -> str:
    """The path of a pool, by id or name, or of something below it."""
    return "/".join(("/v1/pools", segment(pool), *rest))


def file_path(machine: str, path: str) -> str:
    """The path of a file in a machine, every segment encoded by itself."""
    return machine_path(machine, "files", *(segment(part) for part in path.lstrip("/").split("/")))


def part_path(machine: str, what: str, part: str, *rest: str) -> str:
    """The path of a session, job or process of a machine, or of something below it."""
    return machine_path(machine, what, segment(part), *rest)


def _given(fields: Json) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value != {} and value is not False}


def time(text: str) -> datetime:
    """RFC 3339."""
    return datetime.fromisoformat(text)


def maybe_time(text: str | None) -> datetime | None:
    """The same, where there may be none."""
    return None if text is None else time(text)


def _resources(it: models.NewMachine | models.NewPool) -> dict[str, Any]:
    return _given({"cpus": it.cpus, "memoryMb": it.memory_mb, "diskGb": it.disk_gb})


def network(it: models.Network) -> Json:
    """A network policy, or the body of a change of it."""
    fields = {
        "cidrs": [entry for entry in it.allow if _is_address(entry)],
        "hosts": [entry for entry in it.allow if not _is_address(entry)],
        "denied": list(it.deny),
        "kbitPerSecond": it.kbit_per_second,
        "packetsPerSecond": it.packets_per_second,
        "burst": it.burst,
    }
    mode = "allowCidrs" if it.mode == "allow" else it.mode
    return {"mode": mode} | {name: given for name, given in fields.items() if given not in (None, [])}


def _is_address(entry: str) -> bool:
    """10.0.0.0/8 or 192.0.2.7, and not a host name; what is wrong with it the service says."""
    return "/" in entry or ":" in entry or entry.replace(".", "").isdecimal()


def _read_network(data: Json) -> models.Network:
    mode: str = data["mode"]
    return models.Network(
        mode="allow" if mode == "allowCidrs" else mode,
        allow=[*data.get("cidrs", ()), *data.get("hosts", ())],
        deny=data.get("denied", []),
        kbit_per_second=data.get("kbitPerSecond"),
        packets_per_second=data.get("packetsPerSecond"),
        burst=data.get("burst"),
    )


def _new_network(it: models.NewMachine) -> Json | None:
    if it.network is None:
        return None
    if isinstance(it.network, models.Network):
        return network(it.network)
    return network(models.Network(it.network, it.allow if it.network == "allow" else ()))


def ports(its: Sequence[models.Port]) -> list[Json]:
    """Ports to publish."""
    return [{"port": it.port, "public": it.public} for it in its]


def link(data: Json) -> models.Link:
    """A link to a port; one that is shared says nothing of an end."""
    return models.Link(data["url"], data["token"], maybe_time(data.get("expiresAt")))


def _mount(it: models.Mount) -> Json:
    return {"volume": it.volume, "mountPath": it.path, "readonly": it.readonly}


def _persistence(it: models.NewMachine) -> Json | None:
    return {"type": it.persistence} | _given({"priority": it.priority}) if it.persistence else None


def _character(it: models.NewMachine) -> dict[str, Any]:
    return _given(
        {
            "name": it.name,
            "env": dict(it.env),
            "workdir": it.workdir,
            "command": None if it.command is None else list(it.command),
            "labels": dict(it.labels),
            "metadata": dict(it.metadata),
            "ephemeral": it.ephemeral,
            "persistence": _persistence(it),
            "ports": ports(it.ports) or None,
            "startsOnTraffic": it.starts_on_traffic,
            **timers(it),
        }
    ) | ({} if it.wakes_on_traffic else {"wakesOnTraffic": False})


def timers(it: models.NewMachine | models.Timers) -> dict[str, Any]:
    """The timers of a new machine, or the body of a change of them."""
    return {
        "autoStopSeconds": it.auto_stop_seconds,
        "idleAction": it.idle_action,
        "ttlSeconds": it.ttl_seconds,
        "lifetimeAction": it.lifetime_action,
        "deleteAfterSuspendedSeconds": it.delete_after_suspended_seconds,
    }


def new_machine(it: models.NewMachine) -> Json:
    """The body of a create."""
    kind, reference = ("image", it.image) if it.snapshot is None else ("checkpoint", it.snapshot)
    return {"source": {"type": kind, "reference": reference}} | _shape_of_new(it) | _character(it)


def _shape_of_new(it: models.NewMachine) -> dict[str, Any]:
    mounts = [_mount(mount) for mount in it.mounts] or None
    return _given({"resources": _resources(it), "network": _new_network(it), "mounts": mounts})


def claim(it: models.NewMachine | None, mode: str | None = None, wait: float | None = None) -> Json:
    """The body of a claim: that of a create, whose source may be left out."""
    wait_ms = None if wait is None else round(wait * 1000)
    body = {} if it is None else dict(new_machine(it))
    if it is not None and not (it.image or it.snapshot):
        del body["source"]
    return body | _given({"mode": mode, "waitMs": wait_ms})


def new_pool(it: models.NewPool) -> Json:
    """The body of a new pool."""
    network = None if it.network is None else it.network == "open"
    rest: dict[str, Any] = {"name": it.name, "min": it.min, "max": it.max, "warmUp": it.warm_up and list(it.warm_up)}
    rest |= {"mode": it.mode, "labels": dict(it.labels), "metadata": dict(it.metadata)}
    return {"image": it.image} | _resources(it) | _given(rest) | ({} if network is None else {"network": network})


def pool_change(it: models.PoolChange) -> Json:
    """The body of a change of a pool."""
    asked = dataclasses.asdict(it)
    asked["warmUp"] = asked.pop("warm_up")
    return {name: value for name, value in asked.items() if value is not None}


def command(it: models.Command) -> Json:
    """The body of an exec."""
    return {"command": it.command if isinstance(it.command, str) else list(it.command)} | _given(
        {
            "env": dict(it.env),
            "cwd": it.cwd,
            "user": it.user,
            "timeoutSeconds": it.timeout,
            "stdinB64": None if it.stdin is None else base64.b64encode(it.stdin).decode("ascii"),
            "interactive": it.interactive,
        }
    )


def code(it: models.Code) -> Json:
    """The body of a program."""
    rest = {"env": dict(it.env), "cwd": it.cwd, "user": it.user, "timeoutSeconds": it.timeout}
    return {"language": it.language, "code": it.code} | _given(rest)


def progress(data: Json) -> models.Progress:
    """Progress."""
    return models.Progress(data["phase"], data["fraction"])


def _remaining(data: Json | None) -> models.Remaining | None:
    if data is None:
        return None
    names = ("idleRemainingSeconds", "lifetimeRemainingSeconds", "suspendedRemainingSeconds")
    return models.Remaining(*(data[name] for name in names))


def _shape(data: Json) -> dict[str, int]:
    return {"cpus": data["cpus"], "memory_mb": data["memoryMb"], "disk_gb": data["diskGb"]}


def _checkout(data: Json | None) -> models.Checkout | None:
    return None if data is None else models.Checkout(data["source"], data["mode"], data["poolId"])


def machine(data: Json) -> models.Machine:
    """A machine."""
    return models.Machine(
        id=data["id"],
        name=data["name"],
        image=data["source"]["reference"],
        digest=data["source"]["digest"],
        state=data["state"],
        state_detail=data["stateDetail"],
        ready=data["ready"],
        network=data["network"]["mode"],
        env=data["env"],
        labels=data["labels"],
        metadata=data["metadata"],
        mounts=[models.Mount(it["volume"], it["mountPath"], it["readonly"]) for it in data["mounts"]],
        ephemeral=data["ephemeral"],
        persistence=data["persistence"]["type"],
        priority=data["persistence"]["priority"],
        auto_stop_seconds=data["autoStopSeconds"],
        idle_action=data["idleAction"],
        ttl_seconds=data["ttlSeconds"],
        lifetime_action=data["lifetimeAction"],
        delete_after_suspended_seconds=data["deleteAfterSuspendedSeconds"],
        created_at=time(data["createdAt"]),
        ready_at=maybe_time(data["readyAt"]),
        suspended_at=maybe_time(data["suspendedAt"]),
        last_activity_at=maybe_time(data["lastActivityAt"]),
        workdir=data["workdir"],
        command=data["command"],
        reason=data.get("reason"),
        progress=progress(data["progress"]) if "progress" in data else None,
        parent=data["parentId"],
        snapshot=data["checkpointId"],
        remaining=_remaining(data.get("timers")),
        policy=_read_network(data["network"]),
        ports=[models.Port(it["port"], it["public"]) for it in data["ports"]],
        url=data["url"],
        wakes_on_traffic=data["wakesOnTraffic"],
        starts_on_traffic=data["startsOnTraffic"],
        checkout=_checkout(data.get("checkout")),
        **_shape(data["resources"]),
    )


def pool(data: Json) -> models.Pool:
    """A pool."""
    return models.Pool(
        id=data["id"],
        name=data["name"],
        image=data["image"],
        status=data["status"],
        min=data["min"],
        max=data["max"],
        ready=data["idleCount"],
        making=data["makingCount"],
        claimed=data["busyCount"],
        network=data["network"]["mode"],
        warm_up=data["warmUp"],
        created_at=time(data["createdAt"]),
        reason=data["reason"],
        state=data["state"],
        mode=data["mode"],
        labels=data["labels"],
        metadata=data["metadata"],
        updated_at=time(data["updatedAt"]),
        **_shape(data["resources"]),
    )


def exec_result(data: Json) -> models.ExecResult:
    """A command that has ended."""
    return models.ExecResult(
        stdout=base64.b64decode(data["stdoutB64"]),
        stderr=base64.b64decode(data["stderrB64"]),
        exit_code=data["exitCode"],
        duration=data["durationMs"] / 1000,
        process=data["processId"],
        truncated=data["stdoutTruncated"] or data["stderrTruncated"],
    )


def exited(data: Json) -> models.Exited:
    """How a command ended."""
    return models.Exited(data["exitCode"], data.get("signal"), data.get("timedOut", False))


def process(data: Json) -> models.Process:
    """A process."""
    return models.Process(
        id=data["id"],
        pid=data["pid"],
        command=data["command"],
        started_at=time(data["startedAt"]),
        stdout_bytes=data["stdoutBytes"],
        stderr_bytes=data["stderrBytes"],
        exit=exited(data["exit"]) if data["exit"] else None,
    )


def page(data: Json) -> models.Page:
    """A page of output."""
    return models.Page(
        stdout=base64.b64decode(data["stdoutB64"]),
        stderr=base64.b64decode(data["stderrB64"]),
        offsets=(data["stdoutNextOffset"], data["stderrNextOffset"]),
        exit=exited(data["exit"]) if data["exit"] else None,
    )


def event(data: Json) -> models.Event:
    """An event."""
    about = (data["machineId"] or "", data["checkpointId"])
    return models.Event(data["id"], data["level"], data["message"], time(data["createdAt"]), data["kind"], *about)


def file_info(data: Json) -> models.FileInfo:
    """What a path is."""
    return models.FileInfo(
        path=data["path"],
        name=data["name"],
        type=data["type"],
        size=data["size"],
        mode=int(data["mode"], 8),
        modified_at=time(data["modifiedAt"]),
        target=data["target"],
    )


def image(data: Json) -> models.Image:
    """An image."""
    return models.Image(
        reference=data["reference"],
        digest=data["digest"],
        size=data["sizeBytes"],
        created_at=time(data["createdAt"]),
        entrypoint=data["entrypoint"],
        cmd=data["cmd"],
        workdir=data["workdir"],
        user=data["user"],
        systemd=data["systemd"],
    )


def key(data: Json) -> models.Key:
    """A key."""
    return models.Key(
        id=data["id"],
        scopes=data["scopes"],
        description=data["description"],
        prefix=data["prefix"],
        created_at=time(data["createdAt"]),
        expires_at=maybe_time(data["expiresAt"]),
        last_used_at=maybe_time(data["lastUsedAt"]),
    )


def health(data: Json) -> models.Health:
    """The service."""
    return models.Health(
        version=data["version"],
        uptime=data["uptimeSecs"],
        ready=data["nodesReady"] > 0,
        accelerator=data["accelerator"],
        accelerator_reason=data["acceleratorReason"],
        vmm=data["vmm"],
    )


class ServerEvents:
    """Server-sent events out of the lines they come in."""

    def __init__(self) -> None:
        self._name = ""
        self._data: list[str] = []

    def feed(self, line: str) -> tuple[str, str] | None:
        """One line without its end; an event's name and data when it is complete."""
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                self._name = value
            elif field == "data":
                self._data.append(value)
            return None
        told = (self._name, "\n".join(self._data)) if self._name else None
        self._name, self._data = "", []
        return told


def exec_event(name: str, data: str) -> models.Output | models.Exited:
    """An event of exec/stream with output=b64. Raises `ApiError` for `error`."""
    if name == "exit":
        return exited(json.loads(data))
    if name == "error":
        raise errors.ApiError(500, data)
    return models.Output(name, base64.b64decode(data))


def feed_event(name: str, data: str) -> models.Event:
    """An event of a live stream. Raises `ApiError` for `error`."""
    if name == "error":
        raise errors.ApiError(500, data)
    return event(json.loads(data))


def pull_event(name: str, data: str) -> models.Progress | models.Image:
    """An event of a pull. Raises `ApiError` for `error`."""
    if name == "error":
        raise errors.ApiError(422, data)
    return image(json.loads(data)) if name == "image" else progress(json.loads(data))
