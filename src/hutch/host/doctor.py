"""What this box has and lacks for running machines, told with what to do about it. Looks, changes nothing."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hutch import settings
from hutch.host.paths import Paths
from hutch.host.qemu import accelerator

MIB = 2**20
OLDEST_QEMU = (7, 2)
READ_ONLY_MEMORY_QEMU = (8, 2)

USER = (
    "there are no allow lists, denied networks and rates, open machines reach private networks, "
    "and this host's other users reach forwarded ports"
)
"""What machines without slots lack."""

TOOLS = {
    "qemu-img": ("qemu-utils", "makes disks"),
    "mke2fs": ("e2fsprogs", "makes root images"),
    "setpriv": ("util-linux", "confines processes"),
    "lz4": ("lz4", "unpacks the kernel"),
    "mmdebstrap": ("mmdebstrap", "builds the debian image"),
    "skopeo": ("skopeo", "pulls OCI images"),
    "umoci": ("umoci", "unpacks OCI images"),
    "nft": ("nftables", "filters what machines reach"),
    "tc": ("iproute2", "limits how fast machines send"),
    "nsenter": ("util-linux", "loads rules into machines' networks"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `ok` None is a warning: it works without, but worse."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


def diagnose(wanted: settings.Settings) -> list[Check]:
    """Every check of the host's own, in the order a person would want them."""
    checks: list[Callable[[settings.Settings], Check]] = [_accelerator, _qemu, _root, _network, _memory, _disk]
    return [check(wanted) for check in checks] + [_tool(name) for name in TOOLS]


def _accelerator(wanted: settings.Settings) -> Check:
    if wanted.host.accelerator == "tcg":
        return Check(
            "accelerator", None, "tcg, as HUTCH_HOST_ACCELERATOR says", "set it to auto to use KVM where it works"
        )
    if not accelerator.DEVICE.exists():
        return Check(
            "accelerator", None, "tcg: there is no /dev/kvm; guests run 10 to 20 times slower", "use a host with KVM"
        )
    if not os.access(accelerator.DEVICE, os.R_OK | os.W_OK):
        return Check(
            "accelerator", None, "tcg: /dev/kvm may not be opened by this user", "add the user to the group kvm"
        )
    verdict = accelerator.recall(Paths(wanted.service.home).accelerator)
    if verdict is None:
        return Check(
            "accelerator", None, "/dev/kvm is there; `hutch up` tries it once with a real guest", "run hutch up"
        )
    if verdict.accelerator == "kvm":
        return Check("accelerator", True, f"kvm: {verdict.reason}")
    remedy = f"if the host has changed, remove {Paths(wanted.service.home).accelerator} and start hutch up again"
    return Check("accelerator", None, f"tcg: {verdict.reason}; guests run 10 to 20 times slower", remedy)


def _qemu(wanted: settings.Settings) -> Check:
    remedy = "apt-get install qemu-system-x86"
    try:
        words = [wanted.host.qemu, "--version"]
        text = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Check("qemu", False, f"{wanted.host.qemu} cannot be run: {error}", remedy)
    found = re.search(r"version (\d+)\.(\d+)(\.\d+)?", text)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_QEMU:
        return Check("qemu", False, f"version 7.2 or newer is needed, this is: {text.splitlines()[0]}", remedy)
    return Check("qemu", True, found[0])


def _root(wanted: settings.Settings) -> Check:
    if os.geteuid() == 0:
        return Check("root", True, "each machine's process has a user id of its own")
    return Check("root", None, "not root: machines' processes run under your own user id", "run hutch up as root")


def _network(wanted: settings.Settings) -> Check:
    if wanted.network.mode == "user":
        return Check("network", None, f"QEMU's user network, as HUTCH_NETWORK_MODE says: {USER}", "set it to auto")
    lacks = [word for word, is_there in _what_slots_need() if not is_there]
    if not lacks:
        return Check("network", True, "slots: each machine has a network of its own")
    is_fatal = wanted.network.mode == "slots"
    detail = f"slots cannot be had without {', '.join(lacks)}"
    remedy = "run hutch up as root, with the tools below and nothing taken from it"
    return Check("network", False if is_fatal else None, detail if is_fatal else f"{detail}; so {USER}", remedy)


def _what_slots_need() -> Iterator[tuple[str, bool]]:
    yield "root", os.geteuid() == 0
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    has = int(status["CapEff"], 16)
    for name, bit in (("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21)):  # linux/capability.h
        yield name, bool(has >> bit & 1)
    yield "/dev/net/tun", Path("/dev/net/tun").exists()
    for name in ("nft", "tc", "nsenter"):
        yield name, _found(name) is not None


def _memory(wanted: settings.Settings) -> Check:
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB
    enough = total >= wanted.host.memory_reserve_mib + wanted.machines.default_memory_mib
    remedy = "" if enough else "lower HUTCH_HOST_MEMORY_RESERVE_MIB or use a larger box"
    return Check(
        "memory", enough, f"{total} MiB, {pages} MiB unused, {wanted.host.memory_reserve_mib} MiB kept back", remedy
    )


def _disk(wanted: settings.Settings) -> Check:
    where = wanted.service.home
    while not where.exists():
        where = where.parent
    free = shutil.disk_usage(where).free // MIB
    enough = free > wanted.host.disk_reserve_mib + 2048
    remedy = "" if enough else "free some space, or move HUTCH_HOME: the first image and template take about 2 GiB"
    return Check("disk", enough, f"{free} MiB free for {wanted.service.home}", remedy)


def _tool(name: str) -> Check:
    package, purpose = TOOLS[name]
    if _found(name) is None:
        return Check(name, False, f"not found; it {purpose}", f"apt-get install {package}")
    return Check(name, True, purpose)


def _found(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
