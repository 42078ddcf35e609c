"""Sizes of VMs as this dialect has them: whole GiB, and powers of two where they are a machine's own. Pure."""

from dataclasses import dataclass

from hutch import settings
from hutch.api.freestyle import requests
from hutch.control.health import Capacity
from hutch.control.requests import MAX_DISK_GIB
from hutch.model.errors import Flawed
from hutch.model.machine import Resources

MIB_PER_GIB = 1024
DEFAULT_DISK_GIB = 16
"""Of a VM that is not made of a snapshot and does not say otherwise, where the box has so much."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """What this box can run: vCPUs, MiB and GiB of one machine."""

    cpus: int
    least_mib: int
    most_mib: int
    most_gib: int


def ranges(box: Capacity, its: settings.Machines) -> Ranges:
    """Of this box."""
    return Ranges(
        cpus=min(its.max_cpus, box.cpus),
        least_mib=its.min_memory_mib,
        most_mib=box.memory_mib,
        most_gib=min(MAX_DISK_GIB, box.disk_gib),
    )


def check(what: str, cpus: int | None, memory_gib: int | None, disk_gib: int | None, may: Ranges) -> None:
    """`Flawed` with a code of the operation `what`: create_vm or resize_vm."""
    if cpus is not None:
        told = f"vcpuCount out of range (got {cpus}, allowed 1..={may.cpus})"
        _need(1 <= cpus <= may.cpus, told, f"{what}_vcpu_out_of_range")
        told = f"vcpuCount must be a power of two (got {cpus})"
        _need(_is_power_of_two(cpus), told, f"{what}_vcpu_not_power_of_two")
    if memory_gib is not None:
        mib = memory_gib * MIB_PER_GIB
        told = f"memSizeGb out of range (got {mib} MiB, allowed {may.least_mib}..={may.most_mib} MiB)"
        _need(may.least_mib <= mib <= may.most_mib, told, f"{what}_mem_out_of_range")
        told = f"memSizeGb must be a power of two (got {mib} MiB)"
        _need(_is_power_of_two(mib), told, f"{what}_mem_not_power_of_two")
    if disk_gib is not None:
        told = f"rootfsSizeGb out of range (got {disk_gib} GiB, allowed 1..={may.most_gib} GiB)"
        _need(1 <= disk_gib <= may.most_gib, told, f"{what}_rootfs_out_of_range")


@dataclass(frozen=True, slots=True)
class Resized:
    """What a machine is to have; None: what it has."""

    cpus: int | None
    memory_mib: int | None
    disk_gib: int | None


def resize(body: requests.ResizeVm, has: Resources, may: Ranges) -> Resized:
    """What is asked for. `Flawed` with the document's codes."""
    cpus, memory, disk = body.vcpu_count, body.mem_size_gb, body.rootfs_size_gb
    told = "Resize request must specify at least one of vcpuCount, memSizeGb, or rootfsSizeGb"
    _need((cpus, memory, disk) != (None, None, None), told, "resize_vm_empty_request")
    told = f"Rootfs shrink is not supported (current={has.disk_gib} GiB, requested={disk} GiB)"
    _need(disk is None or disk >= has.disk_gib, told, "resize_vm_rootfs_shrink_not_supported")
    check("resize_vm", cpus, memory, disk, may)
    return Resized(cpus, None if memory is None else memory * MIB_PER_GIB, disk)


def _need(is_so: bool, told: str, flaw: str) -> None:
    if not is_so:
        raise Flawed(told, flaw)


def _is_power_of_two(number: int) -> bool:
    return number.bit_count() == 1


def default_disk(box: Capacity) -> int:
    """GiB of a VM that is not made of a snapshot and does not say otherwise."""
    return min(DEFAULT_DISK_GIB, box.disk_gib)
