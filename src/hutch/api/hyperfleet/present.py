"""From the service's nouns to the hyperfleet dialect's JSON. Pure; `responses` has the same shapes for documents."""

import base64
from typing import Any

from hutch.api.answers import moment, unix
from hutch.api.hyperfleet import states
from hutch.control import processes
from hutch.model.facts import ProcessFacts
from hutch.model.guest import FileKind, FileStat
from hutch.model.machine import Machine
from hutch.model.network import NetworkFacts


def listed(it: Machine) -> dict[str, Any]:
    """A machine in a list."""
    return {
        "id": it.id,
        "name": it.name,
        "status": states.status(it),
        "vcpu_count": it.spec.resources.cpus,
        "mem_size_mib": it.spec.resources.memory_mib,
        "created_at": moment(it.created_at),
    }


def machine(it: Machine, process: ProcessFacts, network: NetworkFacts | None) -> dict[str, Any]:
    """A machine, whole."""
    failed = states.status(it) == "failed"
    if_any = {
        "socket_path": process.control_socket,
        "tap_device": None if network is None else network.tap_device,
        "tap_ip": None if network is None else network.tap_address,
        "guest_ip": None if network is None else network.guest_address,
        "guest_mac": None if network is None else network.guest_mac,
        "pid": process.pid,
        "error_message": it.reason or "the reason is not known" if failed else None,
    }
    return {
        **listed(it),
        "kernel_image_path": process.kernel,
        "kernel_args": process.kernel_arguments,
        "rootfs_path": process.root_image,
        "exposed_ports": [port.port for port in it.ports],
        "updated_at": moment(it.updated_at),
        **{name: value for name, value in if_any.items() if value is not None},
    }


def exec_result(it: processes.Completed) -> dict[str, Any]:
    """A command that has ended; what is not UTF-8 is replaced."""
    return {
        "exit_code": it.exit.shell_code,
        "stdout": it.stdout.decode("utf-8", "replace"),
        "stderr": it.stderr.decode("utf-8", "replace"),
    }


def content(data: bytes) -> dict[str, Any]:
    """A file's content."""
    return {"content": base64.b64encode(data).decode(), "size": len(data)}


def stat(it: FileStat) -> dict[str, Any]:
    """A path in a machine."""
    return {
        "path": it.path,
        "size": it.size,
        "mode": it.mode,
        "mod_time": unix(it.modified_at),
        "is_dir": it.kind is FileKind.DIRECTORY,
    }
