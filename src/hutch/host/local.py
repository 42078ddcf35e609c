"""This box as a host: real machines under QEMU. It passes the contract suite that `host/simulated` passes too."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from hutch import settings
from hutch.host import boot_files, commands, disks, files, firewall
from hutch.host.guests import GuestFiles, GuestProcesses
from hutch.host.images.local import LocalImages
from hutch.host.interface import Capacity, Died, HostInfo, HostMachine, OnProgress, ignore_progress
from hutch.host.machines import journal as journals
from hutch.host.machines.bring_up import MAIN
from hutch.host.machines.context import Context, Engine
from hutch.host.machines.journal import Journal, Phase
from hutch.host.machines.owner import Owner
from hutch.host.paths import Paths
from hutch.host.qemu import accelerator, process, tsc, vm
from hutch.host.templates.templates import TEMPLATE_IDS, Templates
from hutch.model import errors, guest
from hutch.model.ids import MachineId
from hutch.model.machine import MachineSpec

log = structlog.get_logger(__name__)

MIB = 2**20
LOG_LIMIT = 64 * 1024
ADOPTED_AT_ONCE = 8
QEMU_LOG_LIMIT = MIB
SWEEP_INTERVAL = 30.0
AGENT_BINARY = Path(__file__).parent.parent / "_guest" / "hutch-agent"
"""Built by `guest/build`; carried by the wheel."""


class LocalHost:
    """Implements `hutch.host.interface.Host`."""

    def __init__(self, wanted: settings.Settings, paths: Paths) -> None:
        self._settings = wanted.host
        self._paths = paths
        self._owners: dict[MachineId, Owner] = {}
        self._died: asyncio.Queue[Died] = asyncio.Queue()
        self._verdict: accelerator.Verdict | None = None
        self._context: Context | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._root = os.geteuid() == 0
        self._agent_version = "unknown"
        self._local_images = LocalImages(
            paths, wanted.images, wanted.host, in_use=self._machines_of, on_remove=self._drop_templates
        )
        self.images = self._local_images
        self.processes = GuestProcesses(self._owner, self._local_images)
        self.files = GuestFiles(self._owner)

    async def open(self) -> list[HostMachine]:
        """Fetch the kernel if need be, choose the accelerator, adopt what runs. Raises `Unsupported`, `DiskFull`."""
        for directory in (self._paths.home, self._paths.machines, self._paths.templates):
            directory.mkdir(parents=True, exist_ok=True)
        await self._local_images.open()
        self._context = await self._make_context()
        self._context.engine.templates.open()
        if self._root:
            base = self._settings.uid_base
            await firewall.protect(self._paths.tag, base, base + self._settings.uid_count + TEMPLATE_IDS)
        await self._end_strays()
        at_once = asyncio.Semaphore(ADOPTED_AT_ONCE)
        await asyncio.gather(*(self._take_up_safely(entry, at_once) for entry in self._paths.machines.iterdir()))
        self._collect()
        self._sweeping = asyncio.create_task(self._sweep())
        return [owner.state for owner in self._owners.values()]

    async def close(self) -> None:
        """Let go; running machines run on."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        running = any(owner.state.pid for owner in self._owners.values())
        await asyncio.gather(*(owner.close() for owner in self._owners.values()))
        self._owners.clear()
        if self._root and not running:
            await firewall.release(self._paths.tag)
        await self._local_images.close()

    def info(self) -> HostInfo:
        """What machines are run with."""
        context, verdict = self._opened(), self._verdict
        assert verdict is not None
        isolation = "own uid per machine, seccomp, no capabilities" if self._root else "seccomp; not root: no own uid"
        version = f"qemu {context.engine.vmm}"
        return HostInfo(verdict.accelerator, verdict.reason, version, self._agent_version, isolation)

    async def capacity(self) -> Capacity:
        """The box's size less the reserve, and what is free of it now."""
        memory = {
            line.split(":")[0]: int(line.split()[1]) // 1024 for line in Path("/proc/meminfo").read_text().splitlines()
        }
        disk = shutil.disk_usage(self._paths.home)
        reserve = self._settings.memory_reserve_mib
        return Capacity(
            cpus=os.cpu_count() or 1,
            memory_mib=max(0, memory["MemTotal"] - reserve),
            memory_free_mib=max(0, memory["MemAvailable"] - reserve),
            disk_gib=disk.total // disks.GIB,
            disk_free_gib=max(0, disk.free // MIB - self._settings.disk_reserve_mib) // 1024,
        )

    async def create(self, machine: MachineId, spec: MachineSpec) -> None:
        """A directory and a journal entry."""
        if machine in self._owners:
            return
        files.require_space(self._paths.machines, self._settings.disk_reserve_mib * MIB, "a machine")
        entry = Journal(machine, spec, self._free_uid())
        where = self._paths.machine(machine)
        where.root.mkdir(mode=0o700, exist_ok=True)
        try:
            entry.write(where.journal)
        except errors.DiskFull:
            shutil.rmtree(where.root, ignore_errors=True)
            raise
        self._owners[machine] = Owner(self._opened(), entry)

    async def start(self, machine: MachineId, on_progress: OnProgress = ignore_progress) -> None:
        """See the interface."""
        await self._owner(machine).start(on_progress)

    async def stop(self, machine: MachineId, grace: float) -> None:
        """See the interface."""
        await self._owner(machine).stop(grace)

    async def destroy(self, machine: MachineId) -> None:
        """See the interface."""
        owner = self._owners.get(machine)
        if owner is not None:
            await owner.destroy()
            self._owners.pop(machine, None)

    def get(self, machine: MachineId) -> HostMachine | None:
        """See the interface."""
        owner = self._owners.get(machine)
        return owner.state if owner is not None and not owner.gone else None

    async def stats(self, machine: MachineId) -> guest.GuestStats:
        """See the interface."""
        return await (await self._owner(machine).agent()).stats()

    async def console(self, machine: MachineId) -> bytes:
        """See the interface."""
        owner = self._owner(machine)
        text = owner.console
        if owner.journal.spec.command and owner.journal.phase is Phase.RUNNING:
            with contextlib.suppress(errors.HutchError):
                page = await (await owner.agent()).processes.read(MAIN, 0, 0, wait=0.0, limit=LOG_LIMIT)
                text += page.stdout + page.stderr
        return text

    async def deaths(self) -> AsyncIterator[Died]:
        """See the interface."""
        while True:
            yield await self._died.get()

    def _opened(self) -> Context:
        if self._context is None:
            raise errors.HutchError("the host is not open")
        return self._context

    def _owner(self, machine: MachineId) -> Owner:
        try:
            return self._owners[machine]
        except KeyError:
            raise errors.NotFound("machine not found") from None

    async def _make_context(self) -> Context:
        boot = await boot_files.ensure_boot_files(self._paths, AGENT_BINARY, _log_progress)
        launcher = vm.Launcher(self._settings, boot, self._paths.tag)
        version = await accelerator.qemu_version(self._settings.qemu)
        await asyncio.to_thread(tsc.khz)  # asks the kernel's log once
        told = await commands.run([str(AGENT_BINARY), "--version"], timeout=10)
        self._agent_version = told.stdout.decode().split()[-1]
        scratch = self._paths.templates / ".kvm-trial"
        self._verdict = await accelerator.choose(
            self._settings.accelerator,
            version,
            self._paths.accelerator,
            lambda: accelerator.kvm_trial(launcher, scratch, self._settings.uid_base if self._root else None),
        )
        templates = Templates(self._paths, self._settings, launcher, self._root)
        engine = Engine(launcher, templates, self._verdict.accelerator, version)
        return Context(self._paths, self._settings, self._local_images, engine, self._died.put_nowait)

    async def _sweep(self) -> None:
        """Keep QEMU's own logs short: a hostile guest can make it complain for ever."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            for machine in self._owners:
                path = self._paths.machine(machine).qemu_log
                with contextlib.suppress(OSError):
                    if path.stat().st_size > QEMU_LOG_LIMIT:
                        os.truncate(path, 0)

    def _collect(self) -> None:
        """Remove what a newer kernel, agent or QEMU has replaced, unless a machine's disk stands on it."""
        engine = self._opened().engine
        engine.templates.collect({owner.journal.template for owner in self._owners.values() if owner.journal.template})
        for directory in self._paths.boot.iterdir():
            is_build = (directory / "initramfs.cpio").exists()
            if is_build and directory != engine.launcher.boot.kernel.parent:
                shutil.rmtree(directory, ignore_errors=True)

    async def _end_strays(self) -> None:
        """End processes of ours that no journal tells of: a service died between starting one and writing it down."""
        known, readable = set(), set()
        for entry in self._paths.machines.iterdir():
            journal = journals.read(entry / "machine.json")
            if journal is not None:
                readable.add(f"{self._paths.tag}/{journal.id}")
                known.add(journal.process)
        for name, identity in process.processes_named(f"{self._paths.tag}/", self._runs_ours):
            unread = self._paths.machine(MachineId(name.partition("/")[2])).root.exists() and name not in readable
            if identity in known or unread:
                continue
            log.warning("ending a stray process", name=name, pid=identity.pid)
            with contextlib.suppress(errors.MachineFailed):  # then it has ended at the latest when the host is rebooted
                await process.end(identity)

    def _runs_ours(self, uid: int) -> bool:
        """Whether a process of this user may be one of ours: any user can give a program our name."""
        base = self._settings.uid_base
        return uid == os.geteuid() or (self._root and base <= uid < base + self._settings.uid_count + TEMPLATE_IDS)

    async def _take_up_safely(self, entry: Path, at_once: asyncio.Semaphore) -> None:
        """One machine that cannot be taken up must not keep the others."""
        async with at_once:
            try:
                await self._take_up(entry)
            except (errors.HutchError, OSError) as error:
                log.error("a machine cannot be taken up", directory=entry.name, error=str(error))

    async def _take_up(self, entry: Path) -> None:
        """Adopt, finish or undo one machine found on disk."""
        journal = journals.read(entry / "machine.json")
        if journal is None or journal.id != entry.name:
            if entry.name.startswith(".gone-") or not (entry / "disk.qcow2").exists():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                log.error("a machine's journal cannot be read: its disk is left as it is", directory=str(entry))
            return
        identity = journal.process
        running = identity is not None and process.is_alive(identity)
        owner = Owner(self._opened(), journal)
        self._owners[journal.id] = owner
        match journal.phase:
            case Phase.RUNNING if running:
                await self._adopt(owner)
            case Phase.RUNNING:
                words = vm.last_words(self._paths.machine(journal.id), owner.console)
                owner.settle(Phase.FAILED, f"it died while the service was away: {words}")
            case Phase.STARTING | Phase.STOPPING:
                if identity is not None and running:
                    await process.end(identity)
                owner.settle(Phase.STOPPED)
            case Phase.DESTROYING:
                if identity is not None and running:
                    await process.end(identity)
                await self.destroy(journal.id)
            case Phase.STOPPED | Phase.FAILED:
                pass

    async def _adopt(self, owner: Owner) -> None:
        try:
            await owner.adopt()
        except (errors.HutchError, OSError) as error:
            log.warning("cannot adopt", machine=owner.journal.id, error=str(error))
            assert owner.journal.process is not None
            await process.end(owner.journal.process)
            owner.settle(Phase.FAILED, f"it could not be reached after a restart of the service: {error}")

    def _free_uid(self) -> int | None:
        if not self._root:
            return None
        used = {owner.journal.uid for owner in self._owners.values()}
        for uid in range(self._settings.uid_base, self._settings.uid_base + self._settings.uid_count):
            if uid not in used:
                return uid
        raise errors.NoCapacity(f"all {self._settings.uid_count} user ids of this host's machines are taken")

    def _machines_of(self, digest: str) -> list[str]:
        return [owner.journal.id for owner in self._owners.values() if owner.journal.spec.image.digest == digest]

    def _drop_templates(self, digest: str) -> None:
        self._opened().engine.templates.remove_of_image(digest)


def _log_progress(progress: object) -> None:
    log.info("preparing the host", progress=str(progress))
