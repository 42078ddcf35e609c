"""Which accelerator this host runs guests with, found out once by a real boot.

/dev/kvm may exist and still run no stock kernel (where KVM itself is emulated the guest hangs silently at full load),
so `auto` boots a guest with KVM until its agent answers, within a limit, and remembers the verdict for this host's
kernel, QEMU and CPU.
"""

import dataclasses
import os
import platform
import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from hutch import commands
from hutch.host import files
from hutch.host.paths import RunPaths
from hutch.host.qemu import argv, process, vm
from hutch.model import errors

log = structlog.get_logger(__name__)

TRIAL_LIMIT = 10.0
"""Seconds a KVM guest has to answer; with working KVM it takes one."""

DEVICE = vm.KVM
"""What KVM is reached through."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The choice and a reason for a person."""

    accelerator: str
    reason: str


async def qemu_version(qemu: str) -> str:
    """ "7.2.22". Raises `Unsupported` when QEMU is not there."""
    done = await commands.run([qemu, "--version"], timeout=20)
    found = re.search(r"version (\d+(?:\.\d+)+)", done.stdout.decode())
    if found is None:
        raise errors.Unsupported(f"{qemu} does not tell its version")
    return found[1]


def _circumstances(version: str) -> dict[str, str]:
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {"kernel": platform.release(), "qemu": version, "cpu": model[1] if model else "unknown"}


async def choose(wanted: str, version: str, remembered: Path, trial: Callable[[], Awaitable[None]]) -> Verdict:
    """The accelerator for `auto`, `kvm` or `tcg`. `trial` boots a guest with KVM and raises if it does not answer."""
    if wanted == "tcg":
        return Verdict("tcg", "asked for by HUTCH_HOST_ACCELERATOR")
    if wanted not in ("auto", "kvm"):
        raise errors.InvalidRequest(f"HUTCH_HOST_ACCELERATOR={wanted!r}: use auto, kvm or tcg")
    if not DEVICE.exists():
        verdict = Verdict("tcg", "there is no /dev/kvm")
    elif not os.access(DEVICE, os.R_OK | os.W_OK):
        verdict = Verdict("tcg", "/dev/kvm may not be opened by this user: add it to the group kvm")
    else:
        verdict = await _tried(version, remembered, trial)
    if wanted == "kvm" and verdict.accelerator != "kvm":
        raise errors.Unsupported(f"HUTCH_HOST_ACCELERATOR=kvm, but {verdict.reason}")
    return verdict


def recall(remembered: Path, here: dict[str, str] | None = None) -> Verdict | None:
    """The verdict that is remembered, if it was found under circumstances like `here` (None: under any)."""
    known = files.read_json(remembered) or {}
    verdict = known.get("verdict")
    if not isinstance(verdict, dict) or set(verdict) != {"accelerator", "reason"}:
        return None
    return Verdict(**verdict) if here in (None, known.get("circumstances")) else None


async def _tried(version: str, remembered: Path, trial: Callable[[], Awaitable[None]]) -> Verdict:
    here = _circumstances(version)
    if known := recall(remembered, here):
        return known
    try:
        await trial()
        verdict = Verdict("kvm", "a guest booted with KVM answered")
    except (commands.CommandFailed, errors.NoCapacity) as error:
        return Verdict("tcg", f"KVM could not be tried: {error.message}")  # says nothing of KVM: not remembered
    except (errors.MachineFailed, errors.AgentUnavailable) as error:
        log.info("kvm does not work", error=str(error))
        verdict = Verdict(
            "tcg", f"/dev/kvm exists, but a guest did not answer within {TRIAL_LIMIT:g} s of booting with it"
        )
    files.write_json(remembered, {"circumstances": here, "verdict": dataclasses.asdict(verdict)})
    return verdict


async def kvm_trial(launcher: vm.Launcher, scratch: Path, uid: int | None) -> None:
    """Boot an empty root image with KVM, as the user `uid`, until the agent answers. Raises if it does not.

    Leaves nothing.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        (scratch / "root").mkdir()
        root, layer, memory = scratch / "root.ext4", scratch / "disk.qcow2", scratch / "memory"
        await commands.run(["mke2fs", "-q", "-t", "ext4", "-d", str(scratch / "root"), str(root), "16M"], timeout=60)
        await commands.run(["qemu-img", "create", "-q", "-f", "qcow2", str(layer), "16M"], timeout=60)
        with memory.open("wb") as file:
            file.truncate(256 * 2**20)
        owner = None
        if uid is not None:
            owner = process.Owner(uid)
            os.chown(memory, uid, uid)
        hardware = vm.Hardware(argv.Board("kvm", 1, 256), memory, (root, layer), owner=owner)
        where = RunPaths(scratch)
        machine = await vm.Vm.start(launcher, "kvm-trial", where, hardware)
        try:
            await machine.connect_agent(TRIAL_LIMIT)
        finally:
            await machine.kill()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
