"""From what a QEMU process should be to its argument list. Pure: no file is opened and nothing is started here.

Everything the process may touch comes as a file descriptor it inherits, so it needs no access to any path of ours:
disks through fdsets, sockets as listening sockets, kernel, initramfs and memory through `/proc/self/fd`. The board is
the same for a template and for all that is restored from it; what changes it must change `BOARD_VERSION`, which saved
states carry.
"""

from dataclasses import dataclass

BOARD_VERSION = 1
"""Counts changes to the board: a saved device state loads only on the board it was saved on."""

AGENT_PORT = "hutch.agent"
"""The virtio-serial port's name, which the agent looks for."""

GROW = "hutch.grow"
"""Has the initramfs grow the root file system to its device."""

DISK = "disk"
"""The id of the disk's device."""

MAC = "52:54:00:12:34:56"
"""Of every guest: each is alone on its link."""

CPU_MODELS = {
    "kvm": "host,migratable=on",
    # x86-64-v2 and a random instruction: boots a quarter faster than `max` and is what distributions expect.
    "tcg": "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf_lm,+rdrand",
}

_VOLUME_FDSETS = 500  # and up: above those of any chain of layers, below those the monitor makes

TRANSLATION_CACHE_MIB = 128
"""Most memory TCG may use for translated code; QEMU's own default is up to a GiB a process."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The chain of disk layers as descriptors, base first; only the last is written."""

    base: int
    layers: tuple[int, ...]
    names: tuple[str, ...] = ()  # of all of them, the base included, by which QEMU is told of them later; d0, d1, …

    @property
    def nodes(self) -> tuple[str, ...]:
        """What QEMU calls them."""
        return self.names or tuple(f"d{index}" for index in range(1 + len(self.layers)))


@dataclass(frozen=True, slots=True)
class Volume:
    """A raw disk beside the machine's own."""

    descriptor: int
    serial: str  # at most 20 characters, by which the guest knows it
    readonly: bool


@dataclass(frozen=True, slots=True)
class Sockets:
    """Listening unix sockets."""

    qmp: int
    agent: int
    console: int


@dataclass(frozen=True, slots=True)
class Tap:
    """A slot's network: the guest's frames go to a tap."""

    descriptor: int


@dataclass(frozen=True, slots=True)
class UserNetwork:
    """QEMU's own network: the guest's connections are those of its process."""

    is_blocked: bool = False


Netdev = Tap | UserNetwork
"""Either is the same device to the guest, so that saved states fit both."""


@dataclass(frozen=True, slots=True)
class Board:
    """What must be equal for a saved device state to load."""

    accelerator: str  # kvm or tcg
    cpus: int
    memory_mib: int
    volumes: int = 0  # so many disks beside its own; whether they can be written is agreed with the guest anew


@dataclass(frozen=True, slots=True)
class Launch:
    """One QEMU process."""

    name: str
    board: Board
    kernel: int
    initramfs: int
    memory: int
    shared_memory: bool  # True: writes go to the memory file (a template's first boot); False: they stay private
    disk: Disk
    sockets: Sockets
    netdev: Netdev
    tsc_khz: int
    incoming: bool = False  # wait for a device state instead of booting
    grow: bool = False  # the initramfs grows the root file system to its device
    volumes: tuple[Volume, ...] = ()


def kernel_command_line(accelerator: str, tsc_khz: int, grow: bool = False) -> str:
    """Quiet, on the serial console, ends QEMU instead of hanging when the kernel panics."""
    words = ["console=ttyS0", "quiet", "reboot=t", "panic=-1"]
    words.append("systemd.mask=serial-getty@ttyS0.service")  # it waits 90 s for a device that nobody announces
    if accelerator == "tcg":
        # TCG has no speculation to mitigate; without a PIT the guest cannot calibrate its TSC, and hangs.
        words += ["mitigations=off", f"tsc_early_khz={tsc_khz}"]
    if grow:
        words.append(GROW)
    return " ".join(words)


def disk_arguments(disk: Disk) -> list[str]:
    """A raw base and qcow2 layers over it, each opened from its fdset."""
    argv: list[str] = []
    nodes = disk.nodes
    for index, descriptor in enumerate((disk.base, *disk.layers)):
        top = index == len(disk.layers)
        read_only = "off" if top and disk.layers else "on"
        driver, backing = ("raw", "") if index == 0 else ("qcow2", f",backing={nodes[index - 1]}")
        node, access = nodes[index], f"read-only={read_only},discard=unmap"
        file = f"driver=file,node-name={node}-file,filename=/dev/fdset/{index + 1},locking=off,{access}"
        layer = f"driver={driver},node-name={node},file={node}-file,{access}{backing}"
        argv += ["-add-fd", f"fd={descriptor},set={index + 1}", "-blockdev", file, "-blockdev", layer]
    return argv


