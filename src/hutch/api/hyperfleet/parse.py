"""From the hyperfleet dialect's requests to what the control plane is asked. Pure."""

import base64
import binascii
import math

from hutch.api.hyperfleet import errors, requests
from hutch.api.telling import Told
from hutch.control.machines import MachineRequest
from hutch.control.processes import Command
from hutch.model import errors as model_errors
from hutch.model.machine import NetworkMode, NetworkPolicy
from hutch.model.network import PublishedPort

IMAGE = "debian"
"""Of machines that name none."""

MIB_PER_GIB = 1024


def _refuse_what_is_ours(body: requests.CreateMachine) -> None:
    given = body.network or requests.Network()
    for field in ("tap_device", "tap_ip", "guest_ip", "guest_mac"):
        if getattr(given, field) is not None:
            raise model_errors.Unsupported(f"network.{field}: the service chooses it, leave it out")
    if body.registry_auth is not None:
        raise model_errors.Unsupported("registry_auth: this service pulls without credentials, leave it out")


def machine_request(body: requests.CreateMachine, least_mib: int) -> MachineRequest:
    """A machine to make. Less memory than a guest needs is taken for as much as it needs.

    Ports are public, because the documented proxy asks nobody who they are.
    """
    _refuse_what_is_ours(body)
    is_cut_off = body.network is not None and body.network.enable is False
    return MachineRequest(
        image=IMAGE if body.image is None else body.image,
        name=body.name,
        cpus=body.vcpu_count,
        memory_mib=max(body.mem_size_mib, least_mib),
        disk_gib=None if body.image_size_mib is None else math.ceil(body.image_size_mib / MIB_PER_GIB),
        network=NetworkPolicy(NetworkMode.BLOCKED if is_cut_off else NetworkMode.OPEN),
        ports=tuple(PublishedPort(port, is_public=True) for port in body.exposed_ports or ()),
    )


def seconds(body: requests.Exec) -> float:
    """How long a command may take."""
    return requests.EXEC_SECONDS if body.timeout is None else body.timeout


def command(body: requests.Exec) -> Command:
    """What to run."""
    if body.command is not None and body.cmd is not None and body.command != body.cmd:
        raise model_errors.InvalidRequest("command and cmd contradict each other: give one of them")
    argv = body.cmd if body.command is None else body.command
    if argv is None:
        raise model_errors.InvalidRequest("command is required")
    return Command(argv=tuple(argv), timeout=seconds(body))


def path(text: str) -> str:
    """A file's path: absolute, and no way up in it."""
    if ".." in text.split("/"):
        raise Told(400, "PATH_TRAVERSAL_ERROR", "path must not contain '..'")
    if not text.startswith("/"):
        raise Told(400, errors.VALIDATION, "path must be absolute")
    return text


def content(body: requests.WriteFile) -> bytes:
    """What to write."""
    try:
        return base64.b64decode(body.content, validate=True)
    except (binascii.Error, ValueError):
        raise model_errors.InvalidRequest("content must be base64") from None