def volume_arguments(volumes: tuple[Volume, ...]) -> list[str]:
    """Nodes and devices. They come last on the board, so that all others are where they are without them."""
    argv: list[str] = []
    for index, volume in enumerate(volumes):
        number, node = _VOLUME_FDSETS + index, f"volume{index}"
        access = f"read-only={'on' if volume.readonly else 'off'},discard=unmap"
        file = f"driver=file,node-name={node}-file,filename=/dev/fdset/{number},locking=off,{access}"
        argv += ["-add-fd", f"fd={volume.descriptor},set={number}", "-blockdev", file]
        argv += ["-blockdev", f"driver=raw,node-name={node},file={node}-file,{access}"]
        argv += ["-device", f"virtio-blk-device,drive={node},id={node},serial={volume.serial}"]
    return argv


def accelerator_argument(accelerator: str) -> str:
    """How guest code is run."""
    return "kvm" if accelerator == "kvm" else f"tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}"


def netdev_arguments(netdev: Netdev) -> list[str]:
    """What the guest's network device leads to.

    The user network is part of a device state (QEMU calls that section slirp). So that states fit both kinds, a process
    with a tap has one too, which nothing is connected to.
    """
    if isinstance(netdev, Tap):
        return ["-netdev", f"tap,id=net0,fd={netdev.descriptor}", "-netdev", "user,id=unused,ipv6=off,restrict=on"]
    return ["-netdev", f"user,id=net0,ipv6=off,restrict={'on' if netdev.is_blocked else 'off'}"]


def build(qemu: str, launch: Launch) -> list[str]:
    """The whole argument list."""
    board, sockets = launch.board, launch.sockets
    share = "on" if launch.shared_memory else "off"
    memory = f"memory-backend-file,id=ram,size={board.memory_mib}M,mem-path=/proc/self/fd/{launch.memory},share={share}"
    argv = [qemu, "-name", f"{launch.name},debug-threads=on"]
    argv += ["-M", "microvm,pit=off,pic=off,rtc=on,suppress-vmdesc=on,memory-backend=ram"]
    argv += ["-accel", accelerator_argument(board.accelerator), "-cpu", CPU_MODELS[board.accelerator]]
    argv += ["-smp", str(board.cpus), "-m", f"{board.memory_mib}M", "-object", memory]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    argv += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    argv += ["-global", "migration.send-configuration=off"]  # a device-only state carries no configuration section
    argv += ["-kernel", f"/proc/self/fd/{launch.kernel}", "-initrd", f"/proc/self/fd/{launch.initramfs}"]
    argv += ["-append", kernel_command_line(board.accelerator, launch.tsc_khz, launch.grow)]
    argv += disk_arguments(launch.disk)
    argv += ["-device", f"virtio-blk-device,drive={launch.disk.nodes[-1]},id={DISK}"]
    for name, descriptor in (("qmp", sockets.qmp), ("agent", sockets.agent), ("console", sockets.console)):
        argv += ["-chardev", f"socket,id={name},fd={descriptor},server=on,wait=off"]
    argv += ["-mon", "chardev=qmp,mode=control", "-serial", "chardev:console"]
    argv += [
        "-device",
        "virtio-serial-device,max_ports=4",
        "-device",
        f"virtserialport,chardev=agent,name={AGENT_PORT}",
    ]
    argv += netdev_arguments(launch.netdev)
    argv += ["-device", f"virtio-net-device,netdev=net0,mac={MAC}"]
    argv += volume_arguments(launch.volumes)
    if launch.incoming:
        argv += ["-S", "-incoming", "defer"]
    return argv


def inherited(launch: Launch) -> tuple[int, ...]:
    """The descriptors the process must inherit."""
    sockets, disk = launch.sockets, launch.disk
    return (
        launch.kernel,
        launch.initramfs,
        launch.memory,
        disk.base,
        *disk.layers,
        *(volume.descriptor for volume in launch.volumes),
        sockets.qmp,
        sockets.agent,
        sockets.console,
        *((launch.netdev.descriptor,) if isinstance(launch.netdev, Tap) else ()),
    )
